"""The table of what steering changes: the users who are steered against those held out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from ...eval.statistics.intervals import Estimate
from ...serve.report import ArmGap
from .cells import titled_table

_PLAIN_WIDTH = 120


def print_arms(console: Console, gaps: Sequence[ArmGap]) -> None:
    """Print each measure in both arms, and the difference with its interval."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    table = titled_table("an answer", ["", "steered", "held out", "difference"])
    for gap in gaps:
        table.add_row(gap.measure, _mean(gap.steered), _mean(gap.held_out), _difference(gap))
    console.print(table)
    users = (gaps[0].steered.users, gaps[0].held_out.users) if gaps else (0, 0)
    console.print(
        f"\n{users[0]} users are steered, {users[1]} held out. In brackets the 95 % interval over "
        "users.",
        highlight=False,
    )


def _mean(estimate: Estimate) -> str:
    return "–" if math.isnan(estimate.mean) else f"{estimate.mean:.3f}"


def _difference(gap: ArmGap) -> str:
    if math.isnan(gap.difference):
        return "–"
    if math.isnan(gap.low):
        return f"{gap.difference:+.3f} (too few users)"
    return f"{gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
