"""A comparison of two runs, printed: in colour on a terminal, as plain text anywhere else."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...eval.runs.compare import Change, RunComparison, SettingChange
from ...eval.statistics.gains import Gap
from ...eval.statistics.notes import interval_note, p_note
from .cells import number, with_interval

# Wide enough for every table: a file or a pipe has no width of its own.
_PLAIN_WIDTH = 140
_LONGEST_VALUE = 60
_STYLES = {"better": "green", "worse": "red", "unclear": ""}


def print_comparison(console: Console, comparison: RunComparison, *, top: int = 5) -> None:
    """Print what differs in the configuration, in the scores, and the ``top`` changed samples."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    console.print(_configuration(comparison.settings), "")
    for metric, gaps in comparison.gaps.items():
        if gaps:
            console.print(_differences(metric, gaps), "")
    if top and comparison.changes:
        console.print(_changes(comparison.changes[:top]), "")
    users = [gap.difference.users for gaps in comparison.gaps.values() for gap in gaps]
    lines = [
        f"{comparison.samples} samples in both runs; {len(comparison.changes)} answers differ.",
        f"In brackets {interval_note(users)}.",
        f"{p_note(users, 'for the methods compared')}.",
    ]
    if comparison.other_gold:
        lines.insert(1, f"{comparison.other_gold} more have another gold, and are not compared.")
    if comparison.left_out:
        lines.insert(1, f"Only in one run: {', '.join(comparison.left_out)}.")
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _configuration(settings: Sequence[SettingChange]) -> Table | Text:
    if not settings:
        return Text("The two runs have the same configuration.")
    table = _table("configuration", ["", "first", "second"])
    for setting in settings:
        table.add_row(Text(setting.name), Text(_brief(setting.first)), Text(_brief(setting.second)))
    return table


def _differences(metric: str, gaps: Sequence[Gap]) -> Table:
    table = _table(f"{metric}: second minus first", ["", "difference", "p", "pairs", ""])
    for gap in gaps:
        table.add_row(
            Text(gap.method),
            with_interval(*gap.difference[:3], "+.3f"),
            f"{gap.p_value:.3f}",
            str(gap.difference.values),
            Text(gap.verdict, style=_STYLES[gap.verdict]),
        )
    return table


def _changes(changes: Sequence[Change]) -> Table:
    table = _table("changed most", ["sample", "method", "gain", "first and second answer"])
    for change in changes:
        answers = Text("\n").join(
            Text(_brief(f"(broken off: {r.error})" if r.error else r.output, 200))
            for r in (change.first, change.second)
        )
        table.add_row(
            Text(change.first.sample_id),
            Text(change.first.method),
            number(change.gain, "+.3f"),
            answers,
        )
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _brief(text: str | None, longest: int = _LONGEST_VALUE) -> str:
    if text is None:
        return "–"
    # What a model wrote may hold what no terminal takes.
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    line = "".join(character if character.isprintable() else "\ufffd" for character in line)
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
