"""Tables of a run of function calls: how many are right, and what is wrong with the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ..cells import titled_table
from ..record import Record
from ..statistics.intervals import mean_interval
from .scoring import FAULTS, PROBLEMS

ALL = "all"
_PLAIN_WIDTH = 120


def bfcl_summary(records: Sequence[Record], metrics: Sequence[str]) -> dict[str, Any]:
    """All numbers of the tables as plain data; what is not known is None.

    Cases that the machinery failed at are left out, not counted as wrong.
    """
    return {
        "scores": [
            {
                "method": method,
                "category": category,
                "metric": metric,
                "cases": len(values),
                "mean": sum(values) / len(values) if values else None,
            }
            for method in _methods(records)
            for category in _categories(records)
            for metric in metrics
            for values in [_scores(records, method, category, metric)]
        ],
        "errors": {method: _errors(records, method) for method in _methods(records)},
    }


def print_bfcl(console: Console, records: Sequence[Record], metrics: Sequence[str]) -> None:
    """Print the tables: each metric by category, then the error classes."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    for metric in metrics:
        console.print(_score_table(records, metric))
        console.print()
    console.print(_error_table(records))
    console.print(
        "\nin brackets 95 % intervals over cases (bootstrap); errors of arguments are counted in "
        "calls of a right tool, all of a call",
        highlight=False,
    )


def _score_table(records: Sequence[Record], metric: str) -> Table:
    categories = _categories(records)
    table = titled_table(metric, ["", *categories])
    for method in _methods(records):
        cells = []
        for category in categories:
            values = _scores(records, method, category, metric)
            # Every case stands for itself, as a user of its own.
            found = mean_interval(values, [str(number) for number in range(len(values))])
            cells.append(
                f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})" if found.values else "–"
            )
        table.add_row(method, *cells)
    return table


def _error_table(records: Sequence[Record]) -> Table:
    table = titled_table("errors", ["", *_methods(records)])
    found = {method: _errors(records, method) for method in _methods(records)}
    for kind in (*PROBLEMS, *(f"argument: {fault}" for fault in FAULTS), "not answered"):
        table.add_row(kind, *(str(errors[kind]) for errors in found.values()))
    return table


def _errors(records: Sequence[Record], method: str) -> dict[str, int]:
    """How many answers have each problem, and how many arguments each fault."""
    own = [record for record in records if record.method == method]
    problems = Counter(record.detail["problem"] for record in own if not record.error)
    faults = Counter(f["kind"] for r in own if not r.error for f in r.detail["faults"])
    return {
        **{problem: problems[problem] for problem in PROBLEMS},
        **{f"argument: {fault}": faults[fault] for fault in FAULTS},
        "not answered": sum(bool(record.error) for record in own),
    }


def _scores(records: Sequence[Record], method: str, category: str, metric: str) -> list[float]:
    values = [
        record.scores.get(metric)
        for record in records
        if record.method == method and category in (record.kind, ALL)
    ]
    return [value for value in values if value is not None]


def _methods(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record.method for record in records))


def _categories(records: Sequence[Record]) -> list[str]:
    return [*sorted({record.kind for record in records}), ALL]
