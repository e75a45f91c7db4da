"""Tables of a run of function calls: how many are right, and what is wrong with the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ...eval.calls.scoring import FAULTS, PROBLEMS
from ...eval.calls.summary import ALL, categories_of, errors_of, methods_of, scores_of
from ...eval.runs.record import Record
from ...eval.statistics.intervals import mean_interval
from ...eval.statistics.notes import interval_note
from .cells import titled_table, with_interval

_PLAIN_WIDTH = 120


def print_calls(console: Console, records: Sequence[Record], metrics: Sequence[str]) -> None:
    """Print the tables: each metric by category, then the error classes."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    for metric in metrics:
        console.print(_score_table(records, metric))
        console.print()
    console.print(_error_table(records))
    cases = [
        sum(not math.isnan(score) for score in scores_of(records, method, category, metrics[0]))
        for method in methods_of(records)
        for category in categories_of(records)
    ]
    console.print(
        f"\nIn brackets {interval_note(cases)}, each case standing for a user of its own. Errors "
        "of arguments are counted in calls of a right tool, all errors of a call.",
        highlight=False,
    )


def print_categories(console: Console, records: Sequence[Record], metric: str) -> None:
    """Print one metric by category, a line a method."""
    console.print(_score_table(records, metric, [c for c in categories_of(records) if c != ALL]))


def _score_table(
    records: Sequence[Record], metric: str, categories: Sequence[str] | None = None
) -> Table:
    categories = categories_of(records) if categories is None else categories
    table = titled_table(metric, ["", *categories])
    for method in methods_of(records):
        cells = []
        for category in categories:
            values = scores_of(records, method, category, metric)
            # Every case stands for itself, as a user of its own; all scores of calls are shares.
            cases = [str(number) for number in range(len(values))]
            estimate = mean_interval(values, cases, bounds=(0, 1))
            cells.append(with_interval(estimate.mean, estimate.low, estimate.high, ".3f"))
        table.add_row(method, *cells)
    return table


def _error_table(records: Sequence[Record]) -> Table:
    table = titled_table("errors", ["", *methods_of(records)])
    found = {method: errors_of(records, method) for method in methods_of(records)}
    for kind in (*PROBLEMS, *(f"argument: {fault}" for fault in FAULTS), "not answered"):
        table.add_row(kind, *(str(errors[kind]) for errors in found.values()))
    return table
