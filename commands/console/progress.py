"""Progress: bars on a terminal, and in a log file a line now and then; one place for all commands.

What is under way, how much of it is done, of how much, for how long, and for how long yet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, RenderableType
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

LINE_SECONDS = 10.0
"""Between two lines, where there is no terminal."""

_ENOUGH = 48  # done, to foretell the rest by


class Display(Protocol):
    """What a command tells of its progress to."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """So much of something is done."""

    def doing(self, what: str) -> None:
        """Something has begun that cannot be counted; it ends when something else begins."""

    def show(self, *shown: RenderableType) -> None:
        """Print something without disturbing what is shown of the progress."""


@contextmanager
def progress(
    console: Console, *, quiet: bool = False, seconds: float = LINE_SECONDS
) -> Iterator[Display]:
    """Show progress for as long as the context lasts.

    Args:
        console: Where. Bars leave no trace when they are done; lines stay.
        quiet: Show none.
        seconds: Between two lines, where the console is no terminal.
    """
    if quiet:
        yield _Quiet(console)
    elif console.is_terminal:
        with _bars(console) as bars:
            yield _Bars(bars)
    else:
        lines = Lines(console)
        with _every(seconds, lines.tick):
            yield lines


def counting(display: Display, what: str, total: int) -> Callable[[int], None]:
    """Something to count, as a function to be display how many more are done."""
    so_far = 0

    def more(count: int) -> None:
        nonlocal so_far
        so_far += count
        display(what, so_far, total)

    more(0)
    return more


@dataclass
class _Quiet:
    """Shows nothing of the progress."""

    console: Console

    def __call__(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def doing(self, what: str) -> None:
        """Nothing."""

    def show(self, *shown: RenderableType) -> None:
        """Print something."""
        self.console.print(*shown)


def _bars(console: Console) -> Progress:
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


@dataclass
class _Bars:
    """A bar for each thing that is counted, and one without an end for what is not."""

    bars: Progress
    counted: dict[str, TaskID] = field(default_factory=dict)
    waiting: TaskID | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Move the bar of that name."""
        self._no_longer_waiting()
        if what not in self.counted:
            self.counted[what] = self.bars.add_task(what)
        self.bars.update(self.counted[what], completed=done, total=total)

    def doing(self, what: str) -> None:
        """Show a bar without an end."""
        self._no_longer_waiting()
        self.waiting = self.bars.add_task(what, total=None)

    def show(self, *shown: RenderableType) -> None:
        """Print above the bars."""
        self.bars.console.print(*shown)

    def _no_longer_waiting(self) -> None:
        if self.waiting is not None:
            self.bars.remove_task(self.waiting)
            self.waiting = None


class Lines:
    """Says in a line what is under way; a clock asks it to.

    Args:
        console: Where.
        clock: Tells seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._what = ""
        self._done = self._first = 0
        self._total: int | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Remember how far it is."""
        with self._lock:
            if what != self._what or total != self._total:
                self._what, self._began = what, self._clock()
                self._first = done
            self._done, self._total = done, total

    def doing(self, what: str) -> None:
        """Remember what has begun."""
        with self._lock:
            self._what, self._began, self._total = what, self._clock(), None

    def show(self, *shown: RenderableType) -> None:
        """Print something."""
        with self._lock:
            self._console.print(*shown)

    def tick(self) -> None:
        """Print where things stand, if anything is under way."""
        with self._lock:
            if self._what:
                self._console.print(self._line(), soft_wrap=True, highlight=False, markup=False)
                self._console.file.flush()

    def _line(self) -> str:
        spent = self._clock() - self._began
        if self._total is None:
            return f"{self._what}: {_duration(spent)} so far"
        line = f"{self._what}: {self._done} of {self._total} in {_duration(spent)}"
        here = self._done - self._first
        # What is done side by side begins long before it ends: the first few tell too little.
        enough = min((self._total - self._first) / 5, _ENOUGH)
        if not here or here < enough or self._done >= self._total:
            return line
        return f"{line}, about {_duration(spent / here * (self._total - self._done))} left"


@contextmanager
def _every(seconds: float, tick: Callable[[], None]) -> Iterator[None]:
    """Call something every so many seconds from a thread of its own, till the context ends."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            tick()

    thread = threading.Thread(target=run, name="trimtab-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
