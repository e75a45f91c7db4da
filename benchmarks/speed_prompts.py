"""The prompts, vectors and baselines that the benchmarks of decoding share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from trimtab.steering import Point, Request, SteeredModel, Steering, SteeringVectors

_TOPICS = ("a lighthouse", "a bakery", "a glacier", "a night train", "a violin", "a beehive")
_count = itertools.count()

TINY = 1e-4
"""A strength that costs what any other costs, and changes no choice of a token: both sides of a
ratio write the same text."""


def story(topic: str = _TOPICS[0]) -> list[dict[str, str]]:
    """A prompt whose answer is longer than any benchmark reads."""
    return [{"role": "user", "content": f"Tell a long story of at least 500 words about {topic}."}]


def fresh(rows: int) -> list[list[dict[str, str]]]:
    """Prompts that no run has seen, different from their first words on."""
    return [
        [
            {"role": "system", "content": f"You are storyteller number {next(_count)}."},
            {"role": "user", "content": story(_TOPICS[row % len(_TOPICS)])[0]["content"]},
        ]
        for row in range(rows)
    ]


def random_steering(
    model: SteeredModel, layers: Sequence[int], *, seed: int = 0, strength: float = TINY
) -> Steering:
    """A random vector at ``mid`` and ``mlp`` of these layers."""
    draws = torch.Generator().manual_seed(seed)
    size = model.hf.config.get_text_config().hidden_size
    values = {
        Point(layer, site): torch.randn(size, generator=draws)
        for layer in layers
        for site in ("mid", "mlp")
    }
    return Steering(SteeringVectors(values), strength=strength)


def requests(
    prompts: Sequence[list[dict[str, str]]], steerings: Sequence[Steering | None]
) -> list[Request]:
    """One request a prompt, each with its steering."""
    return [
        Request(prompt, steering=steering)
        for prompt, steering in zip(prompts, steerings, strict=True)
    ]


@torch.no_grad()  # as its users call it
def by_transformers(
    model: SteeredModel, prompts: Sequence[list[dict[str, str]]], tokens: int, tools: object = ()
) -> Tensor:
    """The same prompts answered by the model's own ``generate``, exactly so many tokens each."""
    rows = [model.prompt_tokens(prompt, tools) for prompt in prompts]  # type: ignore[arg-type]
    longest = max(map(len, rows))
    end = model.ends[0]
    ids = torch.tensor([[end] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return model.hf.generate(  # type: ignore[operator, no-any-return]
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        pad_token_id=end,
    )
