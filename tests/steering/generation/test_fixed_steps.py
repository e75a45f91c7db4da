"""Steps in fixed buffers give what a pass over a growing cache gives."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerFast

from trimtab.steering import Point, SteeredModel, Steering, SteeringVectors
from trimtab.steering.decoder.forward import padded, run
from trimtab.steering.decoder.prefixes import new_cache
from trimtab.steering.generation import decode_loop, fixed_steps
from trimtab.steering.generation.fixed_steps import FixedSteps, borrow, can_be_fixed, give_back
from trimtab.steering.generation.requests import Request
from trimtab.steering.vectors.injection import steered

PROMPTS = [[7, 8, 9, 10, 11], [12, 13], [14, 15, 16]]
STEPS = [[[20], [21], [22]], [[23, 24, 25], [], [26]], [[27], [28], [29]]]


@pytest.fixture(scope="module")
def model(any_family: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> SteeredModel:
    model = SteeredModel(any_family, tiny_tokenizer)
    if not can_be_fixed(model, 64):
        pytest.skip("its attention is not sdpa")
    return model


def vector(seed: int, *points: Point) -> SteeringVectors:
    drawn = torch.Generator().manual_seed(seed)
    return SteeringVectors({point: 3 * torch.randn(32, generator=drawn) for point in points})


MLP, ATTENTION = Point(1, "mlp"), Point(2, "attn")
MIXES: dict[str, list[Steering | None]] = {
    "unsteered": [None, None, None],
    "own vectors": [
        Steering(vector(1, MLP, ATTENTION)),
        None,
        Steering(vector(2, MLP), positions=2, decay=0.5),
    ],
    "bounded": [
        Steering(vector(3, MLP), cap=0.3),
        Steering(vector(4, MLP), strength=0.4, relative=True),
        Steering(vector(5, ATTENTION), max_norm=0.7),
    ],
}


def started(model: SteeredModel, rows: list[Steering | None]) -> tuple[Cache, Tensor]:
    tokens, mask = padded(PROMPTS, left=True)
    cache = new_cache(model.hf.config, None, len(PROMPTS), 32)
    with steered(model, rows, [len(prompt) for prompt in PROMPTS]):
        run(model.parts.decoder, tokens, mask, cache)
    return cache, mask


@torch.inference_mode()
def grown(model: SteeredModel, rows: list[Steering | None]) -> list[Tensor]:
    """The logits after each step, from a cache that grows."""
    cache, mask = started(model, rows)
    logits = []
    with steered(model, rows, [len(prompt) for prompt in PROMPTS]):
        for step in STEPS:
            tokens, real = padded(step, left=True)
            mask = torch.cat([mask, real], dim=1)
            logits.append(model.logits(run(model.parts.decoder, tokens, mask, cache)[:, -1]))
    return logits


@pytest.mark.parametrize("mix", MIXES)
@torch.inference_mode()
def test_steps_are_those_of_a_growing_cache(model: SteeredModel, mix: str) -> None:
    rows = MIXES[mix]
    steps = FixedSteps(model, 4, 256, capture=False)
    steps.fill(*started(model, rows))
    steps.steer(rows, [len(prompt) for prompt in PROMPTS])
    for step, expected in zip(STEPS, grown(model, rows), strict=True):
        found = steps.step(step)
        given = [n for n, tokens in enumerate(step) if tokens]
        torch.testing.assert_close(found[given], expected[given], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_next_users_of_the_same_buffers_find_nothing_of_the_last(
    tiny_steered: SteeredModel,
) -> None:
    steps = FixedSteps(tiny_steered, 4, 256, capture=False)
    steps.fill(*started(tiny_steered, MIXES["own vectors"]))
    steps.steer(MIXES["own vectors"], [len(prompt) for prompt in PROMPTS])
    steps.step(STEPS[0])
    rows: list[Steering | None] = [None, None, Steering(vector(2, ATTENTION))]
    steps.fill(*started(tiny_steered, rows))
    steps.steer(rows, [len(prompt) for prompt in PROMPTS])
    expected = grown(tiny_steered, rows)[0]
    torch.testing.assert_close(steps.step(STEPS[0]), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_rows_go_back_to_a_growing_cache(tiny_steered: SteeredModel) -> None:
    rows = MIXES["own vectors"]
    cache, mask = started(tiny_steered, rows)
    steps = FixedSteps(tiny_steered, 4, 256, capture=False)
    steps.fill(cache, mask)
    steps.steer(rows, [len(prompt) for prompt in PROMPTS])
    steps.step(STEPS[0])
    mask = steps.pour(cache)
    expected = grown(tiny_steered, rows)[1]
    with steered(tiny_steered, rows, [len(prompt) for prompt in PROMPTS]):
        tokens, real = padded(STEPS[1], left=True)
        mask = torch.cat([mask, real], dim=1)
        found = tiny_steered.logits(run(tiny_steered.parts.decoder, tokens, mask, cache)[:, -1])
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], atol=1e-4, rtol=1e-4)


def rows_of(count: int, prompt: int, answer: int) -> list[Any]:
    row = SimpleNamespace(prompt=[0] * prompt, tokens=[], longest=prompt + answer, steerings=())
    return [row] * count


def test_buffers_are_as_big_as_a_batch_needs(
    tiny_steered: SteeredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert borrow(tiny_steered, rows_of(1, 9, 9), 9, 1) is None  # a processor gains nothing
    monkeypatch.setattr(fixed_steps, "_gains", lambda model: True)
    steps = borrow(tiny_steered, rows_of(5, 100, 2000), 100, 1)
    assert steps is not None and (steps.rows, steps.length) == (8, 512)
    assert steps.fits(8) and not steps.fits(9)
    steps.filled = 505
    assert steps.fits(4) and not steps.fits(5)  # a step of five tokens is made as one of eight
    assert borrow(tiny_steered, rows_of(65, 9, 9), 9, 1) is None
    assert borrow(tiny_steered, rows_of(1, 9, 9), 9, 100) is None
    give_back(tiny_steered, steps)
    assert borrow(tiny_steered, rows_of(8, 400, 20), 400, 1) is steps


def asked(count: int) -> list[Request]:
    """Requests of unequal length, two in three steered."""
    steerings = [Steering(vector(7, MLP)), None, Steering(vector(8, ATTENTION, MLP), cap=0.5)]
    return [
        Request(
            [
                {
                    "role": "user",
                    "content": " ".join(f"w{6 + (3 * n + i) % 90}" for i in range(n % 5 + 1)),
                }
            ],
            steering=steerings[n % 3],
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batches_answer_alike_in_fixed_buffers(
    tiny_steered: SteeredModel, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that end and rows that join leave the buffers and come back to others."""
    options: Any = {"temperature": temperature, "max_new_tokens": 24, "batch_size": 4}
    expected = tiny_steered.generate(asked(11), **options)
    used = []

    def borrowed(*args: Any) -> FixedSteps | None:
        used.append(borrow(*args))
        return used[-1]

    monkeypatch.setattr(fixed_steps, "_gains", lambda model: True)
    monkeypatch.setattr(decode_loop, "borrow", borrowed)
    assert tiny_steered.generate(asked(11), **options) == expected
    assert len([steps for steps in used if steps is not None]) > 1
