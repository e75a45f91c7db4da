"""What a run of function calls comes to: how many are right, and what is wrong with the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..runs.record import Record
from .scoring import FAULTS, PROBLEMS

ALL = "all"


def call_summary(records: Sequence[Record], metrics: Sequence[str]) -> dict[str, Any]:
    """All numbers of the tables as plain data; what is not known is None.

    Cases that the machinery failed at are left out, not counted as wrong.
    """
    return {
        **scores_by_category(records, metrics),
        "errors": {method: errors_of(records, method) for method in methods_of(records)},
    }


def scores_by_category(records: Sequence[Record], metrics: Sequence[str]) -> dict[str, Any]:
    """Each method's mean in each metric, category by category, as plain data."""
    return {
        "by_category": [
            {
                "method": method,
                "category": category,
                "metric": metric,
                "cases": len(values),
                "mean": sum(values) / len(values) if values else None,
            }
            for method in methods_of(records)
            for category in categories_of(records)
            for metric in metrics
            for values in [scores_of(records, method, category, metric)]
        ]
    }


def errors_of(records: Sequence[Record], method: str) -> dict[str, int]:
    """How many answers have each problem, and how many arguments each fault."""
    own = [record for record in records if record.method == method]
    problems = Counter(record.detail["problem"] for record in own if not record.error)
    faults = Counter(f["kind"] for r in own if not r.error for f in r.detail["faults"])
    return {
        **{problem: problems[problem] for problem in PROBLEMS},
        **{f"argument: {fault}": faults[fault] for fault in FAULTS},
        "not answered": sum(bool(record.error) for record in own),
    }


def scores_of(records: Sequence[Record], method: str, category: str, metric: str) -> list[float]:
    """The known scores of a method's records of one category, or of all."""
    values = [
        record.scores.get(metric)
        for record in records
        if record.method == method and category in (record.kind, ALL)
    ]
    return [value for value in values if value is not None]


def methods_of(records: Sequence[Record]) -> list[str]:
    """The methods of a run, in the order of its records."""
    return list(dict.fromkeys(record.method for record in records))


def categories_of(records: Sequence[Record]) -> list[str]:
    """The categories of a run, and last ``all``."""
    return [*sorted({record.kind for record in records}), ALL]
