"""Runs that were sampled more than once: how often all of several tries succeed, and the spread.

A model that draws its answers gives another score at every seed. ``pass^k`` tells whether it can
be relied on: the chance that ``k`` tries at one task all succeed (Yao et al., tau-bench, arXiv
2406.12045). ``pass@k`` is the chance that any does (Chen et al., arXiv 2107.03374).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...errors import TrimtabError
from .totals import score_of

if TYPE_CHECKING:
    from ..metrics import Metric
    from ..runs.record import Record


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


class Repeated(NamedTuple):
    """One method's score in one metric over repeats of the same samples.

    Attributes:
        method: The method.
        metric: The metric.
        spread: Over the repeats.
        passed: ``pass^k`` for all repeats; NaN where a score is neither 0 nor 1.
    """

    method: str
    metric: str
    spread: Spread
    passed: float


def repeated(method: str, records: Sequence[Record], metric: Metric) -> Repeated | None:
    """How a method's score varies over repeats, on the samples that every repeat has scored.

    Returns:
        None where nothing was repeated, or the metric has no score of a single answer.
    """
    runs: dict[int, dict[str, float]] = {}
    for record in records:
        score = score_of(record, metric)
        if not math.isnan(score):
            runs.setdefault(record.repeat, {})[record.drawn_from] = score
    if len(runs) < 2:
        return None
    spread = over_seeds(runs)
    tries = {
        sample: [run[sample] for run in runs.values()]
        for sample in runs[min(runs)]
        if all(sample in run for run in runs.values())
    }
    right_or_wrong = all(score in (0.0, 1.0) for own in tries.values() for score in own)
    passed = math.nan
    if right_or_wrong:
        trials = {sample: [bool(score) for score in own] for sample, own in tries.items()}
        passed = pass_hat(trials, len(runs))
    return Repeated(method, metric.name, spread, passed)
