"""Tables of a run: accuracies and steps by task type and arm, differences, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ...envs.shop.records import TASK_TYPES
from ...eval.shop.summary import (
    ALL,
    MEASURES,
    STEPS,
    Accuracy,
    ArmDifference,
    accuracies,
    differences,
)
from .cells import number, titled_table, with_interval

if TYPE_CHECKING:
    from ...eval.shop.score import ScoredEpisode


# Wide enough for every table: a file or a pipe has no width of its own.
_PLAIN_WIDTH = 120
_WIDE = 100


def print_tables(
    console: Console,
    episodes: Sequence[ScoredEpisode],
    arms: Sequence[str],
    of: str,
    *,
    steps: bool = False,
) -> None:
    """Print the tables, in colour on a terminal, as plain aligned text anywhere else.

    Args:
        console: Where.
        episodes: What was played.
        arms: In the order of the rows.
        of: The arm that the others are compared with.
        steps: Also the average steps by task type, which the multi-turn track reports.
    """
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    # On a narrow terminal an interval stands below its mean.
    gap = " " if console.width >= _WIDE else "\n"
    measures = [*MEASURES, STEPS] if steps else [*MEASURES]
    found = accuracies(episodes, arms, measures)
    for measure in measures:
        console.print(_accuracy_table(found, measure, arms, of, gap))
        console.print()
    compared = differences(episodes, arms, of)
    if compared:
        console.print(_difference_table(compared, of, gap))
        console.print()
    console.print(_cost_table(episodes, arms))
    users = len({e.user_id for e in episodes})
    tasks = len({e.task_id for e in episodes})
    console.print(
        f"\n{tasks} tasks of {users} users; in brackets 95 % intervals over users "
        "(bootstrap); p by flipping the signs of whole users.",
        highlight=False,
    )


def _accuracy_table(
    found: Sequence[Accuracy], measure: str, arms: Sequence[str], of: str, gap: str
) -> Table:
    kinds = [
        kind
        for kind in (*TASK_TYPES, ALL)
        if any(a.type == kind and a.estimate.values for a in found)
    ]
    table = titled_table(MEASURES.get(measure, "average steps"), ["", *kinds])
    for arm in arms:
        row = {a.type: a.estimate for a in found if a.arm == arm and a.measure == measure}
        cells = [with_interval(*row[kind][:3], ".2f", gap=gap) for kind in kinds]
        table.add_row(arm, *cells, style="bold" if arm == of else None)
    return table


def _difference_table(compared: Sequence[ArmDifference], of: str, gap: str) -> Table:
    columns = [column for name in MEASURES.values() for column in (name, "p")]
    table = titled_table(f"{of} minus", ["", *columns])
    for other in dict.fromkeys(c.other for c in compared):
        cells: list[str] = []
        for measure in MEASURES:
            [difference] = [
                c.difference for c in compared if c.other == other and c.measure == measure
            ]
            cells.append(with_interval(*difference[:3], "+.2f", gap=gap))
            cells.append(number(difference.p_value, ".3f"))
        table.add_row(other, *cells)
    return table


def _cost_table(episodes: Sequence[ScoredEpisode], arms: Sequence[str]) -> Table:
    table = titled_table(
        "per episode",
        ["", "steps", "invalid calls", "prompt tokens", "answer tokens", "broken off"],
    )
    for arm in arms:
        played = [e.episode for e in episodes if e.arm == arm and e.episode is not None]

        def mean(of: Callable[[Any], float], played: Sequence[Any] = played) -> float:
            return sum(map(of, played)) / len(played) if played else math.nan

        broken = sum(e.arm == arm and bool(e.error) for e in episodes)
        table.add_row(
            arm,
            number(mean(lambda e: len(e.steps)), ".2f"),
            number(mean(lambda e: sum(s.error is not None for s in e.steps)), ".2f"),
            number(mean(lambda e: e.prompt_tokens), ".0f"),
            number(mean(lambda e: e.completion_tokens), ".0f"),
            str(broken),
        )
    return table
