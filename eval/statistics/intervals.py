"""Intervals over users: a score, and a paired difference, each with what chance leaves open.

Tasks of one user are alike, so a task is no independent draw; a user is. The bootstrap therefore
draws whole users (Davison and Hinkley, *Bootstrap Methods and their Application*, section 3.8),
and the permutation test flips the sign of all of a user's differences together. For a score that
is no mean, such as macro F1, it swaps all of a user's answers between the two methods (Noreen,
*Computer-Intensive Methods for Testing Hypotheses*, 1989: approximate randomization).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import TrimtabError

_Floats = NDArray[np.float64]
T = TypeVar("T")

# With this many users or fewer, every pattern of signs is tried, and the p-value is exact.
_EXACT_USERS = 12


class Estimate(NamedTuple):
    """A mean or another total with its interval; NaN where there is nothing to tell.

    Attributes:
        mean: Mean, or total, over all values that are there.
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
        mean: Mean of ``first - second``, or difference of totals, over the pairs that are whole.
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


def total_interval(
    total: Callable[[Sequence[T]], float],
    items: Sequence[T | None],
    users: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """A score that is no mean, and its percentile bootstrap interval over ``users``.

    Args:
        total: From items, with repetitions, to the score; NaN where they have none.
        items: What is scored, one a task; None is a missing one and is left out.
        users: Whose task each is, as long as ``items``.
        confidence: Share of the resampled scores that the interval holds.
        resamples: How many times the users are drawn anew.
        seed: Of the draws.

    Raises:
        TrimtabError: The two sequences differ in length.
    """
    groups = _grouped(items, users)
    every = [item for group in groups for item in group]
    drawn = (total(_drawn(groups, draw)) for draw in _draws(len(groups), resamples, seed))
    low, high = _quantiles(list(drawn), confidence)
    return Estimate(total(every) if every else math.nan, low, high, len(every), len(groups))


def total_difference(
    total: Callable[[Sequence[T]], float],
    first: Sequence[T | None],
    second: Sequence[T | None],
    users: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Difference:
    """How much the score of ``first`` is over that of ``second`` on the same tasks.

    The p-value is that of no difference: the share of random swaps of whole users' items between
    the two that give as large a difference.

    Args:
        total: From items to the score.
        first: One item a task.
        second: The other method's item for the same task; a pair with a None is left out.
        users: Whose task each is.
        confidence: Share of the resampled differences that the interval holds.
        resamples: Of the bootstrap and, with more than 12 users, of the permutation test.
        seed: Of both.

    Raises:
        TrimtabError: The sequences differ in length.
    """
    if len(first) != len(second):
        raise TrimtabError(
            f"expected two items for each task, got {len(first)} and {len(second)} items"
        )
    whole = [
        None if one is None or other is None else (one, other)
        for one, other in zip(first, second, strict=True)
    ]
    groups = _grouped(whole, users)

    def difference(pairs: Sequence[tuple[T, T]]) -> float:
        if not pairs:
            return math.nan
        return total([one for one, _ in pairs]) - total([other for _, other in pairs])

    observed = difference([pair for group in groups for pair in group])
    drawn = (difference(_drawn(groups, draw)) for draw in _draws(len(groups), resamples, seed))
    low, high = _quantiles(list(drawn), confidence)
    signs, seen = _signs(len(groups), resamples, seed)
    reached = 0
    for pattern in signs:
        swapped = [
            pair if sign > 0 else pair[::-1]
            for sign, group in zip(pattern, groups, strict=True)
            for pair in group
        ]
        reached += abs(difference(swapped)) >= abs(observed) - 1e-9
    p_value = (reached + seen) / (len(signs) + seen) if groups else math.nan
    return Difference(observed, low, high, p_value, sum(map(len, groups)), len(groups))


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


def _grouped(items: Sequence[T | None], users: Sequence[str]) -> list[list[T]]:
    """Each user's items that are there, users in sorted order."""
    if len(items) != len(users):
        raise TrimtabError(f"expected one user an item, got {len(users)} for {len(items)} items")
    groups: dict[str, list[T]] = {}
    for item, user in zip(items, users, strict=True):
        if item is not None:
            groups.setdefault(str(user), []).append(item)
    return [groups[user] for user in sorted(groups)]


def _drawn(groups: Sequence[Sequence[T]], counts: Sequence[int]) -> list[T]:
    return [
        item for group, count in zip(groups, counts, strict=True) for item in [*group] * int(count)
    ]


def _draws(users: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each user is drawn, ``(resamples, users)``; no draws of fewer than two users."""
    if users < 2:
        return np.empty((0, users), dtype=np.int64)
    return np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), resamples)


def _quantiles(scores: Sequence[float] | _Floats, confidence: float) -> tuple[float, float]:
    """Both ends of the interval; draws without a score are left out."""
    there = [score for score in scores if not math.isnan(score)]
    if not there:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(there, [tail, 1 - tail])
    return float(low), float(high)


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
    draws = _draws(len(counts), resamples, seed)
    return _quantiles((draws @ sums) / (draws @ counts), confidence)


def _sign_flip(sums: _Floats, resamples: int, seed: int) -> float:
    """Two-sided p-value of the users' summed differences under random signs."""
    users = len(sums)
    if users == 0:
        return float("nan")
    observed = abs(sums.sum())
    signs, seen = _signs(users, resamples, seed)
    # Equal sums may differ in their last bits, by the order of the addition.
    reached = np.abs(signs @ sums) >= observed - 1e-9 * max(np.abs(sums).sum(), 1e-300)
    return float((reached.sum() + seen) / (len(signs) + seen))


def _signs(users: int, resamples: int, seed: int) -> tuple[_Floats, int]:
    """Patterns of signs ``(patterns, users)``, and how many are counted besides them.

    All patterns for few users. Else random ones, and the observed one is counted too, so that a
    p-value is never 0.
    """
    if users <= _EXACT_USERS:
        patterns = (np.arange(2**users)[:, None] >> np.arange(users)) & 1
        return 1.0 - 2.0 * patterns.astype(np.float64), 0
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], size=(resamples, users)), 1
