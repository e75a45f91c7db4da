"""Why a request was steered as it was, and what the steering did to the next token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..model import SteeredModel
from ..reading.capture import reading
from ..reading.teacher_forcing import TokenizedExchange, answer_batches
from ..vectors.entries import Picked
from ..vectors.steering import Steering
from ..vectors.steering_vectors import Point

_LAST = -2  # the last prompt token: one answer token follows it


@dataclass(frozen=True)
class Explanation:
    """What a steering was made from.

    Attributes:
        picked: The entries with similarity, weight and norms, the nearest first.
        pushes: At each point, the norm of what is added; see ``Steering.pushes``.
        capped: Whether ``max_norm`` made the pushes smaller than strength times vectors. What a
            ``cap`` takes off depends on the activations; ``compare`` tells it.
    """

    picked: tuple[Picked, ...]
    pushes: Mapping[Point, float]
    capped: bool = False

    def __str__(self) -> str:
        lines = [
            f"{p.weight:6.1%}  cosine {p.similarity:+.3f}  "
            f"norm {'/'.join(f'{norm:.3g}' for norm in p.norms)}  {_one_line(p.entry.key)}"
            for p in self.picked
        ]
        lines += [
            f"push at layer {point.layer}, {point.site}: {norm:.3g}"
            for point, norm in self.pushes.items()
        ]
        if self.capped:
            lines.append("scaled down to max_norm")
        return "\n".join(lines)


def explain(steering: Steering) -> Explanation:
    """The picked entries and the size of the push at each point."""
    return Explanation(steering.picked, steering.pushes(), steering.bound() < 1)


@dataclass(frozen=True)
class TokenShift:
    """One token's probability without and with steering."""

    token: str
    unsteered: float
    steered: float


@dataclass(frozen=True)
class Comparison:
    """What steering does to the next token after a prompt.

    Attributes:
        kl: Kullback-Leibler divergence of the steered from the plain distribution, nats.
        gained: The tokens whose probability rose most, the largest rise first.
        lost: The tokens whose probability fell most.
        relative: At each point, the norm of what is added over the norm of the activation that
            it is added to, at the last prompt token. ``mid`` is set against attention's output,
            since that is where it is added.
    """

    kl: float
    gained: tuple[TokenShift, ...]
    lost: tuple[TokenShift, ...]
    relative: Mapping[Point, float]

    def __str__(self) -> str:
        def listed(shifts: tuple[TokenShift, ...]) -> str:
            return ", ".join(f"{s.token!r} {s.unsteered:.3f} to {s.steered:.3f}" for s in shifts)

        sizes = ", ".join(
            f"layer {point.layer} {point.site} {share:.2f}"
            for point, share in self.relative.items()
        )
        return (
            f"KL {self.kl:.3f} nats\ngained: {listed(self.gained)}\nlost: {listed(self.lost)}\n"
            f"push over activation: {sizes}"
        )


@torch.inference_mode()
def compare(
    model: SteeredModel,
    messages: Sequence[Mapping[str, Any]],
    steering: Steering,
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    top: int = 8,
) -> Comparison:
    """The next-token distribution of one request with and without a steering.

    Args:
        model: The model.
        messages: The request, as for ``generate``.
        steering: What is added, at the prompt's tokens too if its positions say so.
        tools: OpenAI tool dicts for the chat template.
        top: How many tokens to list on each side.

    Raises:
        TrimtabError: The steering belongs to another model.
    """
    prompt = model.prompt_tokens(messages, tools)
    untouched = steering.start(len(prompt)) >= len(prompt) - 1
    # An answer is needed to force, but only what precedes it is looked at.
    exchange = TokenizedExchange(prompt, prompt[-1:])
    (batch,) = answer_batches(model.parts, [exchange], prefill=untouched)
    activations: dict[Point, Tensor] = {}
    points = [Point(p.layer, "attn") if p.site == "mid" else p for p in steering.vectors.points]

    def keep(index: int, hidden: Tensor) -> None:
        activations[steering.vectors.points[index]] = hidden[0, _LAST].float()

    with reading(model.parts, points, keep):
        plain = _next_token(model, batch.run())
    with model.steered([steering], prompt_lengths=[len(prompt)]):
        steered = _next_token(model, batch.run())

    shift = steered.exp() - plain.exp()
    order = shift.argsort(descending=True).tolist()

    def shifts(tokens: list[int]) -> tuple[TokenShift, ...]:
        return tuple(
            TokenShift(
                str(model.tokenizer.decode([token])),
                plain[token].exp().item(),
                steered[token].exp().item(),
            )
            for token in tokens
        )

    return Comparison(
        kl=float((steered.exp() * (steered - plain)).sum()),
        gained=shifts(order[:top]),
        lost=shifts(order[: -top - 1 : -1]),
        relative={
            point: min(
                push if steering.relative else push / activations[point].norm().item(),
                math.inf if steering.cap is None else steering.cap,
            )
            for point, push in steering.pushes().items()
        },
    )


def _next_token(model: SteeredModel, hidden: Tensor | None) -> Tensor:
    assert hidden is not None
    return model.logits(hidden[0, _LAST]).log_softmax(-1).cpu()


def _one_line(text: str, limit: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
