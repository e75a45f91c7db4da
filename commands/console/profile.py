"""Where a run's time goes: in the model's passes, and in what stands around them.

Python's own profiler counts the time inside every function of the thread that the model runs in.
A function's own time belongs to the part that its file is of; what a built-in function takes
belongs to whoever called it.
"""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from .cells import titled_table

_PACKAGE = str(Path(__file__).parents[2])

OTHER = "everything else"
WAITING = "waiting for tools and other threads"
_PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sentence encoder", ("sentence_transformers/", "/models/bert/", "dictionaries/encoder.py")),
    ("steering: vectors added", (f"{_PACKAGE}/steering/vectors/",)),
    ("steering: entries picked", (f"{_PACKAGE}/steering/dictionaries/",)),
    ("grammar", (f"{_PACKAGE}/steering/generation/constraints.py", "/llguidance/")),
    ("choosing tokens, moving rows", (f"{_PACKAGE}/steering/generation/",)),
    ("prompts and tokens", (f"{_PACKAGE}/steering/prompts/", "/jinja2/", "tokenization", "/re/")),
    ("the model's passes", (f"{_PACKAGE}/steering/decoder/", "/transformers/", "/torch/")),
    (
        "agent, tools and shop",
        (*(f"{_PACKAGE}/{room}/" for room in ("agent", "tools", "envs", "eval")), "/lang"),
    ),
)
"""Parts with what the paths of their files hold; the first that fits counts."""

_Function = tuple[str, int, str]


@contextmanager
def profiled(console: Console, wanted: bool) -> Iterator[None]:
    """Profile what runs inside the context, and print where its time went; where it is wanted."""
    if not wanted:
        yield
        return
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        yield
    finally:
        profiler.disable()
        print_parts(console, seconds_by_part(profiler))


def seconds_by_part(profiler: cProfile.Profile) -> dict[str, float]:
    """The seconds of each part, the longest first."""
    seconds: dict[str, float] = {}
    stats: Mapping[_Function, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for function, (_, _, own, _, callers) in stats.items():
        if function[0] == "~" and callers and "acquire" not in function[2]:
            for caller, (_, _, share, _) in callers.items():
                part = part_of(caller)
                seconds[part] = seconds.get(part, 0.0) + share
        else:
            part = part_of(function)
            seconds[part] = seconds.get(part, 0.0) + own
    return dict(sorted(seconds.items(), key=lambda each: -each[1]))


def part_of(function: _Function) -> str:
    """The part that a function belongs to, by its file."""
    file, _, name = function
    if file == "~":
        return WAITING if "acquire" in name else OTHER
    return next((part for part, marks in _PARTS if any(m in file for m in marks)), OTHER)


def print_parts(console: Console, seconds: Mapping[str, float]) -> None:
    """Print the parts with their shares."""
    total = sum(seconds.values())
    table = titled_table("where the time went", ["", "seconds", "share"])
    for part, spent in seconds.items():
        table.add_row(part, f"{spent:.2f}", f"{spent / total:.1%}" if total else "–")
    console.print(table)
