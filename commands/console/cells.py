"""Tables on the terminal: how they look, and how numbers are written in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from rich.table import Table

UNKNOWN = "–"


def titled_table(
    title: str, columns: Sequence[str], *, first: Literal["whole", "folded"] = "whole"
) -> Table:
    """A table without lines: names on the left, numbers to the right of them.

    Args:
        title: Above it.
        columns: Their heads.
        first: Whether the first column's names stay on one line.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    if first == "whole":
        table.add_column(columns[0], no_wrap=True)
    else:
        table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def number(value: float, form: str) -> str:
    """A number in a format, such as ``+.3f``; a dash where it is not known."""
    if math.isnan(value):
        return UNKNOWN
    if form.endswith("f"):
        value = round(value, int(form.partition(".")[2].removesuffix("f"))) + 0.0  # no -0.00
    return format(value, form)


def with_interval(mean: float, low: float, high: float, form: str, *, gap: str = " ") -> str:
    """``0.72 (0.62 to 0.82)``; without an interval where its ends are not known."""
    if math.isnan(mean) or math.isnan(low):
        return number(mean, form)
    return f"{number(mean, form)}{gap}({number(low, form)} to {number(high, form)})"
