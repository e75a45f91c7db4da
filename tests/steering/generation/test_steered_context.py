"""Steering around ``generate``: it reaches the requests row for row, and no shared prefix."""

import threading
import warnings

import pytest
import torch

from trimtab.errors import TrimtabError
from trimtab.steering import Point, Request, SteeredModel, Steering, SteeringVectors
from trimtab.steering.generation.batching import BatchedModel, run_together

SHARED = "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 8
REQUESTS = [
    Request([{"role": "user", "content": SHARED + ending}]) for ending in ("one", "two more")
]


@pytest.fixture
def model(llama, tiny_tokenizer):
    """A model of its own, whose prefixes no other test has filled."""
    return SteeredModel(llama, tiny_tokenizer)


def push(model, seed=1, positions="all"):
    vector = torch.randn(model.hf.config.hidden_size, generator=torch.Generator().manual_seed(seed))
    return Steering(SteeringVectors({Point(1, "mid"): 9 * vector}), positions=positions)


def tokens(completions):
    return [completion.tokens for completion in completions]


def answers(model, requests):
    return tokens(model.generate(requests, max_new_tokens=8))


def given(steerings):
    return [
        Request(request.messages, steering=steering)
        for request, steering in zip(REQUESTS, steerings, strict=True)
    ]


@pytest.mark.parametrize("positions", ["all", "answer", 3])
def test_a_steered_context_leaves_nothing_in_the_shared_prefix(model, positions):
    fresh = answers(SteeredModel(model.hf, model.tokenizer), REQUESTS)
    with model.steered([push(model, positions=positions)]):
        steered = answers(model, REQUESTS)
    assert steered != fresh
    assert answers(model, REQUESTS) == fresh


@pytest.mark.parametrize("positions", ["all", "answer"])
def test_one_steering_is_that_of_every_request(model, positions):
    steering = push(model, positions=positions)
    expected = answers(SteeredModel(model.hf, model.tokenizer), given([steering, steering]))
    with model.steered([steering]):
        assert answers(model, REQUESTS) == expected


def test_two_steerings_go_row_for_row(model):
    pair = [push(model, 1), push(model, 2)]
    expected = answers(SteeredModel(model.hf, model.tokenizer), given(pair))
    with model.steered(pair):
        assert answers(model, REQUESTS) == expected


def test_a_context_and_a_request_of_its_own_add_up(model):
    around, own = push(model, 1), push(model, 2)
    both = Steering(
        SteeringVectors(
            {
                point: around.vectors.values[point] + own.vectors.values[point]
                for point in own.vectors.points
            }
        ),
        positions="all",
    )
    expected = answers(SteeredModel(model.hf, model.tokenizer), given([both, both]))
    with model.steered([around]):
        assert answers(model, given([own, own])) == expected


def test_rows_that_do_not_fit_are_refused_in_a_line(model):
    with model.steered([push(model)] * 3), pytest.raises(TrimtabError, match="3 rows"):
        answers(model, REQUESTS)


def test_an_answer_comes_when_it_ends_and_batches_are_cut_by_tokens(model):
    requests = [Request([{"role": "user", "content": "a " * n}]) for n in (40, 3, 20, 8)]
    expected = [answers(model, [request])[0] for request in requests]
    found = dict(model.completions(requests, max_new_tokens=8, batch_tokens=1))
    assert [found[n].tokens for n in range(4)] == expected
    together = dict(model.completions(requests, max_new_tokens=8))
    assert [together[n].tokens for n in range(4)] == expected


def test_a_second_prompt_in_the_same_context_has_its_own_length(model):
    long, short = (torch.arange(n)[None] % 40 for n in (12, 5))
    steering = push(model, positions="answer")
    with torch.inference_mode():
        with model.steered([steering]):
            alone = model.hf(short, use_cache=False).logits
        with model.steered([steering]):
            model.hf(long, use_cache=False)
            second = model.hf(short, use_cache=False).logits
        plain = model.hf(short, use_cache=False).logits
    torch.testing.assert_close(second, alone)
    assert not torch.allclose(second[:, -1], plain[:, -1])


def test_a_pass_of_another_thread_warns_that_it_is_not_steered(model):
    heard = []

    def run():
        with warnings.catch_warnings(record=True) as caught, torch.inference_mode():
            warnings.simplefilter("always")
            model.hf(torch.arange(5)[None], use_cache=False)
        heard.extend(str(warning.message) for warning in caught)

    with model.steered([push(model)]):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert any("is not steered" in line for line in heard)


@pytest.mark.parametrize("positions", [-3, (5, 2), 2.5, True, "first", (-1, 4), 0])
def test_positions_that_mean_nothing_are_refused(positions):
    vectors = SteeringVectors({Point(0, "mid"): torch.zeros(4)})
    with pytest.raises(TrimtabError, match="positions"):
        Steering(vectors, positions=positions)


def test_a_job_steers_by_its_requests_or_is_refused(model):
    batched = BatchedModel(model)
    [expected] = answers(SteeredModel(model.hf, model.tokenizer), given([push(model), None])[:1])

    def own():
        with batched.steered([push(model)]):
            return batched.generate(REQUESTS[:1], max_new_tokens=8)

    def asks():
        return batched.generate(REQUESTS[:1], max_new_tokens=8)

    ends = {end.index: end for end in run_together(batched, [own, asks])}
    assert isinstance(ends[0].error, TrimtabError)
    assert "give each Request its own steering" in str(ends[0].error)
    with model.steered([push(model)]):  # around all of them
        [end] = run_together(batched, [asks])
    assert tokens(end.value) == [expected] != tokens(ends[1].value)
