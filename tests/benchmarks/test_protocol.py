"""What a benchmark's figures are made of, and that every benchmark is found."""

import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def protocol(monkeypatch):
    """The benchmarks lie beside the package, and are run from the repository's root."""
    monkeypatch.syspath_prepend(str(ROOT))
    yield importlib.import_module("benchmarks.protocol")
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_a_ratio_is_the_median_of_each_repetitions_own(protocol):
    # In the second repetition the machine was ten times as slow for both.
    times = {"a": [1.0, 30.0, 2.0], "b": [2.0, 10.0, 2.0]}
    figure = protocol.ratio("a / b", times, "a", "b", at_most=0.9, per=2)
    assert figure.value == 1.0
    assert figure.detail == "1,000.0 ms / 1,000.0 ms, medians of 3"
    assert (figure.aim, figure.met) == ("<= 0.9", False)


def test_aims_go_both_ways(protocol):
    assert protocol.Figure("x", 9, at_least=8).met is True
    assert protocol.Figure("x", 7, at_least=8).met is False
    assert protocol.Figure("x", 1.0, at_most=1.0).met is True
    assert (protocol.Figure("x", 7).met, protocol.Figure("x", 7).aim) == (None, "")


def test_ways_run_side_by_side_and_take_turns_at_being_first(protocol):
    ran = []
    ways = {name: lambda name=name: ran.append(name) for name in "ab"}
    taken = protocol.interleaved(ways, 3)
    assert "".join(ran) == "ab" + "ab" + "ba" + "ab"
    assert [len(times) for times in taken.values()] == [3, 3]


def test_every_benchmark_is_found_and_tells_what_cannot_run_here(protocol):
    main = importlib.import_module("benchmarks.__main__")
    every = main.found()
    holding = [
        each.name
        for each in pkgutil.iter_modules([str(ROOT / "benchmarks")])
        if "BENCHMARK = " in (ROOT / "benchmarks" / f"{each.name}.py").read_text()
    ]
    assert len(every) == len([name for name in holding if name != "protocol"]) > 0

    def run(setting):
        yield protocol.Figure("a / b", 0.5, at_most=1)
        raise protocol.Missing("no such package")

    rows = list(main.rows([protocol.Benchmark("one", "Of one.", run)], protocol.Setting()))
    assert rows == [
        "| one | a / b | 0.5 | <= 1 | yes |  |",
        "| one | not run: no such package | | | | |",
    ]
