"""``--profile``: a run's time, by the part of the work that it went into."""

import cProfile
import io
import re

from rich.console import Console

from trimtab.commands.console.profile import OTHER, WAITING, part_of, profiled, seconds_by_part
from trimtab.steering.generation.constraints import constraints_of
from trimtab.steering.prompts.render import tokenize
from trimtab.steering.vectors.injection import injected


def test_a_functions_file_says_its_part():
    parts = {
        what: part_of((what.__code__.co_filename, 1, what.__name__))
        for what in (injected.__wrapped__, constraints_of, tokenize)
    }
    assert parts == {
        injected.__wrapped__: "steering: vectors added",
        constraints_of: "grammar",
        tokenize: "prompts and tokens",
    }
    assert part_of(("/x/site-packages/transformers/models/qwen2/modeling_qwen2.py", 1, "forward"))
    assert part_of(("/usr/lib/python3/json/decoder.py", 1, "decode")) == OTHER
    assert part_of(("~", 0, "<method 'acquire' of '_thread.lock' objects>")) == WAITING


def test_built_in_time_is_the_callers():
    profiler = cProfile.Profile()
    profiler.enable()
    sum(range(2_000_000))
    re.sub("a", "b", "a" * 10)
    profiler.disable()
    seconds = seconds_by_part(profiler)
    assert seconds[OTHER] > 0
    assert list(seconds.values()) == sorted(seconds.values(), reverse=True)


def test_nothing_is_shown_unless_it_is_wanted():
    console = Console(file=io.StringIO(), width=100)
    with profiled(console, False):
        pass
    assert not console.file.getvalue()
    with profiled(console, True):
        sum(range(1000))
    assert "where the time went" in console.file.getvalue()
