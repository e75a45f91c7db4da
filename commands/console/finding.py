"""What a study found, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...eval.studies.finding import Cell, Finding, is_unknown

# Wide enough for every table: a file or a pipe has no width of its own.
_PLAIN_WIDTH = 140


def print_findings(findings: Sequence[Finding], written: Sequence[Path], console: Console) -> None:
    """Print tables and where they are kept."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    for finding in findings:
        console.print(finding_table(finding), "")
        for note in finding.notes:
            console.print(Text(note))
    for path in written:
        console.print(Text(f"wrote {path}"), soft_wrap=True)


def finding_table(finding: Finding) -> Table:
    """A finding as a table without lines."""
    table = Table(
        title=Text(finding.title, style="bold"), title_justify="left", box=None, pad_edge=False
    )
    for place, column in enumerate(finding.columns):
        numbers = any(isinstance(row[place], int | float) for row in finding.rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in finding.rows:
        table.add_row(*(Text(_shown(cell)) for cell in row))
    return table


def _shown(cell: Cell) -> str:
    if is_unknown(cell):
        return "–"
    if isinstance(cell, float):
        return format(round(cell, 4) + 0.0, ".4g")  # + 0.0: no -0
    return str(cell)
