"""What a study found: a table that is printed and kept, and a figure beside it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...files import replacing, without_formula
from ..figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | float | int | None

# Wide enough for every table: a file or a pipe has no width of its own.
_PLAIN_WIDTH = 140


@dataclass(frozen=True)
class Finding:
    """A table of what was found.

    Attributes:
        name: Of the study; its files are named after it.
        title: What the table tells.
        columns: Names of the columns.
        rows: One cell a column; None and NaN are what is not known.
        notes: Lines to read with it.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """For a terminal."""
        table = Table(
            title=Text(self.title, style="bold"),
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        for place, column in enumerate(self.columns):
            numbers = any(isinstance(row[place], int | float) for row in self.rows)
            table.add_column(column, justify="right" if numbers else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(_shown(cell)) for cell in row))
        return table

    def csv(self) -> str:
        """For a spreadsheet: numbers in full, what is not known empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow("" if _unknown(cell) else without_formula(cell) for cell in row)
        return text.getvalue()

    def json(self) -> str:
        """The same with its title and notes."""
        rows = [[None if _unknown(cell) else cell for cell in row] for row in self.rows]
        plain = {
            "study": self.name,
            "title": self.title,
            "columns": self.columns,
            "rows": rows,
            "notes": self.notes,
        }
        return json.dumps(plain, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def keep(finding: Finding, figure: Figure | None, folder: Path) -> list[Path]:
    """Write the table and, if it has one, the figure, each file whole or not at all.

    Returns:
        ``<name>.csv`` and ``.json``, and ``.png`` and ``.svg``.
    """
    written = []
    writers: dict[str, Callable[[], str]] = {"csv": finding.csv, "json": finding.json}
    for ending, text in writers.items():
        path = folder / f"{finding.name}.{ending}"
        with replacing(path) as temporary:
            temporary.write_text(text(), encoding="utf-8")
        written.append(path)
    return written + (save_figure(figure, folder / finding.name) if figure else [])


def show(findings: Sequence[Finding], written: Sequence[Path], console: Console) -> None:
    """Print tables and where they are kept."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    for finding in findings:
        console.print(finding.table(), "")
        for note in finding.notes:
            console.print(Text(note))
    for path in written:
        console.print(Text(f"wrote {path}"), soft_wrap=True)


def _unknown(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _shown(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    if isinstance(cell, float):
        return format(round(cell, 4) + 0.0, ".4g")  # + 0.0: no -0
    return str(cell)
