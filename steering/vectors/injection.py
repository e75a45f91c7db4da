"""Adding vectors inside the forward pass: the pulse after attention, the re-pulse after the MLP.

Every row of a batch has its own ``Steering`` or none. Forward hooks add the vectors; when the
context ends they are gone, whatever happened inside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import TrimtabError
from ..decoder.devices import execution_device
from ..decoder.families import Parts, first_tensor
from ..decoder.hooks import of_this_thread
from ..decoder.language_model import LanguageModel
from .steering import Steering
from .steering_vectors import Point, Site

# `attn` and `mid` are read differently and added at the same place: attention's output.
_PLACES: dict[Site, str] = {"attn": "attention", "mid": "attention", "mlp": "mlp", "block": "block"}


@contextmanager
def steered(
    model: LanguageModel,
    rows: Sequence[Steering | None],
    prompt_lengths: Sequence[int] | None = None,
) -> Iterator[None]:
    """``injected`` into a model that the vectors were read from; the same arguments.

    Raises:
        TrimtabError: The vectors are another model's, or as ``injected``.
    """
    for row in rows:
        if row is not None and row.fingerprint is not None:
            model.check_fingerprint(row.fingerprint, "the steering")
    with injected(model.parts, rows, prompt_lengths):
        yield


@contextmanager
def injected(
    parts: Parts, rows: Sequence[Steering | None], prompt_lengths: Sequence[int] | None = None
) -> Iterator[None]:
    """Add each row's vectors in every forward pass that this thread makes inside the context.

    A forward pass may hold as many rows as given, or a multiple of it (beams, several sampled
    sequences a prompt: each row stands for a run of neighbours). A position is the number of real
    tokens before it in its row, worked out from the 2-D attention mask and the cache, so left
    padding, right padding and cached decoding all count alike.

    Args:
        parts: The decoder and its layers.
        rows: One steering a row; None is unsteered.
        prompt_lengths: Real tokens in each row's prompt. Without it, whatever the first forward
            pass holds is taken as the prompt.

    Raises:
        TrimtabError: A layer out of range, a vector of another size, or a batch that is not a
            multiple of the rows.
    """
    plan = _Plan(rows, prompt_lengths)
    places = _places(parts, rows)
    handles = []
    try:
        if places:
            locate = of_this_thread(plan.locate)
            handles.append(parts.decoder.register_forward_pre_hook(locate, with_kwargs=True))
        for module, pushes in places:
            handles.append(module.register_forward_hook(of_this_thread(plan.adding(pushes))))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Push:
    """The vectors that one place receives, a row of ``(rows, hidden_size)`` each, strength in."""

    vectors: Tensor
    strengths: Tensor  # (rows,), the multiplier of a relative row's unit vector


def _places(parts: Parts, rows: Sequence[Steering | None]) -> list[tuple[nn.Module, _Push]]:
    points: list[Point] = sorted(
        {p for row in rows if row for p in row.vectors.points if row.strength_at(p.site) != 0}
    )
    hidden = {v.shape[0] for row in rows if row for v in row.vectors.values.values()}
    if len(hidden) > 1:
        raise TrimtabError(f"expected vectors of one hidden size in a batch, got {sorted(hidden)}")
    places = []
    for point in points:
        if not 0 <= point.layer < len(parts.layers):
            raise TrimtabError(
                f"the steering vectors name layer {point.layer}, but the model has layers 0 to "
                f"{len(parts.layers) - 1}; build the dictionary with this model"
            )
        vectors = torch.zeros(len(rows), *hidden)
        strengths = torch.zeros(len(rows))
        for index, row in enumerate(rows):
            if row and point in row.vectors.values:
                vectors[index] = row.vectors.values[point].float().cpu()
                strengths[index] = row.strength_at(point.site)
        layer = parts.layers[point.layer]
        device = execution_device(layer.block)
        if point.site != "block":
            vectors /= layer.scale  # by which the layer multiplies what is added here
        push = _Push(vectors.to(device), strengths.to(device))
        places.append((getattr(layer, _PLACES[point.site]), push))
    return places


class _Plan:
    """Which tokens of the forward pass under way are steered, and how much."""

    def __init__(
        self, rows: Sequence[Steering | None], prompt_lengths: Sequence[int] | None
    ) -> None:
        if prompt_lengths is not None and len(prompt_lengths) != len(rows):
            raise TrimtabError(
                f"expected one prompt length a row, got {len(prompt_lengths)} for {len(rows)} rows"
            )
        self._rows = rows
        self._prompt_lengths = list(prompt_lengths) if prompt_lengths is not None else None
        self._gain: Tensor | None = None  # (batch, tokens), 0 where nothing is added
        self._relative = torch.tensor([bool(row and row.relative) for row in rows])
        self._caps = torch.tensor(
            [row.cap if row and row.cap is not None else math.inf for row in rows]
        )
        self._bounds = [row.bound() if row else math.inf for row in rows]

    def locate(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the decoder runs: find the position of each of its tokens."""
        positions, real = _token_positions(args, kwargs)
        if positions.shape[0] % len(self._rows):
            raise TrimtabError(
                f"expected a batch of {len(self._rows)} rows or a multiple of it, one steering "
                f"each, got {positions.shape[0]} rows"
            )
        repeats = positions.shape[0] // len(self._rows)
        if self._prompt_lengths is None:
            # Beams share their prompt, so the first of each run of neighbours speaks for it.
            lengths = torch.where(real, positions + 1, 0).amax(dim=1)
            self._prompt_lengths = lengths[::repeats].tolist()
        windows = [
            row.window(length) if row else (0, 0)
            for row, length in zip(self._rows, self._prompt_lengths, strict=True)
        ]

        def per_token(values: Sequence[float]) -> Tensor:
            column = torch.tensor(values, dtype=torch.float32, device=positions.device)
            return column.repeat_interleave(repeats)[:, None]

        start, end = (per_token(side) for side in zip(*windows, strict=True))
        decay = per_token([row.decay if row else 1.0 for row in self._rows])
        steered = real & (positions >= start) & (positions < end)
        since = (positions - start).clamp(min=0)
        gain = torch.minimum(decay**since, per_token(self._bounds))
        self._gain = torch.where(steered, gain, 0.0)

    def adding(self, push: _Push) -> Any:
        """A forward hook that adds ``push`` to the output of a sub-layer."""

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if self._gain is None:
                return None
            hidden = first_tensor(output)
            steered = hidden + self._added(push, hidden)
            return (steered, *output[1:]) if isinstance(output, tuple) else steered

        return hook

    def _added(self, push: _Push, hidden: Tensor) -> Tensor:
        assert self._gain is not None
        repeats = hidden.shape[0] // len(self._rows)
        gain = self._gain.to(hidden.device)[..., None]  # (batch, tokens, 1)

        def per_row(values: Tensor) -> Tensor:
            return values.to(hidden.device).repeat_interleave(repeats, dim=0)

        added = gain * (per_row(push.vectors * push.strengths[:, None]))[:, None]
        if self._relative.any() or self._caps.isfinite().any():
            activation = hidden.float().norm(dim=-1, keepdim=True)
            unit = per_row(nn.functional.normalize(push.vectors, dim=-1))[:, None]
            strength = per_row(push.strengths)[:, None, None]
            relative = per_row(self._relative)[:, None, None]
            added = torch.where(relative, gain * strength * activation * unit, added)
            bound = per_row(self._caps)[:, None, None] * activation
            size = added.norm(dim=-1, keepdim=True)
            added = torch.where(size > bound, added * (bound / size), added)
        return added.to(hidden.dtype)


def _token_positions(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Position of each token in its row, and whether it is a real one; both ``(batch, tokens)``."""
    tokens = args[0] if args else kwargs.get("input_ids")
    if tokens is None:
        tokens = kwargs["inputs_embeds"]
    batch, count = tokens.shape[:2]
    mask = kwargs.get("attention_mask")
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return (mask.long().cumsum(dim=1) - 1)[:, -count:], mask[:, -count:].bool()
    given = kwargs.get("position_ids")
    if isinstance(given, Tensor) and given.ndim == 2:
        positions = given.expand(batch, count)
        return positions, torch.ones_like(positions, dtype=torch.bool)
    cache = kwargs.get("past_key_values")
    past = cache.get_seq_length() if cache is not None else 0
    positions = torch.arange(past, past + count, device=tokens.device).expand(batch, count)
    return positions, torch.ones_like(positions, dtype=torch.bool)
