"""AdamW for many users at once: every user's numbers are stepped, and clipped, by themselves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .options import TrainingOptions

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class RowAdamW:
    """``torch.optim.AdamW`` for stacks of numbers whose rows know nothing of each other.

    A row that takes no part in a step is left as it is, which PyTorch's own cannot do: momentum
    and weight decay would move it.

    Args:
        numbers: Leaf tensors by name, ``(rows, ...)``, all with as many rows; where ``apart`` is
            false they are one row together, of any shapes.
        options: Learning rate, weight decay, clip.
        apart: Whether rows are users.
    """

    def __init__(
        self, numbers: Mapping[str, Tensor], options: TrainingOptions, *, apart: bool
    ) -> None:
        self._numbers = dict(numbers)
        self._options = options
        self._apart = apart
        first = next(iter(self._numbers.values()))
        self.count = torch.zeros(len(first) if apart else 1, device=first.device)
        self.first = {name: torch.zeros_like(n) for name, n in self._numbers.items()}
        self.second = {name: torch.zeros_like(n) for name, n in self._numbers.items()}

    @torch.no_grad()
    def step(self, active: Tensor) -> None:
        """Step the rows that are active, ``(rows,)`` bool; gradients are dropped."""
        options = self._options
        gradients = {
            name: torch.zeros_like(n) if n.grad is None else n.grad
            for name, n in self._numbers.items()
        }
        squares = sum(self._rows(g).square().sum(dim=1) for g in gradients.values())
        assert isinstance(squares, Tensor)
        factor = (options.clip / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        self.count += active
        corrected = [1 - beta**self.count for beta in _BETAS]
        for name, numbers in self._numbers.items():
            gradient = gradients[name] * self._like(factor, numbers)
            first = torch.lerp(self.first[name], gradient, 1 - _BETAS[0])
            second = torch.lerp(self.second[name], gradient.square(), 1 - _BETAS[1])
            size = (second / self._like(corrected[1], numbers)).sqrt() + _EPSILON
            moved = numbers * (1 - options.learning_rate * options.weight_decay)
            moved -= options.learning_rate * first / self._like(corrected[0], numbers) / size
            where = self._like(active, numbers)
            numbers.copy_(torch.where(where, moved, numbers))
            self.first[name] = torch.where(where, first, self.first[name])
            self.second[name] = torch.where(where, second, self.second[name])
            numbers.grad = None

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on."""
        return (
            {"count": self.count}
            | {f"first.{name}": n for name, n in self.first.items()}
            | {f"second.{name}": n for name, n in self.second.items()}
        )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from what ``state`` gave."""
        self.count = state["count"].to(self.count.device)
        for name in self._numbers:
            self.first[name] = state[f"first.{name}"].to(self.count.device)
            self.second[name] = state[f"second.{name}"].to(self.count.device)

    def _rows(self, values: Tensor) -> Tensor:
        return (
            values.flatten(1)
            if self._apart and values.ndim > 1
            else values.reshape(len(self.count), -1)
        )

    def _like(self, rows: Tensor, values: Tensor) -> Tensor:
        """``(rows,)`` in a shape that goes with the numbers'."""
        return rows.reshape(-1, *[1] * (values.ndim - 1)) if self._apart else rows[0]
