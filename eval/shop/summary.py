"""What a shopping run comes to: accuracies and steps by task type and method."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...envs.shop.records import TASK_TYPES
from ..statistics.intervals import Estimate, mean_interval

if TYPE_CHECKING:
    from ..runs.record import Record

MEASURES = {"function": "function accuracy", "result": "result accuracy"}
STEPS = "steps"
ALL = "all"


class Accuracy(NamedTuple):
    """One method's mean of one measure over the tasks of one type, or over all of them."""

    method: str
    measure: str
    type: str
    estimate: Estimate


def accuracies(
    records: Sequence[Record],
    methods: Sequence[str],
    measures: Collection[str] = MEASURES,
) -> list[Accuracy]:
    """Function and result accuracy of each method, by task type and over all.

    Episodes that the machinery broke off have no score and are left out, not counted as wrong.
    """
    rows = []
    for measure in measures:
        for method in methods:
            for kind in (*TASK_TYPES, ALL):
                own = [r for r in records if r.method == method and kind in (r.kind, ALL)]
                estimate = mean_interval(
                    [measured(r, measure) for r in own],
                    [r.user_id for r in own],
                    bounds=(0, math.inf if measure == STEPS else 1),
                )
                rows.append(Accuracy(method, measure, kind, estimate))
    return rows


def measured(record: Record, measure: str) -> float:
    """A record's score, or its number of steps; NaN where there is none."""
    if measure == STEPS:
        episode = record.detail.get("episode")
        return float(len(episode["steps"])) if episode else math.nan
    score = record.scores.get(measure)
    return math.nan if score is None else score


def shop_summary(records: Sequence[Record]) -> dict[str, Any]:
    """Means by method, measure and type as plain data; what is not known is None."""
    methods = list(dict.fromkeys(record.method for record in records))
    return {
        "accuracies": [
            {
                "method": accuracy.method,
                "measure": accuracy.measure,
                "type": accuracy.type,
                **_plain(accuracy.estimate),
            }
            for accuracy in accuracies(records, methods, [*MEASURES, STEPS])
        ]
    }


def _plain(numbers: Estimate) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in numbers._asdict().items()}
