"""Tables of a shopping run: accuracies and steps by task type, and what an episode took."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...envs.shop.records import TASK_TYPES
from ...eval.shop.record import episode_of
from ...eval.shop.summary import ALL, MEASURES, STEPS, Accuracy, accuracies
from .cells import number, titled_table, with_interval
from .standings_table import print_comparisons, print_notes, print_repeats

if TYPE_CHECKING:
    from ...agent.loop.episode import Episode
    from ...eval.runs.record import Record, Run
    from ...eval.statistics.standings import Standings

# Wide enough for every table: a file or a pipe has no width of its own.
_PLAIN_WIDTH = 120
_WIDE = 100


def print_shop(console: Console, run: Run, found_standings: Standings) -> None:
    """Print the tables, in colour on a terminal, as plain aligned text anywhere else.

    Args:
        console: Where.
        run: What was played; of a conversation, the average steps are told as well.
        found_standings: How its methods stand.
    """
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    # On a narrow terminal an interval stands below its mean.
    gap = " " if console.width >= _WIDE else "\n"
    steps = run.configuration.get("track") == "multi"
    measures = [*MEASURES, STEPS] if steps else [*MEASURES]
    rows = accuracies(run.records, run.methods, measures)
    for measure in measures:
        console.print(_accuracy_table(rows, measure, run.methods, gap))
        console.print()
    print_comparisons(console, found_standings)
    console.print(_cost_table(run.records, run.methods))
    if run.records:
        print_repeats(console, found_standings)
        print_notes(console, found_standings)


def _accuracy_table(
    rows: Sequence[Accuracy], measure: str, methods: Sequence[str], gap: str
) -> Table:
    kinds = [
        kind
        for kind in (*TASK_TYPES, ALL)
        if any(a.type == kind and a.estimate.values for a in rows)
    ]
    table = titled_table(MEASURES.get(measure, "average steps"), ["", *kinds], first="folded")
    for method in methods:
        row = {a.type: a.estimate for a in rows if a.method == method and a.measure == measure}
        cells = [with_interval(*row[kind][:3], ".2f", gap=gap) for kind in kinds]
        table.add_row(Text(method), *cells)
    return table


def _cost_table(records: Sequence[Record], methods: Sequence[str]) -> Table:
    columns = ["", "steps", "invalid calls", "prompt tokens", "answer tokens", "broken off"]
    table = titled_table("per episode", columns, first="folded")
    for method in methods:
        own = [record for record in records if record.method == method]
        played = [episode for record in own if (episode := episode_of(record)) is not None]

        def mean(of: Callable[[Episode], float], played: Sequence[Episode] = played) -> float:
            return sum(map(of, played)) / len(played) if played else math.nan

        table.add_row(
            Text(method),
            number(mean(lambda e: len(e.steps)), ".2f"),
            number(mean(lambda e: sum(s.error is not None for s in e.steps)), ".2f"),
            number(mean(lambda e: e.prompt_tokens), ".0f"),
            number(mean(lambda e: e.completion_tokens), ".0f"),
            str(sum(bool(record.error) for record in own)),
        )
    return table
