"""What a study found: a table that is kept, and a figure beside it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import replacing, without_formula
from ..figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | float | int | None


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

    def csv(self) -> str:
        """For a spreadsheet: numbers in full, what is not known empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow("" if is_unknown(cell) else without_formula(cell) for cell in row)
        return text.getvalue()

    def json(self) -> str:
        """The same with its title and notes."""
        rows = [[None if is_unknown(cell) else cell for cell in row] for row in self.rows]
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


def is_unknown(cell: Cell) -> bool:
    """Whether a cell is what is not known."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))
