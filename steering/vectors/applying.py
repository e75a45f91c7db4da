"""Low-rank interventions on a batch: a different one for every row, in one product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import TrimtabError
from .low_rank import Intervention, Linear, Lora, ModuleName, Stage
from .steering import Steering


class RowInterventions:
    """One intervention a row at one place, or none.

    Rows of one intervention share its numbers: what all rows have is one matrix product.

    Args:
        rows: By row of the batch.

    Raises:
        TrimtabError: Hidden sizes that differ.
    """

    def __init__(self, rows: Sequence[Intervention | Lora | None]) -> None:
        distinct = list({id(each): each for each in rows if each is not None}.values())
        linear = [each.linear() for each in distinct]
        sizes = sorted({(each.down.shape[1], each.up.shape[1]) for each in linear})
        if len(sizes) != 1:
            raise TrimtabError(
                f"expected interventions of one hidden size in a batch, got {[n for n, _ in sizes]}"
            )
        place = {id(each): n for n, each in enumerate(distinct)}
        # A row that has none is given any, times 0.
        self._has = torch.tensor([float(each is not None) for each in rows])
        self._index = torch.tensor([place.get(id(each), 0) for each in rows])
        self._linear = _stacked(linear)
        self._on: dict[torch.device, tuple[Linear, Tensor, Tensor]] = {}

    def delta(self, hidden: Tensor) -> Tensor:
        """What the interventions add to ``hidden``.

        Args:
            hidden: ``(batch, tokens, hidden_size)``, or the inputs of a linear module; the batch
                is a multiple of the rows: each row stands for a run of neighbours.

        Returns:
            ``(batch, tokens, hidden_size)``, or the module's outputs; float32.
        """
        linear, index, has = self._at(hidden.device)
        repeats = len(hidden) // len(index)
        if repeats > 1:
            index, has = index.repeat_interleave(repeats), has.repeat_interleave(repeats)
        x = hidden.float()
        if len(linear.down) == 1:
            down, up, inner, outer = (part[0] for part in linear)
            delta = (x @ down.T + inner) @ up + outer
        else:
            down, up, inner, outer = (part[index] for part in linear)
            delta = (x @ down.transpose(1, 2) + inner[:, None]) @ up + outer[:, None]
        return delta * has[:, None, None]

    def _at(self, device: torch.device) -> tuple[Linear, Tensor, Tensor]:
        if device not in self._on:
            moved = Linear(*(part.to(device) for part in self._linear))
            self._on[device] = moved, self._index.to(device), self._has.to(device)
        return self._on[device]


def stages_of(rows: Sequence[Steering | None]) -> list[list[Stage | None]]:
    """The rows' first stages, their second ones, ...: ``(stages, rows)``."""
    depth = max((len(row.stages) for row in rows if row), default=0)
    return [
        [row.stages[n] if row and n < len(row.stages) else None for row in rows]
        for n in range(depth)
    ]


def interventions_of(
    stages: Sequence[Stage | None], layers: int
) -> tuple[dict[int, RowInterventions], dict[ModuleName, RowInterventions]]:
    """What one stage of a batch changes: after layers, and beside linear modules.

    Args:
        stages: One a row; None changes nothing.
        layers: How many the model has.

    Raises:
        TrimtabError: A layer that the model has not, or hidden sizes that differ.
    """
    there = [stage for stage in stages if stage]
    last = max((stage.last_layer for stage in there), default=0)
    if last >= layers:
        raise TrimtabError(
            f"the interventions name layer {last}, but the model has layers 0 to "
            f"{layers - 1}; train them for this model"
        )
    named = sorted({layer for stage in there for layer in stage.layers})
    modules = sorted({name for stage in there for name in stage.modules})
    return {
        layer: RowInterventions([stage.layers.get(layer) if stage else None for stage in stages])
        for layer in named
    }, {
        name: RowInterventions([stage.modules.get(name) if stage else None for stage in stages])
        for name in modules
    }


def _stacked(every: Sequence[Linear]) -> Linear:
    """One more dimension in front; lower ranks are padded with zeros, which change nothing."""
    rank = max(len(each.inner) for each in every)

    def padded(part: Tensor) -> Tensor:
        return torch.cat([part, part.new_zeros(rank - len(part), *part.shape[1:])]).cpu()

    return Linear(
        torch.stack([padded(each.down) for each in every]),
        torch.stack([padded(each.up) for each in every]),
        torch.stack([padded(each.inner) for each in every]),
        torch.stack([each.outer.cpu() for each in every]),
    )
