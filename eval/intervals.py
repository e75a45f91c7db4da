"""Intervals over users: a mean, and a paired difference, each with what chance leaves open.

Tasks of one user are alike, so a task is no independent draw; a user is. The bootstrap therefore
draws whole users (Davison and Hinkley, *Bootstrap Methods and their Application*, section 3.8),
and the permutation test flips the sign of all of a user's differences together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import TrimtabError

_Floats = NDArray[np.float64]

# With this many users or fewer, every pattern of signs is tried, and the p-value is exact.
_EXACT_USERS = 12


class Estimate(NamedTuple):
    """A mean with its interval; NaN where there is nothing to tell.

    Attributes:
        mean: Mean over all values that are there.
        low: Lower end of the interval.
        high: Upper end of the interval.
        values: How many values are there.
        users: How many users they come from.
    """

    mean: float
    low: float
    high: float
    values: int
    users: int


class Difference(NamedTuple):
    """A paired difference with its interval and the p-value of no difference.

    Attributes:
        mean: Mean of ``first - second`` over the pairs that are whole.
        low: Lower end of the interval.
        high: Upper end of the interval.
        p_value: Two-sided, by flipping the signs of whole users; NaN without pairs.
        values: How many pairs are whole.
        users: How many users they come from.
    """

    mean: float
    low: float
    high: float
    p_value: float
    values: int
    users: int


def mean_interval(
    values: Sequence[float],
    users: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Estimate:
    """The mean of ``values`` and its percentile bootstrap interval over ``users``.

    Args:
        values: One score a task; NaN is a missing one and is left out.
        users: Whose task each is, as long as ``values``.
        confidence: Share of the resampled means that the interval holds.
        resamples: How many times the users are drawn anew.
        seed: Of the draws.

    Returns:
        The estimate. One user's scatter says nothing of other users': its interval is NaN.

    Raises:
        TrimtabError: The two sequences differ in length.

    Example:
        >>> mean_interval([1, 0, 1, 1], ["ann", "ann", "bob", "eve"]).mean
        0.75
    """
    sums, counts = _by_user(values, users)
    low, high = _interval(sums, counts, confidence, resamples, seed)
    return Estimate(_mean(sums, counts), low, high, int(counts.sum()), len(counts))


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    users: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Difference:
    """How much ``first`` is over ``second`` on the same tasks.

    Args:
        first: One score a task.
        second: The other method's score on the same task; a pair with a NaN is left out.
        users: Whose task each is.
        confidence: Share of the resampled differences that the interval holds.
        resamples: Of the bootstrap and, with more than 12 users, of the permutation test.
        seed: Of both.

    Raises:
        TrimtabError: The sequences differ in length.
    """
    if len(first) != len(second):
        raise TrimtabError(
            f"expected two scores for each task, got {len(first)} and {len(second)} scores"
        )
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    sums, counts = _by_user(differences, users)
    low, high = _interval(sums, counts, confidence, resamples, seed)
    p_value = _sign_flip(sums, resamples, seed)
    return Difference(_mean(sums, counts), low, high, p_value, int(counts.sum()), len(counts))


def _by_user(values: Sequence[float] | _Floats, users: Sequence[str]) -> tuple[_Floats, _Floats]:
    """Sum and number of each user's values, NaN left out; both ``(users,)``."""
    if len(values) != len(users):
        raise TrimtabError(f"expected one user a value, got {len(users)} for {len(values)} values")
    scores = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(scores)
    names, owner = np.unique(
        np.asarray(users, dtype=object)[there].astype(str), return_inverse=True
    )
    sums = np.bincount(owner, weights=scores[there], minlength=len(names)).astype(np.float64)
    counts = np.bincount(owner, minlength=len(names)).astype(np.float64)
    return sums, counts


def _mean(sums: _Floats, counts: _Floats) -> float:
    return float(sums.sum() / counts.sum()) if len(counts) else float("nan")


def _interval(
    sums: _Floats, counts: _Floats, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    users = len(counts)
    if users < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), resamples)
    means = (draws @ sums) / (draws @ counts)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _sign_flip(sums: _Floats, resamples: int, seed: int) -> float:
    """Two-sided p-value of the users' summed differences under random signs."""
    users = len(sums)
    if users == 0:
        return float("nan")
    observed = abs(sums.sum())
    if users <= _EXACT_USERS:
        patterns = (np.arange(2**users)[:, None] >> np.arange(users)) & 1
        signs, seen = 1.0 - 2.0 * patterns, 0
    else:
        # The observed signs are one of the patterns, so the p-value is never 0.
        rng = np.random.default_rng(seed)
        signs, seen = rng.choice([-1.0, 1.0], size=(resamples, users)), 1
    # Equal sums may differ in their last bits, by the order of the addition.
    reached = np.abs(signs @ sums) >= observed - 1e-9 * max(np.abs(sums).sum(), 1e-300)
    return float((reached.sum() + seen) / (len(signs) + seen))
