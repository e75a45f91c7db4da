"""What is added at each place of a batch, and how much of it at each token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import TrimtabError
from ..decoder.families import Parts
from ..decoder.sublayers import Sublayer, by_rows, first_tensor, replaced
from .low_rank import Stage
from .positions import windows
from .steering import Steering
from .steering_vectors import Point, Site

# `attn` and `mid` are read differently and added at the same place: attention's output.
_PLACES: dict[Site, str] = {"attn": "attention", "mid": "attention", "mlp": "mlp", "block": "block"}

Rows = Sequence[Steering | None]


@dataclass(frozen=True)
class Push:
    """What one place receives; all tensors are float32, or bool, and lie on one device.

    Attributes:
        vectors: Each row's vector times its strength, ``(rows, hidden_size)``.
        units: The vectors at norm 1, ``(rows, hidden_size)``.
        strengths: ``(rows,)``.
        relative: Which rows scale their vector to the activation's norm, ``(rows,)``.
        caps: At most this share of the activation's norm is added, ``(rows,)``; infinity is no cap.
        bounded: Whether any row is relative or capped.
    """

    vectors: Tensor
    units: Tensor
    strengths: Tensor
    relative: Tensor
    caps: Tensor
    bounded: bool

    @classmethod
    def of(cls, rows: Rows, point: Point, hidden_size: int, scale: float) -> Push:
        """What the rows add at a point, on the processor.

        Args:
            rows: One steering a row; None adds nothing.
            point: Where.
            hidden_size: Length of a vector.
            scale: What the layer multiplies by whatever is added there.
        """
        vectors, strengths = torch.zeros(len(rows), hidden_size), torch.zeros(len(rows))
        for index, row in enumerate(rows):
            if row and point in row.vectors.values:
                vectors[index] = row.vectors.values[point].float().cpu() / scale
                strengths[index] = row.strength_at(point.site)
        relative = [bool(row and row.relative) for row in rows]
        caps = [row.cap if row and row.cap is not None else math.inf for row in rows]
        return cls(
            vectors * strengths[:, None],
            nn.functional.normalize(vectors, dim=-1),
            strengths,
            torch.tensor(relative),
            torch.tensor(caps),
            any(relative) or min(caps) < math.inf,
        )

    def each(self, change: Callable[[Tensor], Tensor]) -> Push:
        """The same with every tensor changed alike: moved, repeated, chosen from."""
        names = [f.name for f in fields(self) if f.name != "bounded"]
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)

    def added(self, gain: Tensor, hidden: Tensor, others: Tensor | None = None) -> Tensor:
        """What is added to a sub-layer's output.

        Args:
            gain: The factor of each token, ``(rows, tokens)``.
            hidden: The output, ``(rows, tokens, hidden_size)``.
            others: What other modules of the sub-layer add beside it, in the scale of ``hidden``.

        Returns:
            ``(rows, tokens, hidden_size)``.
        """
        gain = gain.to(hidden.device)[..., None]
        added = gain * self.vectors[:, None]
        if self.bounded:
            whole = hidden.float() if others is None else hidden.float() + others.float()
            activation = whole.norm(dim=-1, keepdim=True)
            pushed = gain * self.strengths[:, None, None] * activation * self.units[:, None]
            added = torch.where(self.relative[:, None, None], pushed, added)
            bound = self.caps[:, None, None] * activation
            size = added.norm(dim=-1, keepdim=True)
            added = torch.where(size > bound, added * (bound / size), added)
        return added.to(hidden.dtype)


def pushes_of(parts: Parts, rows: Rows) -> dict[Point, Push]:
    """What the rows add, at each point where any of them adds something; on the processor.

    Raises:
        TrimtabError: Vectors of several sizes or of another than the model's, or a layer that the
            model has not.
    """
    points: list[Point] = sorted(
        {p for row in rows if row for p in row.vectors.points if row.strength_at(p.site) != 0}
    )
    sizes = {v.shape[0] for row in rows if row for v in row.vectors.values.values()}
    if len(sizes) > 1:
        raise TrimtabError(f"expected vectors of one hidden size in a batch, got {sorted(sizes)}")
    hidden = parts.decoder.config.get_text_config().hidden_size
    if sizes - {hidden}:
        raise TrimtabError(
            f"expected vectors of {hidden} numbers, the model's hidden size, got {sorted(sizes)}; "
            "build them with this model"
        )
    pushes = {}
    for point in points:
        if not 0 <= point.layer < len(parts.layers):
            raise TrimtabError(
                f"the steering vectors name layer {point.layer}, but the model has layers 0 to "
                f"{len(parts.layers) - 1}; build the dictionary with this model"
            )
        pushes[point] = Push.of(rows, point, max(sizes), place_of(parts, point).scale)
    return pushes


def place_of(parts: Parts, point: Point) -> Sublayer:
    """Where the vectors of a point are added: to the output of its ``module``, over its scale."""
    place = getattr(parts.layers[point.layer], _PLACES[point.site])
    return place if isinstance(place, Sublayer) else Sublayer(place)


def push_into(place: Sublayer, push: Push, gain: Tensor, output: Any, others: Tensor | None) -> Any:
    """A place's output with what is pushed added to it.

    Args:
        place: As ``place_of`` finds it.
        push: For the rows of the pass, on its device.
        gain: The factor of each token, ``(rows, tokens)``.
        output: What the place's module returned.
        others: What the modules before it add to the stream; None where there is none.
    """
    hidden = by_rows(first_tensor(output), len(gain))
    if others is not None:
        others = by_rows(others, len(gain)) / place.scale
    return replaced(output, hidden + push.added(gain, hidden, others))


@dataclass(frozen=True)
class Windows:
    """What the gain of each token is worked out from: ``(rows, 1)`` each, float32.

    The second window is empty, but for the two edges of a prompt.
    """

    start: Tensor
    end: Tensor
    second_start: Tensor
    second_end: Tensor
    decay: Tensor
    bound: Tensor

    @classmethod
    def of(
        cls,
        rows: Sequence[Steering | Stage | None],
        prompt_lengths: Sequence[int],
        device: torch.device,
    ) -> Windows:
        """The windows of rows with prompts of these lengths."""
        values = [_window_values(*each) for each in zip(rows, prompt_lengths, strict=True)]
        table = torch.tensor(values, dtype=torch.float32, device=device)
        return cls(*(column[:, None] for column in table.unbind(dim=1)))

    def each(self, change: Callable[[Tensor], Tensor]) -> Windows:
        """The same with every tensor changed alike."""
        return Windows(*(change(getattr(self, f.name)) for f in fields(self)))

    def fit(self, batch: int, device: torch.device) -> bool:
        """Whether a pass of this width on this device can use them."""
        return len(self.start) == batch and self.start.device == device

    def gain(self, positions: Tensor, real: Tensor) -> Tensor:
        """The factor of each token, 0 where nothing is added; ``(rows, tokens)``.

        Args:
            positions: Of each token in its row, ``(rows, tokens)``.
            real: Whether it is a token and no padding, ``(rows, tokens)``.
        """
        first = (positions >= self.start) & (positions < self.end)
        second = (positions >= self.second_start) & (positions < self.second_end)
        since = positions - torch.where(second, self.second_start, self.start)
        since, steered = since.clamp(min=0), real & (first | second)
        return torch.where(steered, torch.minimum(self.decay**since, self.bound), 0.0)


def _window_values(each: Steering | Stage | None, prompt_length: int) -> tuple[float, ...]:
    """The numbers of ``Windows`` for one row."""
    if each is None:
        return 0.0, 0.0, 0.0, 0.0, 1.0, math.inf
    first, second = windows(each.positions, prompt_length)
    fading = (each.decay, each.bound()) if isinstance(each, Steering) else (1.0, math.inf)
    return *first, *second, *fading
