"""One pass for both likelihoods and activations, against a pass for each."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trimtab.steering import SteeredModel, mean_activations
from trimtab.steering.reading.answers import read_answers
from trimtab.steering.reading.likelihood import answer_log_likelihoods
from trimtab.steering.reading.teacher_forcing import TokenizedExchange
from trimtab.steering.vectors.steering_vectors import SITES, points_of

SYSTEM = tuple(range(10, 40))
FORCED = [
    TokenizedExchange((*SYSTEM, 41, 42, 43), (50, 51)),
    TokenizedExchange((*SYSTEM, 41, 42, 43), (52, 53, 54, 55)),
    TokenizedExchange((*SYSTEM, 44), (56,)),
    TokenizedExchange((*SYSTEM, 41, 42, 43), (50, 51)),
    TokenizedExchange((*SYSTEM, *range(60, 70)), (57, 58, 59)),
]
SCORED = [True, False, True, False, True]


@pytest.fixture
def fresh(llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> SteeredModel:
    """A model that knows no prompt's beginning yet."""
    return SteeredModel(llama, tiny_tokenizer)


@contextmanager
def counted_tokens(model: SteeredModel, layer: int) -> Iterator[list[int]]:
    """Tokens that a layer's MLP takes, pass by pass."""
    seen: list[int] = []
    handle = model.parts.layers[layer].mlp.module.register_forward_hook(
        lambda module, given, out: seen.append(out.shape[0] * out.shape[1])
    )
    yield seen
    handle.remove()


def test_equals_a_pass_for_the_likelihoods_and_one_for_the_activations(
    fresh: SteeredModel,
) -> None:
    points = points_of([0, 2], SITES)
    read = read_answers(fresh, FORCED, points, SCORED)
    torch.testing.assert_close(read.activations, mean_activations(fresh.parts, FORCED, points))
    wanted = torch.tensor(SCORED)
    wanted[3] = True  # the same answer to the same prompt as another that is wanted
    likelihoods = answer_log_likelihoods(fresh, FORCED)
    torch.testing.assert_close(read.log_likelihoods, torch.where(wanted, likelihoods, 0.0))


def test_runs_what_is_equal_once_and_each_prompt_for_both(fresh: SteeredModel) -> None:
    points = points_of([0], ["block"])
    done: list[int] = []
    with counted_tokens(fresh, 0) as seen:
        read_answers(fresh, FORCED, points, SCORED, progress=done.append)
    # The beginning, what three prompts add to it but for their last tokens, and the four different
    # answers after these, all padded.
    assert sum(seen) == 30 + 3 * 9 + 4 * 5
    assert sum(done) == len(FORCED)


def test_what_is_known_of_the_prompts_is_not_run_again(fresh: SteeredModel) -> None:
    points = points_of([1], ["mlp"])
    first = read_answers(fresh, FORCED, points, SCORED)
    for again in (
        lambda: read_answers(fresh, FORCED, points, SCORED),
        lambda: read_answers(fresh, FORCED[2:3], points, SCORED[2:3]),
    ):
        with counted_tokens(fresh, 0) as seen:
            read = again()
        assert 30 not in seen and sum(seen) <= 3 * 9 + 4 * 5
        kept = slice(None) if len(read.activations) > 1 else slice(2, 3)
        torch.testing.assert_close(read.activations, first.activations[kept])
        torch.testing.assert_close(read.log_likelihoods, first.log_likelihoods[kept])


def test_no_likelihood_means_no_later_layer(fresh: SteeredModel) -> None:
    with counted_tokens(fresh, 3) as seen:
        read = read_answers(fresh, FORCED[:2], points_of([1], ["mlp"]), [False, False])
    assert not seen
    assert not read.log_likelihoods.any()


def test_a_prompts_pass_ends_with_the_last_layers_attention(fresh: SteeredModel) -> None:
    """Of a prompt only keys and values are wanted; the MLP of the last layer sees answers alone."""
    with counted_tokens(fresh, 1) as seen, counted_tokens(fresh, 0) as before:
        mean_activations(fresh.parts, FORCED[:2], points_of([1], ["block"]))
    assert sum(before) == 32 + 2 * 5
    assert sum(seen) == 2 * 5
