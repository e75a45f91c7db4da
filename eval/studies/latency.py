"""Latency: the same samples answered directly and steered, one at a time, in pairs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from ...errors import TrimtabError
from ..figures import new_figure
from ..statistics.intervals import Floats, sums_interval
from ..statistics.notes import interval_note
from ..task import Item
from ..texts.answering import answer
from ..texts.histories import blind, text_sample
from ..texts.task import TextTask
from .finding import Cell, Finding
from .setting import steered, unpersonalized

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..methods.method import Treat
    from ..methods.registry import Named
    from ..sample import Sample
    from ..texts.users import TextUsers
    from .setting import Setting

SAMPLES = 200
WARM_UP = 3


@dataclass(frozen=True)
class Timing:
    """One sample answered by one method.

    Attributes:
        user_id: Whose sample it is.
        choosing: Seconds to embed the request and pick from the dictionary; 0 where unsteered.
        generating: Seconds to answer.
        tokens: In the answer.
    """

    user_id: str
    choosing: float
    generating: float
    tokens: int

    @property
    def seconds(self) -> float:
        """From the request to the end of the answer."""
        return self.choosing + self.generating


Pair = tuple[Timing, Timing]
"""A sample answered directly, and steered."""


def latency_study(
    setting: Setting, samples: int = SAMPLES, *, clock: Callable[[], float] = time.perf_counter
) -> tuple[Finding, Figure]:
    """Time direct and steered answers to the same samples.

    Every sample is answered alone by both, in an order that changes from sample to sample, after
    some that are not counted. Dictionaries are ready before; embedding the request and picking
    from the dictionary belong to the steered time.

    Args:
        setting: The study, with zero-shot and methods that steer.
        samples: At most this many, spread over the users.
        clock: Tells seconds.

    Raises:
        TrimtabError: No samples, or the study has no such methods.
    """
    if samples < 1:
        raise TrimtabError(f"expected at least 1 sample, got {samples}")
    direct = unpersonalized(setting.plan)
    rows: list[tuple[Cell, ...]] = []
    drawn: dict[str, list[Pair]] = {}
    for named in steered(setting.plan):
        pairs = time_pairs(setting, direct, named, samples, clock)
        drawn[named.label] = pairs
        rows += _rows(named.label, pairs)
    users = [len({one.user_id for one, _ in pairs}) for pairs in drawn.values()]
    finding = Finding(
        "latency",
        f"seconds a sample, {direct.label} and steered",
        ("method", "what", "direct", "steered", "steered / direct", "low", "high"),
        tuple(rows),
        (
            f"{max(map(len, drawn.values()))} samples, one at a time, in alternating order, after "
            f"{WARM_UP} to warm up; of the ratio {interval_note(users)}.",
        ),
    )
    return finding, _figure(drawn)


def time_pairs(
    setting: Setting,
    direct: Named,
    named: Named,
    samples: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Pair]:
    """Time one steered method against the direct one, sample by sample."""
    task = TextTask(setting.plan, setting.model, setting.dataset, batch_size=setting.batch_size)
    users = task.prepare([direct, named], setting.progress)
    treats = [each.method.prepare(users) for each in (direct, named)]
    chosen = list(_spread(setting, samples + WARM_UP))
    warm_up = min(WARM_UP, len(chosen) - 1)
    pairs: list[Pair] = []
    for place, sample in enumerate(chosen):
        setting.report(f"timing {named.label}", place, len(chosen))
        timings: list[Timing | None] = [None, None]
        # Whoever comes second finds caches warm that the first has filled.
        for which in (0, 1) if place % 2 else (1, 0):
            timings[which] = _timed(task, users, treats[which], sample, clock, which == 1)
        first, second = timings
        assert first and second
        if place >= warm_up:
            pairs.append((first, second))
    setting.report(f"timing {named.label}", len(chosen), len(chosen))
    return pairs


def _spread(setting: Setting, count: int) -> Iterator[Sample]:
    """Test samples of users who take turns, in an order by the seed."""
    users = [blind(user) for user in setting.dataset.users]
    random.Random(f"latency/{setting.plan.seed}").shuffle(users)
    rounds = max(len(user.tests) for user in users)
    turns = [
        text_sample(user, user.tests[turn])
        for turn in range(rounds)
        for user in users
        if turn < len(user.tests)
    ]
    yield from turns[:count]


def _timed(
    task: TextTask,
    users: TextUsers,
    treat: Treat,
    sample: Sample,
    clock: Callable[[], float],
    chooses: bool,
) -> Timing:
    decoding = task.plan.decoding(1)
    started = clock()
    if chooses:
        # The users remember the embedding of every request; a server would have to make it.
        task.model.encoder.encode([users.body(sample.request)])
    prompt = task.prompt(Item("", sample, treat(sample)))
    ready = clock()
    [(_, got)] = answer(task.model, [prompt], decoding, likelihoods=False)
    ended = clock()
    return Timing(
        sample.user_id,
        choosing=ready - started if chooses else 0.0,
        generating=ended - ready if chooses else ended - started,
        tokens=got.completion_tokens,
    )


def _rows(label: str, pairs: Sequence[Pair]) -> Iterator[tuple[Cell, ...]]:
    """Medians of both sides, and the ratio of their sums with its interval over users."""
    users = [one.user_id for one, _ in pairs]
    what: dict[str, Callable[[Timing], float]] = {
        "whole answer": lambda timing: timing.seconds,
        "a token": lambda timing: timing.generating / max(timing.tokens, 1),
        "generating": lambda timing: timing.generating,
        "choosing": lambda timing: timing.choosing,
    }
    for name, of in what.items():
        one, other = ([of(pair[side]) for pair in pairs] for side in (0, 1))
        parts = np.array([one, other]).T
        ratio = sums_interval(parts, users, _ratio) if any(one) else None
        cells: tuple[Cell, ...] = ratio[:3] if ratio else (None, None, None)
        yield (label, name, median(one), median(other), *cells)
    lengths = [[pair[side].tokens for pair in pairs] for side in (0, 1)]
    yield (label, "answer tokens", *(float(np.mean(own)) for own in lengths), None, None, None)


def _ratio(sums: Floats) -> Floats:
    ratio: Floats = sums[..., 1] / sums[..., 0]
    return ratio


def _figure(drawn: dict[str, list[Pair]]) -> Figure:
    figure, panels = new_figure(len(drawn), width=3.6, height=3.6)
    for panel, (label, pairs) in zip(panels, drawn.items(), strict=True):
        one, other = ([pair[side].seconds for pair in pairs] for side in (0, 1))
        panel.scatter(one, other, s=8, alpha=0.6)
        end = 1.05 * max(*one, *other)
        panel.plot([0, end], [0, end], linestyle="--", linewidth=0.8, color="grey")
        panel.set_xlim(0, end)
        panel.set_ylim(0, end)
        panel.set_xlabel("direct, s")
        panel.set_title(label, fontsize=10)
    panels[0].set_ylabel("steered, s")
    return figure
