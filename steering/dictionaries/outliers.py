"""Entries whose vectors are unlike a user's other ones, or unlike everybody's.

A polluted history steers too. Two things give an entry away: a vector that is much longer than
usual, and one that points where no other does. Short vectors steer little and are left alone.
What is usual is worked out for each kind of contrast and each point apart.

A user's vectors need not point one way: where most requests are searches, the few entries that
mean another tool point against the mean, and rightly so. So an entry of another direction counts
as an outlier only when no other entry goes with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from ...errors import TrimtabError
from ..vectors.entries import Contrast
from ..vectors.steering_vectors import Point

if TYPE_CHECKING:
    from ..vectors.entries import Entry
    from .population import Population

FEWEST = 5
"""Of fewer entries of a kind, none is called usual or unusual."""

# Scales below these are taken as these: entries that agree closely differ by next to nothing.
_LOG_NORM_SCALE = 0.1
_COSINE_SCALE = 0.05


@dataclass(frozen=True)
class Limits:
    """How far from the usual an entry may be.

    Attributes:
        z: Robust z-score of the log-norm, and of the cosine to the mean direction of the other
            entries. 3.5 is the usual choice (Iglewicz and Hoaglin 1993).
        company: An entry that has a cosine of at least this with another one is no outlier by
            direction among the user's own.
    """

    z: float = 3.5
    company: float = 0.3


@dataclass(frozen=True)
class Outlier:
    """Why one entry is unusual.

    Attributes:
        entry: Which entry.
        point: At which layer and site.
        what: Its ``norm`` is too large, or its ``direction`` is another.
        against: The entries it was compared with: the ``user``'s own or the ``population``'s.
        value: Its norm, or its cosine to their mean direction.
        usual: Their median norm, or their median cosine; for the population the means.
        limit: The largest norm, or the smallest cosine, that is not an outlier.
    """

    entry: Entry
    point: Point
    what: Literal["norm", "direction"]
    against: Literal["user", "population"]
    value: float
    usual: float
    limit: float

    def __str__(self) -> str:
        measure, bound = ("norm", "at most") if self.what == "norm" else ("cosine", "at least")
        whose = "this user's" if self.against == "user" else "the population's"
        return (
            f"sample {self.entry.sample_id!r} ({self.entry.contrast}), layer {self.point.layer} "
            f"{self.point.site}: {measure} {self.value:.3g}, {whose} is {self.usual:.3g} and "
            f"{bound} {self.limit:.3g} is expected"
        )


def find_outliers(
    entries: Sequence[Entry],
    vectors: Tensor,
    points: Sequence[Point],
    population: Population | None = None,
    limits: Limits | None = None,
) -> list[Outlier]:
    """Compare each entry with the others, and with the population.

    Against the user's own entries, of which there must be at least ``FEWEST`` of the kind: a norm
    is too large when the robust z-score of its logarithm (by median and median absolute deviation)
    is above ``limits.z``; a direction is another when its cosine to the mean direction of the
    other entries has a score below ``-limits.z`` and no other entry keeps it ``company``.

    Against the population, which knows its norms' mean and deviation and its mean vector: a norm
    is too large when the score of its logarithm, the norms taken as log-normal, is above
    ``limits.z``; a direction is another when its cosine to the mean vector is below
    ``agreement - 1``. Agreement is the norm of the mean vector over the mean norm: 1 where all
    point one way, so that a right angle is too much, and 0 where nothing is usual.

    Args:
        entries: What is known of each entry.
        vectors: Theirs, shape ``(entries, points, hidden_size)``.
        points: The layers and sites of the vectors.
        population: Everybody's entries, with the same points; None compares with the user alone.
        limits: How far is too far.

    Returns:
        One for each fault: by kind of contrast, then by point, then in the order of the entries.

    Raises:
        TrimtabError: The population has no vectors at one of the points.
    """
    limits = limits or Limits()
    missing = set(points) - set(population.points if population else points)
    if missing:
        raise TrimtabError(
            f"the population holds no vectors at {sorted(map(tuple, missing))}; compare with one "
            "of dictionaries with the same layers and sites"
        )
    rows: dict[Contrast, list[int]] = {}
    for row, entry in enumerate(entries):
        rows.setdefault(entry.contrast, []).append(row)
    outliers: list[Outlier] = []
    for kind, of_kind in rows.items():
        own = [entries[row] for row in of_kind]
        for column, point in enumerate(points):
            theirs = vectors[of_kind, column].float()
            if len(own) >= FEWEST:
                outliers += _against_user(own, theirs, point, limits)
            if population is not None and kind in population.kinds:
                outliers += _against_population(own, theirs, point, population, limits)
    return outliers


def _against_user(
    entries: Sequence[Entry], vectors: Tensor, point: Point, limits: Limits
) -> Iterator[Outlier]:
    norms = vectors.norm(dim=-1)
    middle, scale = _middle_and_scale(norms[norms > 0].log(), _LOG_NORM_SCALE)
    usual, longest = math.exp(middle), math.exp(middle + limits.z * scale)
    for row in (norms > longest).nonzero().flatten().tolist():
        yield Outlier(entries[row], point, "norm", "user", float(norms[row]), usual, longest)

    # Of each entry the others' mean direction: in its own, it would agree with itself.
    units = normalize(vectors, dim=-1)
    cosines = cosine_similarity(units, units.sum(dim=0) - units, dim=-1)
    middle, scale = _middle_and_scale(cosines[norms > 0], _COSINE_SCALE)
    least = middle - limits.z * scale
    for row in ((cosines < least) & (norms > 0)).nonzero().flatten().tolist():
        beside = units @ units[row]
        beside[row] = -1
        if beside.max() < limits.company:
            yield Outlier(
                entries[row], point, "direction", "user", float(cosines[row]), middle, least
            )


def _against_population(
    entries: Sequence[Entry],
    vectors: Tensor,
    point: Point,
    population: Population,
    limits: Limits,
) -> Iterator[Outlier]:
    kind = entries[0].contrast
    usual, deviation = population.usual_norms(kind)[point]
    if usual <= 0:
        return
    norms = vectors.norm(dim=-1)
    # A log-normal distribution with this mean and deviation.
    variance = math.log1p((deviation / usual) ** 2)
    scale = max(math.sqrt(variance), _LOG_NORM_SCALE)
    longest = math.exp(math.log(usual) - variance / 2 + limits.z * scale)
    for row in (norms > longest).nonzero().flatten().tolist():
        yield Outlier(entries[row], point, "norm", "population", float(norms[row]), usual, longest)

    mean = population.mean(kind).values[point]
    agreement = float(mean.norm()) / usual
    cosines = cosine_similarity(vectors, mean[None], dim=-1)
    for row in (cosines < agreement - 1).nonzero().flatten().tolist():
        yield Outlier(
            entries[row],
            point,
            "direction",
            "population",
            float(cosines[row]),
            agreement,
            agreement - 1,
        )


def _middle_and_scale(values: Tensor, least: float) -> tuple[float, float]:
    """Median, and the median absolute deviation as an estimate of the standard deviation."""
    if not len(values):
        return 0.0, math.inf
    middle = values.quantile(0.5)
    scale = 1.4826 * (values - middle).abs().quantile(0.5)
    return float(middle), max(float(scale), least)
