"""A personal shift without training the person: ``v_u = c + U A z_u``, learned on other people.

``z_u`` says in a few numbers what a history is like: its mean activations, in the directions in
which people differ most for how much one person varies, each drawn to the mean by how little so
many samples tell of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import TrimtabError
from ...steering.vectors.low_rank import Shift, Stage
from ...steering.vectors.positions import Where
from .trainable import Place

_RIDGE = 0.1  # of the mean variance, added to every direction's own


@dataclass(frozen=True)
class Directions:
    """In which directions people differ, and how much one person varies in them.

    Attributes:
        centre: ``(features,)``.
        basis: ``(features, directions)``; within a person each direction has variance 1.
        between: How much people differ in each, ``(directions,)``.
    """

    centre: Tensor
    basis: Tensor
    between: Tensor

    @classmethod
    def of(cls, people: Sequence[Tensor], count: int) -> Directions:
        """From people's samples, ``(samples, features)`` each.

        Args:
            people: At least two, one of them with two samples or more.
            count: How many directions, at most.

        Raises:
            TrimtabError: Too few people or samples.
        """
        several = [each for each in people if len(each) > 1]
        if len(people) < 2 or not several:
            raise TrimtabError(
                f"expected at least 2 people to learn on, one of them with 2 samples, got "
                f"{len(people)} and {len(several)} with so many"
            )
        means = torch.stack([each.float().mean(dim=0) for each in people])
        centre = means.mean(dim=0)
        within = torch.cat([each.float() - each.float().mean(dim=0) for each in several])
        freedom = sum(len(each) - 1 for each in several)
        covariance = within.T @ within / freedom
        ridge = _RIDGE * covariance.diagonal().mean()
        values, vectors = torch.linalg.eigh(covariance + ridge * torch.eye(len(centre)))
        white = vectors / values.sqrt()
        # A mean of n samples varies by 1/n within the person: those who say more count more.
        weights = torch.tensor([len(each) / (len(each) + 8.0) for each in people])
        spread = (means - centre) @ white * weights.sqrt()[:, None]
        _, sizes, rotation = torch.linalg.svd(spread, full_matrices=False)
        count = min(count, len(rotation), len(people) - 1)
        basis = white @ rotation[:count].T
        inside = ((within @ basis).square().sum(dim=0) / freedom).clamp(min=1e-6)
        noise = (torch.tensor([1 / len(each) for each in people]) * weights).sum() / weights.sum()
        total = sizes[:count].square() / weights.sum()
        between = (total - noise * inside).clamp(min=1e-3 * inside)
        basis = basis / inside.sqrt()
        return cls(centre, basis, between / inside)

    def z(self, samples: Tensor) -> Tensor:
        """What a history says of a person, ``(directions,)``; without samples 0, the mean person's.

        Args:
            samples: ``(samples, features)``.
        """
        if not len(samples):
            return torch.zeros(len(self.between))
        mean = (samples.float().mean(dim=0) - self.centre) @ self.basis
        trust = self.between / (self.between + 1 / len(samples))
        return mean * trust / self.between.sqrt()

    def recognised(self, people: Sequence[Tensor]) -> float:
        """How many of the people one half of a history recognises among the other halves.

        Args:
            people: Their samples, ``(samples, features)`` each; those with fewer than 2 are left
                out.

        Returns:
            A share; NaN where nobody has two samples.
        """
        several = [each for each in people if len(each) > 1]
        if not several:
            return float("nan")
        halves = [torch.stack([self.z(each[n::2]) for each in several]) for n in (0, 1)]
        one, other = (torch.nn.functional.normalize(half, dim=1) for half in halves)
        nearest = (one @ other.T).argmax(dim=1)
        return (nearest == torch.arange(len(several))).float().mean().item()


class Amortized:
    """``c + U A z`` after some layers: shared numbers, which everybody's examples train.

    Args:
        z: One row for each owner, ``(owners, directions)``.
        start: The collective shift at each layer.
        rank: Columns of ``U``.
        positions: Which tokens are changed.
        seed: Of ``U``'s start; ``A`` starts at 0.
        device: Where.
    """

    apart = False

    def __init__(
        self,
        z: Tensor,
        start: Mapping[int, Tensor],
        rank: int,
        positions: Where,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.positions = positions
        self.layers = tuple(sorted(start))
        self.z = z.to(device)
        self._rank, self._seed = rank, seed
        generator = torch.Generator().manual_seed(seed)
        width = len(start[self.layers[0]])
        # As long as a typical shift, so that one learning rate does for both of its factors.
        typical = torch.stack([start[layer] for layer in self.layers]).norm(dim=1).mean().item()
        numbers = {"mix": torch.zeros(rank, z.shape[1])}
        for layer in self.layers:
            drawn = torch.randn(rank, width, generator=generator)
            drawn = drawn / drawn.norm(dim=1, keepdim=True) * max(typical, 1.0)
            numbers |= {f"{layer}.centre": start[layer].clone(), f"{layer}.basis": drawn}
        self.numbers = {name: n.to(device).requires_grad_() for name, n in numbers.items()}

    @property
    def places(self) -> tuple[Place, ...]:
        """The layers."""
        return self.layers

    @property
    def description(self) -> Mapping[str, Any]:
        """Layers, rank, positions, start, z."""
        start = [self.numbers[f"{layer}.centre"].detach().cpu() for layer in self.layers]
        return {
            "kind": "amortized",
            "layers": list(self.layers),
            "rank": self._rank,
            "positions": str(self.positions),
            "seed": self._seed,
            "numbers": [t.double().sum().item() for t in (self.z, *start)],
            "squares": [t.double().square().sum().item() for t in (self.z, *start)],
        }

    def delta(self, place: Place, x: Tensor, owners: Tensor) -> Tensor:
        """See ``Trainable``."""
        return self._shift(place, self.z[owners])[:, None].expand_as(x)

    def _shift(self, place: Place, z: Tensor) -> Tensor:
        numbers = self.numbers
        return numbers[f"{place}.centre"] + (z @ numbers["mix"].T) @ numbers[f"{place}.basis"]

    @torch.no_grad()
    def stage(self, z: Tensor) -> Stage:
        """The shift of whoever has this ``z``, ``(directions,)``."""
        z = z.to(self.z.device)
        shifts = {layer: Shift(self._shift(layer, z).cpu()) for layer in self.layers}
        return Stage(shifts, self.positions)
