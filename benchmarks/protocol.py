"""What a benchmark is: a name, what it measures, and a function that gives figures.

To add one: write a module in this folder with a ``BENCHMARK``. Nothing else names it.

    def run(setting: Setting) -> Iterator[Figure]:
        model = setting.model()
        times = interleaved({"ours": ..., "theirs": ...}, setting.repetitions)
        yield ratio("ours / theirs", times, "ours", "theirs", at_most=0.9)

    BENCHMARK = Benchmark("decode", "What a decoded token costs.", run)
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.steering import DEFAULT_MODEL, SteeredModel

Times = Mapping[str, Sequence[float]]
"""The seconds of each way, one number a repetition."""


@dataclass(frozen=True)
class Figure:
    """One ratio.

    Attributes:
        name: What over what, as ``steered / unsteered, one layer``.
        value: The ratio.
        at_most: The aim, where small is good.
        at_least: The aim, where large is good. Without either the figure is only told.
        detail: Both sides in their own unit, and of how many repetitions.
    """

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    detail: str = ""

    @property
    def aim(self) -> str:
        """The aim in signs; empty where there is none."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None where there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least


@dataclass
class Setting:
    """What the benchmarks are run with.

    Attributes:
        model_name: A model's name, hub id or folder.
        quick: Few repetitions and small inputs: to see that all runs, not to quote.
        repetitions: How often each way of a ratio runs; ways of minutes run once.
    """

    model_name: str = DEFAULT_MODEL
    quick: bool = False
    repetitions: int = 5
    _model: SteeredModel | None = field(default=None, repr=False)

    def model(self) -> SteeredModel:
        """The model, loaded once for all benchmarks."""
        if self._model is None:
            self._model = SteeredModel.from_pretrained(self.model_name, disk_prefixes=False)
        return self._model

    def size(self, usual: int, quick: int) -> int:
        """A number of rows, tokens or pairs: the usual one, or the quick one."""
        return quick if self.quick else usual


@dataclass(frozen=True)
class Benchmark:
    """One module's measurement.

    Attributes:
        name: What ``--only`` names it by.
        about: What it measures, in a sentence.
        run: Gives the figures, each as soon as it is measured.
    """

    name: str
    about: str
    run: Callable[[Setting], Iterable[Figure]]


class Missing(Exception):
    """Raised by a benchmark that needs what is not here; the table tells the reason."""


def interleaved(
    ways: Mapping[str, Callable[[], Any]], repetitions: int, *, warm: bool = True
) -> dict[str, list[float]]:
    """The seconds of every way, all ways in each repetition, so that a busy machine slows all.

    Every other repetition goes through them backwards, so that no way always comes first.

    Args:
        ways: What to run, by name.
        repetitions: How often.
        warm: Run each way once before, for what is made once; not worth it for ways of minutes.
    """
    for way in ways.values() if warm else ():
        way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(repetitions):
        for name in _turned(list(ways), repetition):
            started = time.perf_counter()
            ways[name]()
            taken[name].append(time.perf_counter() - started)
    return taken


def ratio(
    name: str,
    times: Times,
    over: str,
    under: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    per: int = 1,
) -> Figure:
    """One way over another: the median of the repetitions' own ratios.

    A ratio within one repetition compares what ran side by side: what slows a whole repetition
    cancels out.

    Args:
        name: The figure's.
        times: From ``interleaved``.
        over: The way above the line.
        under: The way below it.
        at_most: See ``Figure``.
        at_least: See ``Figure``.
        per: By what the times are divided in the detail, such as the tokens of a run.
    """
    pairs = list(zip(times[over], times[under], strict=True))
    sides = [statistics.median(times[way]) * 1000 / per for way in (over, under)]
    return Figure(
        name,
        statistics.median(one / other for one, other in pairs),
        at_most,
        at_least,
        f"{sides[0]:,.1f} ms / {sides[1]:,.1f} ms, medians of {len(pairs)}",
    )


def _turned(names: list[str], repetition: int) -> Iterator[str]:
    return reversed(names) if repetition % 2 else iter(names)
