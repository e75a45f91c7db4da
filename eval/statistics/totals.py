"""A metric over records, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .intervals import (
    Difference,
    Estimate,
    mean_interval,
    paired_difference,
    sums_difference,
    sums_interval,
)

if TYPE_CHECKING:
    from ..metrics import Metric, Pair
    from ..runs.record import Record


# Draws times users of one bootstrap at most: with very many users fewer draws do as well.
_MOST_DRAWS = 4_000_000
_DRAWS = 4000


def metric_estimate(
    records: Sequence[Record], metric: Metric, *, resamples: int = _DRAWS
) -> Estimate:
    """The metric over one method's records.

    Records with an error, and those whose gold is not known, are left out and counted.
    """
    users = [record.user_id for record in records]
    draws = min(resamples, _draws(users))
    if metric.sums is None:
        scores = [score_of(record, metric) for record in records]
        return mean_interval(scores, users, bounds=metric.bounds, resamples=draws)
    parts = metric.sums.parts([_pair(record) for record in records])
    return sums_interval(parts, users, metric.sums.score, bounds=metric.bounds, resamples=draws)


def metric_difference(
    first: Sequence[Record], second: Sequence[Record], metric: Metric
) -> Difference:
    """How much the first method's metric is over the second's, on the samples that both have."""
    others = {record.sample_id: record for record in second}
    both = [(own, others[own.sample_id]) for own in first if own.sample_id in others]
    users = [own.user_id for own, _ in both]
    if metric.sums is None:
        return paired_difference(
            [score_of(own, metric) for own, _ in both],
            [score_of(other, metric) for _, other in both],
            users,
            resamples=_draws(users),
        )
    # In one table, so that a part is the same label on both sides.
    parts = metric.sums.parts([_pair(r) for side in (0, 1) for r in (pair[side] for pair in both)])
    return sums_difference(
        parts[: len(both)],
        parts[len(both) :],
        users,
        metric.sums.score,
        resamples=_draws(users),
    )


def score_of(record: Record, metric: Metric) -> float:
    """The record's own score; NaN where there is none."""
    score = None if record.error else record.scores.get(metric.name)
    return math.nan if score is None else score


def _pair(record: Record) -> Pair | None:
    return None if record.error or not record.gold.strip() else (record.output, record.gold)


def _draws(users: Sequence[str]) -> int:
    return max(400, min(_DRAWS, _MOST_DRAWS // max(1, len(set(users)))))
