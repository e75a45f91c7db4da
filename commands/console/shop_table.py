"""Tables of a run: accuracies and steps by task type and arm, differences, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ...envs.shop.records import TASK_TYPES
from ...eval.runs.record import Record, Run
from ...eval.shop.summary import (
    ALL,
    MEASURES,
    STEPS,
    Accuracy,
    accuracies,
)
from ...eval.statistics.standings import Standings, standings
from .cells import number, titled_table, with_interval
from .standings_table import print_comparisons, print_notes, print_repeats

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
        of: The arm whose row stands out.
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
    found_standings = _standings(episodes, arms)
    print_comparisons(console, found_standings)
    console.print(_cost_table(episodes, arms))
    if episodes:
        print_repeats(console, found_standings)
        print_notes(console, found_standings)


def _standings(episodes: Sequence[ScoredEpisode], arms: Sequence[str]) -> Standings:
    """How the arms stand, worked out as for every other run."""
    records = [
        Record(
            method=e.arm,
            sample_id=e.task_id,
            user_id=e.user_id,
            kind=e.type,
            scores={
                measure: None if math.isnan(score := getattr(e, measure)) else score
                for measure in MEASURES
            },
            error=e.error,
        )
        for e in episodes
    ]
    named = {"study": "shop", "metrics": list(MEASURES), "methods": {arm: {} for arm in arms}}
    return standings(Run(Path(), named, tuple(records)))


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
