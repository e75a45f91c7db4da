"""Progress without a terminal: a line that says what is done, of how many, and the time left."""

import io
import threading

import pytest
from rich.console import Console

from trimtab.commands.console.progress import Lines, counting, progress


@pytest.fixture
def lines():
    """Lines to a file, by a clock that stands still until it is moved."""
    seconds = [0.0]
    console = Console(file=io.StringIO(), width=60)
    made = Lines(console, clock=lambda: seconds[0])
    made.seconds = seconds
    made.text = console.file.getvalue
    return made


def test_nothing_is_said_before_anything_is_under_way(lines):
    lines.tick()
    assert lines.text() == ""


def test_a_line_says_how_far_it_is_and_how_long_it_will_take(lines):
    lines("answers", 10, 50)  # those of an earlier part of the run
    lines.seconds[0] = 30.0
    lines.tick()
    lines("answers", 20, 50)
    lines.tick()
    lines.seconds[0] = 4000.0
    lines("answers", 50, 50)
    lines.tick()
    assert lines.text().splitlines() == [
        "answers: 10 of 50 in 30 s",
        "answers: 20 of 50 in 30 s, about 1 min 30 s left",
        "answers: 50 of 50 in 1 h 06 min",
    ]


def test_the_first_few_foretell_nothing(lines):
    for total, few, enough in ((60, 11, 12), (4000, 47, 48), (2, 0, 1)):
        lines(f"{total} answers", 0, total)
        lines.seconds[0] += 30.0
        lines(f"{total} answers", few, total)
        lines.tick()
        lines(f"{total} answers", enough, total)
        lines.tick()
    assert ["left" in line for line in lines.text().splitlines()] == [False, True] * 3


def test_what_cannot_be_counted_is_said_with_its_time(lines):
    lines.doing("loading a model")
    lines.seconds[0] = 61.0
    lines.tick()
    assert lines.text() == "loading a model: 1 min 01 s so far\n"


def test_without_a_terminal_lines_come_by_themselves():
    written = threading.Event()

    class File(io.StringIO):
        def flush(self):
            super().flush()
            if "dictionaries: 3 of 4" in self.getvalue():
                written.set()

    console = Console(file=File(), width=60)
    with progress(console, seconds=0.001) as told:
        more = counting(told, "dictionaries", 4)
        more(3)
        assert written.wait(60)


def test_quiet_says_nothing_and_shows_what_it_is_given():
    console = Console(file=io.StringIO(), width=60)
    with progress(console, quiet=True, seconds=0.0) as told:
        told("answers", 1, 2)
        told.doing("something")
        told.show("an episode")
    assert console.file.getvalue() == "an episode\n"


def test_a_terminal_gets_bars_that_leave_no_trace():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with progress(console) as told:
        told.doing("loading")
        told("answers", 1, 2)
        assert told.waiting is None and set(told.counted) == {"answers"}
