"""How numbers are written in tables."""

import io
import math

import pytest
from rich.console import Console

from trimtab.commands.console.cells import number, titled_table, with_interval


@pytest.mark.parametrize(
    ("value", "form", "written"),
    [
        (0.725, "+.2f", "+0.72"),
        (-0.001, ".2f", "0.00"),
        (-0.001, "+.2f", "+0.00"),
        (683.6, ".0f", "684"),
        (math.nan, ".3f", "–"),
    ],
)
def test_a_number_is_rounded_and_never_minus_zero(value, form, written):
    assert number(value, form) == written


def test_an_interval_stands_behind_its_mean_where_it_is_known():
    assert with_interval(0.5, 0.25, 0.75, ".2f") == "0.50 (0.25 to 0.75)"
    assert with_interval(0.5, 0.25, 0.75, "+.1f", gap="\n") == "+0.5\n(+0.2 to +0.8)"
    assert with_interval(0.5, math.nan, math.nan, ".2f") == "0.50"
    assert with_interval(math.nan, 0.1, 0.2, ".2f") == "–"


@pytest.mark.parametrize(("first", "rows"), [("whole", 1), ("folded", 2)])
def test_names_stay_whole_or_are_folded(first, rows):
    table = titled_table("scores", ["", "mean"], first=first)
    table.add_row("a-name-that-is-rather-long", "0.5")
    console = Console(file=io.StringIO(), width=24)
    console.print(table)
    printed = console.file.getvalue().splitlines()
    assert printed[0].startswith("scores")
    assert len([line for line in printed[1:] if line.strip() not in ("", "mean")]) == rows
