"""What all users' entries have in common: running sums, so that a mean is never a full pass."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...errors import TrimtabError
from ..vectors.entries import Contrast, Entry
from ..vectors.steering_vectors import Point, SteeringVectors


class Entries(Protocol):
    """What sums are taken over: a ``SteeringDictionary``, or anything with its attributes."""

    @property
    def points(self) -> tuple[Point, ...]:
        """The layers and sites that every entry has a vector for."""
        ...

    @property
    def entries(self) -> Sequence[Entry]:
        """What is known of each entry."""
        ...

    @property
    def vectors(self) -> Tensor:
        """Shape ``(entries, points, hidden_size)``."""
        ...


class UsualNorm(NamedTuple):
    """Mean and standard deviation of the entries' Euclidean norms at one point."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Moments:
    """Sums over the entries of one contrast kind, in float64.

    Sums of half-precision numbers are exact in float64 as long as they stay below 2^29, so that
    taking a user out again leaves exactly what was there without them.

    Attributes:
        count: How many entries.
        total: Sum of their vectors, shape ``(points, hidden_size)``.
        norms: Sum of the vectors' norms, shape ``(points,)``.
        squares: Sum of the squared norms, shape ``(points,)``.
    """

    count: int
    total: Tensor
    norms: Tensor
    squares: Tensor

    @classmethod
    def of(cls, vectors: Tensor) -> Moments:
        """The sums of vectors of shape ``(entries, points, hidden_size)``."""
        vectors = vectors.double()
        norms = vectors.norm(dim=-1)
        return cls(len(vectors), vectors.sum(dim=0), norms.sum(dim=0), norms.square().sum(dim=0))

    def plus(self, other: Moments, sign: int = 1) -> Moments:
        """These and the other's entries together, or without the other's for ``sign`` -1."""
        return Moments(
            self.count + sign * other.count,
            self.total + sign * other.total,
            self.norms + sign * other.norms,
            self.squares + sign * other.squares,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON, nothing rounded."""
        return {
            "count": self.count,
            "total": _packed(self.total),
            "norms": _packed(self.norms),
            "squares": _packed(self.squares),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Moments:
        """What ``to_json`` gave."""
        norms, squares = _unpacked(data["norms"]), _unpacked(data["squares"])
        total = _unpacked(data["total"]).reshape(len(norms), -1)
        return cls(data["count"], total, norms, squares)


@dataclass(frozen=True)
class Population:
    """The entries of many users, or of one, summed up for each kind of contrast.

    A value: users come and go by ``plus`` and ``minus``.

    Example:
        >>> everyone = Population.of(one, other, third)  # doctest: +SKIP
        >>> others = everyone.minus(Population.of(one))  # doctest: +SKIP
        >>> residual = Population.of(one).mean("context") - others.mean("context")  # doctest: +SKIP
    """

    points: tuple[Point, ...]
    kinds: Mapping[Contrast, Moments]

    @classmethod
    def of(cls, first: Entries, *more: Entries) -> Population:
        """The entries of one user, or of several users with the same points."""
        rows: dict[Contrast, list[int]] = {}
        for row, entry in enumerate(first.entries):
            rows.setdefault(entry.contrast, []).append(row)
        kinds = {kind: Moments.of(first.vectors[chosen]) for kind, chosen in rows.items()}
        population = cls(first.points, kinds)
        for other in more:
            population = population.plus(cls.of(other))
        return population

    def plus(self, other: Population) -> Population:
        """Both together."""
        return self._joined(other, 1)

    def minus(self, other: Population) -> Population:
        """This one without the entries of the other, which are part of it."""
        return self._joined(other, -1)

    def _joined(self, other: Population, sign: int) -> Population:
        if self.points != other.points:
            raise TrimtabError(
                "expected populations with vectors at the same points, got "
                f"{[tuple(p) for p in self.points]} and {[tuple(p) for p in other.points]}"
            )
        kinds = dict(self.kinds)
        for kind, moments in other.kinds.items():
            if kind in kinds:
                kinds[kind] = kinds[kind].plus(moments, sign)
            else:
                kinds[kind] = moments
            if not kinds[kind].count:
                del kinds[kind]
        return Population(self.points, kinds)

    def mean(self, contrast: Contrast) -> SteeringVectors:
        """The mean vector at each point, every entry counting the same, float32.

        Raises:
            TrimtabError: There is no entry of this kind.
        """
        moments = self._moments(contrast)
        mean = (moments.total / moments.count).float()
        return SteeringVectors(dict(zip(self.points, mean, strict=True)))

    def usual_norms(self, contrast: Contrast) -> dict[Point, UsualNorm]:
        """How long the entries' vectors are at each point.

        Raises:
            TrimtabError: There is no entry of this kind.
        """
        moments = self._moments(contrast)
        mean = moments.norms / moments.count
        deviation = (moments.squares / moments.count - mean.square()).clamp(min=0).sqrt()
        return {
            point: UsualNorm(*both)
            for point, *both in zip(self.points, mean.tolist(), deviation.tolist(), strict=True)
        }

    def _moments(self, contrast: Contrast) -> Moments:
        if contrast not in self.kinds:
            raise TrimtabError(
                f"there is no entry of {contrast!r} contrast to average; build dictionaries from "
                f"such pairs, or ask for one of {sorted(self.kinds)}"
            )
        return self.kinds[contrast]

    def to_json(self) -> dict[str, Any]:
        """As JSON, nothing rounded; the points are not part of it."""
        return {kind: moments.to_json() for kind, moments in self.kinds.items()}

    @classmethod
    def from_json(cls, points: tuple[Point, ...], data: Mapping[Any, Any]) -> Population:
        """What ``to_json`` gave."""
        return cls(points, {kind: Moments.from_json(sums) for kind, sums in data.items()})


def _packed(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def _unpacked(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float64)
