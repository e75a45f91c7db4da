"""Runs that were sampled more than once: how often all of several tries succeed, and the spread.

A model that draws its answers gives another score at every seed. ``pass^k`` tells whether it can
be relied on: the chance that ``k`` tries at one task all succeed (Yao et al., tau-bench, arXiv
2406.12045). ``pass@k`` is the chance that any does (Chen et al., arXiv 2107.03374).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...errors import TrimtabError


def pass_hat(trials: Mapping[str, Sequence[bool]], k: int) -> float:
    """``pass^k``: the mean over tasks of the chance that ``k`` tries, drawn without return, pass.

    Args:
        trials: By task, whether each try succeeded.
        k: How many tries.

    Returns:
        NaN without tasks.

    Raises:
        TrimtabError: ``k`` below 1, or a task with fewer tries.
    """
    return _mean_chance(trials, k, lambda passed, tries: math.comb(passed, k) / math.comb(tries, k))


def pass_at(trials: Mapping[str, Sequence[bool]], k: int) -> float:
    """``pass@k``: the mean over tasks of the chance that one of ``k`` tries passes; likewise."""
    return _mean_chance(
        trials, k, lambda passed, tries: 1 - math.comb(tries - passed, k) / math.comb(tries, k)
    )


def _mean_chance(
    trials: Mapping[str, Sequence[bool]], k: int, chance: Callable[[int, int], float]
) -> float:
    if k < 1:
        raise TrimtabError(f"expected k of at least 1 try, got {k}")
    short = next((task for task, own in trials.items() if len(own) < k), None)
    if short is not None:
        raise TrimtabError(
            f"task {short!r} has {len(trials[short])} tries, {k} are needed; run more seeds"
        )
    if not trials:
        return math.nan
    return math.fsum(chance(sum(map(bool, own)), len(own)) for own in trials.values()) / len(trials)


class Spread(NamedTuple):
    """How a score varies over seeds.

    Attributes:
        mean: Of the runs' means.
        deviation: Standard deviation of the runs' means; NaN for one run.
        within: Variance over seeds at one task, the mean over tasks; NaN for one run.
        between: Variance of the tasks' means over tasks; NaN for one task.
        runs: How many seeds.
        tasks: How many tasks all runs have scored.
    """

    mean: float
    deviation: float
    within: float
    between: float
    runs: int
    tasks: int


def over_seeds(runs: Mapping[int, Mapping[str, float]]) -> Spread:
    """The spread of a score over seeds; variances have one degree of freedom less.

    Args:
        runs: By seed, the score of each task. Tasks that some run has not scored, or scored NaN,
            are left out.

    Example:
        >>> over_seeds({0: {"a": 1.0, "b": 0.0}, 1: {"a": 0.0, "b": 0.0}}).mean
        0.25
    """
    scored = [
        {task for task, score in run.items() if not math.isnan(score)} for run in runs.values()
    ]
    tasks = sorted(set.intersection(*scored)) if scored else []
    if not tasks:
        return Spread(math.nan, math.nan, math.nan, math.nan, len(runs), 0)
    scores = np.array([[run[task] for task in tasks] for run in runs.values()])
    several = len(runs) > 1
    return Spread(
        mean=float(scores.mean()),
        deviation=float(scores.mean(axis=1).std(ddof=1)) if several else math.nan,
        within=float(scores.var(axis=0, ddof=1).mean()) if several else math.nan,
        between=float(scores.mean(axis=0).var(ddof=1)) if len(tasks) > 1 else math.nan,
        runs=len(runs),
        tasks=len(tasks),
    )
