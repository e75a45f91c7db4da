"""Progress on the terminal: what is under way, how far, how long it took and how long is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress_bars(console: Console) -> Progress:
    """Bars that leave no trace when they are done."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def counting(progress: Progress, what: str, total: int | None = None) -> Callable[[int], None]:
    """A new bar, as a function to be told how many more are done."""
    task = progress.add_task(what, total=total)
    return lambda done: progress.advance(task, done)


def phases(progress: Progress) -> Callable[[str, int, int], None]:
    """A bar for each thing that is made, as a function to be told what, how many, of how many."""
    tasks: dict[str, TaskID] = {}

    def tell(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(what)
        progress.update(tasks[what], completed=done, total=total)

    return tell


@contextmanager
def waiting(progress: Progress, what: str) -> Iterator[None]:
    """A bar without an end, for as long as something takes that cannot be counted."""
    task = progress.add_task(what, total=None)
    yield
    progress.remove_task(task)
