"""Intervals over users: a score, and a paired difference, each with what chance leaves open.

Tasks of one user are alike, so a task is no independent draw; a user is. A score is a function of
sums over tasks: of a mean the values and their number, of macro F1 the counts by label. Each user's
sums are taken once, and all that follows is one product of matrices:

- with 20 users or more the interval is a percentile bootstrap that draws whole users (Davison and
  Hinkley, *Bootstrap Methods and their Application*, section 3.8);
- with fewer, where that interval is too narrow, it is a t interval with the standard error of the
  jackknife over users (Efron and Tibshirani, *An Introduction to the Bootstrap*, chapter 11): of a
  mean to which all users give as much, the usual t interval over the users' means;
- the p-value of a difference swaps all of a user's tasks between the two methods (Noreen,
  *Computer-Intensive Methods for Testing Hypotheses*, 1989: approximate randomization); of a mean
  that is to flip the sign of all of a user's differences together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import TrimtabError

Floats = NDArray[np.float64]

Score = Callable[[Floats], Floats]
"""From sums over tasks, ``(..., parts)``, to the score, ``(...)``; NaN where there is none."""

Bounds = tuple[float, float]

FEW_USERS = 20
"""With fewer users than this, a percentile bootstrap holds the truth too seldom."""

# With this many users or fewer, every pattern of swaps is tried, and the p-value is exact.
_EXACT_USERS = 12


class Estimate(NamedTuple):
    """A score with its interval; NaN where there is nothing to tell.

    Attributes:
        mean: Mean, or other score, over all values that are there.
        low: Lower end of the interval.
        high: Upper end of the interval.
        values: How many values are there.
        users: How many users they come from.
        missing: How many values are not there, and left out.
    """

    mean: float
    low: float
    high: float
    values: int
    users: int
    missing: int = 0


class Difference(NamedTuple):
    """A paired difference with its interval and the p-value of no difference.

    Attributes:
        mean: Score of the first less that of the second, over the pairs that are whole.
        low: Lower end of the interval.
        high: Upper end of the interval.
        p_value: Two-sided, by swapping whole users; not corrected; NaN without pairs.
        values: How many pairs are whole.
        users: How many users they come from.
        missing: How many pairs are not whole, and left out.
    """

    mean: float
    low: float
    high: float
    p_value: float
    values: int
    users: int
    missing: int = 0


def mean_interval(
    values: ArrayLike,
    users: Sequence[str],
    *,
    bounds: Bounds | None = None,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Estimate:
    """The mean of ``values`` and its interval over ``users``.

    Args:
        values: One score a task; NaN is a missing one and is left out.
        users: Whose task each is, as long as ``values``.
        bounds: Between which every value must lie; no interval goes beyond.
        confidence: Chance that such an interval holds the true mean.
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
    return sums_interval(
        _counted(values),
        users,
        _mean,
        bounds=bounds,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    users: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Difference:
    """How much the mean of ``first`` is over that of ``second`` on the same tasks.

    Args:
        first: One score a task.
        second: The other method's score on the same task; a pair with a NaN is left out.
        users: Whose task each is.
        confidence: Chance that such an interval holds the true difference.
        resamples: Of the bootstrap and, with more than 12 users, of the permutation test.
        seed: Of both.

    Raises:
        TrimtabError: The sequences differ in length.
    """
    return sums_difference(
        _counted(first),
        _counted(second),
        users,
        _mean,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def sums_interval(
    parts: ArrayLike,
    users: Sequence[str],
    score: Score,
    *,
    bounds: Bounds | None = None,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Estimate:
    """A score that is a function of sums over tasks, and its interval over ``users``.

    Args:
        parts: What each task adds to the sums, ``(tasks, parts)``; a task with a NaN is missing.
        users: Whose task each is.
        score: From the sums to the score.
        bounds: Between which every score must lie; no interval goes beyond.
        confidence: Chance that such an interval holds the true score.
        resamples: How many times the users are drawn anew.
        seed: Of the draws.

    Raises:
        TrimtabError: As many tasks as users are expected.

    Example:
        >>> root_mean_square = lambda sums: np.sqrt(sums[..., 0] / sums[..., 1])
        >>> sums_interval([[9, 1], [1, 1], [2, 1]], ["a", "b", "b"], root_mean_square).mean
        2.0
    """
    table = np.asarray(parts, dtype=np.float64)
    there = _there(table, users)
    sums = _by_user(table, users, there)

    def of(weights: Floats) -> Floats:
        return _scored(score, weights @ sums)

    low, high = _interval(of, len(sums), confidence, resamples, seed)
    if bounds is not None and not math.isnan(low):
        low, high = max(low, bounds[0]), min(high, bounds[1])
    values = int(there.sum())
    return Estimate(_all(of, len(sums)), low, high, values, len(sums), len(table) - values)


def sums_difference(
    first: ArrayLike,
    second: ArrayLike,
    users: Sequence[str],
    score: Score,
    *,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Difference:
    """How much the score of ``first`` is over that of ``second`` on the same tasks.

    Args:
        first: What each task adds to the first method's sums, ``(tasks, parts)``.
        second: The same of the second method; a task with a NaN on either side is left out.
        users: Whose task each is.
        score: From the sums to the score.
        confidence: Chance that such an interval holds the true difference.
        resamples: Of the bootstrap and, with more than 12 users, of the permutation test.
        seed: Of both.

    Raises:
        TrimtabError: The sequences differ in length.
    """
    one, other = (np.asarray(side, dtype=np.float64) for side in (first, second))
    if len(one) != len(other):
        raise TrimtabError(
            f"expected two scores for each task, got {len(one)} and {len(other)} scores"
        )
    there = _there(one, users) & _there(other, users)
    own, others = _by_user(one, users, there), _by_user(other, users, there)

    def of(weights: Floats) -> Floats:
        return _scored(score, weights @ own) - _scored(score, weights @ others)

    low, high = _interval(of, len(own), confidence, resamples, seed)
    values = int(there.sum())
    return Difference(
        mean=_all(of, len(own)),
        low=low,
        high=high,
        p_value=_swapped(own, others, score, resamples, seed),
        values=values,
        users=len(own),
        missing=len(one) - values,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values made larger for their number (Holm, "A simple sequentially rejective ...", 1979).

    With ``m`` comparisons the smallest is multiplied by ``m``, the next by ``m - 1`` and so on,
    never above 1 and never below the one before; the chance that any true "no difference" falls
    below a level is then at most that level.

    Args:
        p_values: Of all comparisons that are made; a NaN stays one and is not counted.

    Returns:
        In the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(
        (place for place, p in enumerate(p_values) if not math.isnan(p)),
        key=lambda place: p_values[place],
    )
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _counted(values: ArrayLike) -> Floats:
    """Values and a 1 for each, ``(tasks, 2)``: the parts of a mean."""
    scores = np.asarray(values, dtype=np.float64)
    return np.stack([scores, np.ones_like(scores)], axis=-1)


def _mean(sums: Floats) -> Floats:
    return sums[..., 0] / sums[..., 1]


def _scored(score: Score, sums: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return score(sums)


def _there(table: Floats, users: Sequence[str]) -> NDArray[np.bool_]:
    """Which tasks have all their parts, ``(tasks,)``."""
    if len(table) != len(users):
        raise TrimtabError(f"expected one user a value, got {len(users)} for {len(table)} values")
    return np.logical_not(np.isnan(table).any(axis=-1))


def _by_user(table: Floats, users: Sequence[str], there: NDArray[np.bool_]) -> Floats:
    """Each user's sums, ``(users, parts)``; users without a task are not there."""
    names, owner = np.unique(
        np.asarray(users, dtype=object)[there].astype(str), return_inverse=True
    )
    sums = np.zeros((len(names), table.shape[-1]))
    np.add.at(sums, owner, table[there])
    return sums


def _all(of: Score, users: int) -> float:
    return float(of(np.ones((1, users)))[0]) if users else math.nan


def _interval(
    of: Score, users: int, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """The interval of a function of the users' weights, ``(draws, users)`` to ``(draws,)``."""
    if users < 2:
        return math.nan, math.nan
    if users < FEW_USERS:
        return _jackknife(of, users, confidence)
    rng = np.random.default_rng(seed)
    drawn = of(rng.multinomial(users, np.full(users, 1 / users), resamples).astype(np.float64))
    drawn = drawn[~np.isnan(drawn)]  # draws without a score are left out
    if not len(drawn):
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _jackknife(of: Score, users: int, confidence: float) -> tuple[float, float]:
    """A t interval by the standard error of the jackknife, which leaves out one user at a time."""
    from scipy.special import stdtrit

    without = of(1.0 - np.eye(users))
    error = math.sqrt((users - 1) / users * float(((without - without.mean()) ** 2).sum()))
    reach = float(stdtrit(users - 1, (1 + confidence) / 2)) * error
    middle = _all(of, users)
    return middle - reach, middle + reach


def _swapped(own: Floats, others: Floats, score: Score, resamples: int, seed: int) -> float:
    """Two-sided p-value of the difference under random swaps of whole users."""
    users = len(own)
    if users == 0:
        return math.nan
    if users <= _EXACT_USERS:
        patterns = (np.arange(2**users)[:, None] >> np.arange(users)) & 1
        signs, seen = 1.0 - 2.0 * patterns, 0
    else:
        # The observed pattern is counted too, so that a p-value is never 0.
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(resamples, users))
        seen = 1
    middle, half = (own + others).sum(axis=0) / 2, (own - others) / 2
    apart = signs @ half
    drawn = np.abs(_scored(score, middle + apart) - _scored(score, middle - apart))
    total = half.sum(axis=0)
    observed = abs(
        float(_scored(score, (middle + total)[None])[0] - _scored(score, (middle - total)[None])[0])
    )
    if math.isnan(observed):
        return math.nan
    drawn = drawn[~np.isnan(drawn)]
    # Equal sums may differ in their last bits, by the order of the addition.
    reached = drawn >= observed - 1e-9 * max(float(drawn.max(initial=0.0)), 1e-300)
    return float((reached.sum() + seen) / (len(drawn) + seen))
