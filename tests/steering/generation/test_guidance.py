"""Context steering against a loop that runs both prompts whole at every step."""

from dataclasses import replace

import pytest
import torch

from trimtab.errors import TrimtabError
from trimtab.steering import Request, SteeredModel
from trimtab.steering.generation.guidance import (
    GuidedRequest,
    generate_guided,
    guided,
    guided_log_likelihoods,
)
from trimtab.steering.reading.teacher_forcing import TokenizedExchange


def ask(words: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": words}]


REQUESTS = [
    GuidedRequest(ask("w10 w11 w12 w13 w14"), ask("w14"), 1.5),
    GuidedRequest(ask("w20 w21"), ask("w21"), 0.5),
    GuidedRequest(ask("w30 w31 w32 w33"), ask("w33 w34 w35 w36 w37 w38"), -0.4),
]


def slow_answer(model: SteeredModel, request: GuidedRequest, steps: int) -> tuple[int, ...]:
    both = [list(model.prompt_tokens(side)) for side in (request.messages, request.plain)]
    answer: list[int] = []
    while len(answer) < steps:
        logs = [
            model.hf(torch.tensor([[*prompt, *answer]])).logits[0, -1].log_softmax(-1)
            for prompt in both
        ]
        token = int((logs[0] + request.strength * (logs[0] - logs[1])).argmax())
        if token == model.tokenizer.eos_token_id:
            break
        answer.append(token)
    return tuple(answer)


@torch.inference_mode()
@pytest.mark.parametrize("batch_size", [1, 4, 48])
def test_equals_a_loop_without_cache_or_batch(tiny_steered: SteeredModel, batch_size: int) -> None:
    found = generate_guided(tiny_steered, REQUESTS, max_new_tokens=12, batch_size=batch_size)
    assert [f.tokens for f in found] == [slow_answer(tiny_steered, r, 12) for r in REQUESTS]
    sides = [(tiny_steered.prompt_tokens(r.messages), r.plain) for r in REQUESTS]
    assert [f.prompt_tokens for f in found] == [
        len(own) + len(tiny_steered.prompt_tokens(plain)) for own, plain in sides
    ]


@pytest.mark.parametrize(("strength", "side"), [(0.0, "messages"), (-1.0, "plain")])
def test_the_ends_of_strength_are_the_two_prompts(
    tiny_steered: SteeredModel, strength: float, side: str
) -> None:
    requests = [GuidedRequest(r.messages, r.plain, strength) for r in REQUESTS]
    found = generate_guided(tiny_steered, requests, max_new_tokens=10)
    alone = tiny_steered.generate([Request(getattr(r, side)) for r in REQUESTS], max_new_tokens=10)
    assert [f.tokens for f in found] == [a.tokens for a in alone]


def test_draws_are_named_and_do_not_depend_on_the_batch(tiny_steered: SteeredModel) -> None:
    requests = [replace(request, draws=f"d{n}") for n, request in enumerate(REQUESTS)]
    how = {"max_new_tokens": 10, "temperature": 2.0}
    found = generate_guided(tiny_steered, requests, **how)
    backwards = generate_guided(tiny_steered, requests[::-1], batch_size=2, **how)
    assert [f.tokens for f in found] == [f.tokens for f in backwards[::-1]]
    others = generate_guided(tiny_steered, requests, seed=1, **how)
    assert [f.tokens for f in found] != [f.tokens for f in others]


@torch.inference_mode()
def test_likelihood_is_that_of_the_guided_distribution(tiny_steered: SteeredModel) -> None:
    answers = [(50, 51, 52), (53,), (54, 55)]
    exchanges, plain = [], []
    for request, answer in zip(REQUESTS, answers, strict=True):
        exchanges.append(TokenizedExchange(tiny_steered.prompt_tokens(request.messages), answer))
        plain.append(TokenizedExchange(tiny_steered.prompt_tokens(request.plain), answer))
    found = guided_log_likelihoods(tiny_steered, exchanges, plain, [r.strength for r in REQUESTS])
    for n, answer in enumerate(answers):
        expected = torch.tensor(0.0)
        for t, token in enumerate(answer):
            logs = [
                tiny_steered.hf(torch.tensor([[*side[n].prompt, *answer[:t]]])).logits[0, -1]
                for side in (exchanges, plain)
            ]
            mixed = guided(logs[0], logs[1], REQUESTS[n].strength)
            chances = mixed.softmax(-1)
            assert abs(float(chances.sum()) - 1) < 1e-5
            expected += chances[token].log()
        torch.testing.assert_close(found[n], expected, atol=1e-4, rtol=1e-4)


def test_bad_options_are_refused(tiny_steered: SteeredModel) -> None:
    with pytest.raises(TrimtabError, match="batch_size"):
        generate_guided(tiny_steered, REQUESTS, batch_size=0)
    with pytest.raises(TrimtabError, match="do not fit"):
        generate_guided(tiny_steered, REQUESTS, max_new_tokens=256)
