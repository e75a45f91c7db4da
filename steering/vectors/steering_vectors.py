"""Steering vectors as values: one vector per (layer, site), with arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ...errors import TrimtabError

Site = Literal["attn", "mid", "mlp", "block"]
SITES: tuple[Site, ...] = get_args(Site)


class Point(NamedTuple):
    """Where a vector is read and added: a decoder layer (counted from 0) and a site in it."""

    layer: int
    site: Site


def points_of(layers: Iterable[int], sites: Iterable[Site]) -> tuple[Point, ...]:
    """Every site of every layer, in the order in which a forward pass meets them.

    Raises:
        TrimtabError: An unknown site, or no layer or no site at all.
    """
    layers, sites = sorted(set(layers)), list(sites)
    unknown = [site for site in sites if site not in SITES]
    if unknown or not layers or not sites:
        raise TrimtabError(
            f"expected at least one layer and sites out of {', '.join(SITES)}; "
            f"got layers {list(layers)} and sites {sites}"
        )
    return tuple(Point(layer, site) for layer in layers for site in SITES if site in sites)


@dataclass(frozen=True)
class SteeringVectors:
    """One vector of shape ``(hidden_size,)`` for each (layer, site).

    A value: sums, differences and multiples are new objects. Two operands must hold the same
    points.

    Example:
        >>> one = SteeringVectors({Point(3, "mlp"): torch.tensor([1.0, 2.0])})
        >>> (2 * one - one).values[Point(3, "mlp")]
        tensor([1., 2.])
    """

    values: Mapping[Point, Tensor]

    def __post_init__(self) -> None:
        for point, vector in self.values.items():
            if vector.ndim != 1:
                raise TrimtabError(
                    f"expected a vector of shape (hidden_size,) at {tuple(point)}, "
                    f"got shape {tuple(vector.shape)}"
                )
            if not torch.isfinite(vector).all():
                raise TrimtabError(
                    f"the vector at layer {point[0]}, site {point[1]} holds NaN or infinity; "
                    "rebuild it, or leave its sample out"
                )

    @property
    def points(self) -> tuple[Point, ...]:
        """Where there is a vector."""
        return tuple(self.values)

    def norms(self) -> dict[Point, float]:
        """The Euclidean norm at each point."""
        return {point: vector.float().norm().item() for point, vector in self.values.items()}

    def map(self, change: Callable[[Tensor], Tensor]) -> SteeringVectors:
        """The same points with ``change`` applied to each vector."""
        return SteeringVectors({point: change(vector) for point, vector in self.values.items()})

    def _combine(
        self, other: SteeringVectors, join: Callable[[Tensor, Tensor], Tensor]
    ) -> SteeringVectors:
        if set(self.values) != set(other.values):
            raise TrimtabError(
                f"expected vectors at the same layers and sites, got {list(self.values)} "
                f"and {list(other.values)}"
            )
        return SteeringVectors(
            {point: join(vector, other.values[point]) for point, vector in self.values.items()}
        )

    def __add__(self, other: SteeringVectors) -> SteeringVectors:
        return self._combine(other, torch.add)

    def __sub__(self, other: SteeringVectors) -> SteeringVectors:
        return self._combine(other, torch.sub)

    def __mul__(self, factor: float) -> SteeringVectors:
        return self.map(lambda vector: vector * factor)

    __rmul__ = __mul__

    def __neg__(self) -> SteeringVectors:
        return -1.0 * self

    @staticmethod
    def mean(vectors: Iterable[SteeringVectors]) -> SteeringVectors:
        """The average of at least one.

        Raises:
            TrimtabError: Nothing to average.
        """
        every = list(vectors)
        if not every:
            raise TrimtabError("the mean of no steering vectors is not defined; give at least one")
        total = every[0]
        for vector in every[1:]:
            total = total + vector
        return total * (1 / len(every))
