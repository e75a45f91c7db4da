"""Which samples surround a sample in the prompt: a user's own for C+, other people's for C-.

No sample is ever its own context, and none that is not strictly earlier is used, its own user's
or another's.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...errors import TrimtabError
from .relevance import Relevance


@dataclass(frozen=True)
class HistorySample:
    """One thing that a user did.

    Attributes:
        id: Unique among the user's samples.
        input: What the user was given or asked for.
        output: What the user wrote or chose.
        timestamp: When, in any unit. Where a benchmark gives no times, number the samples.
    """

    id: str
    input: str
    output: str
    timestamp: int = 0


Sample = HistorySample
"""The old name of ``HistorySample``, for one release."""


@dataclass(frozen=True)
class Context:
    """A sample with what may stand before it in the prompt.

    Attributes:
        sample: The sample.
        own: C+: the most relevant of the user's other, earlier samples, the best first.
        others: C-: earlier samples of other users.
    """

    sample: HistorySample
    own: tuple[HistorySample, ...]
    others: tuple[HistorySample, ...]


def contexts(
    samples: Mapping[str, Sequence[HistorySample]],
    relevance: Relevance,
    *,
    k: int = 3,
    seed: int = 0,
    users: Collection[str] | None = None,
) -> dict[str, list[Context]]:
    """Choose C+ and C- for every sample.

    Args:
        samples: By user id, in any order.
        relevance: How a user's earlier inputs are ranked for a sample; the later of two equally
            relevant ones comes first.
        k: At most this many samples on each side; the first samples of all have fewer or none.
        seed: Of the draws from other users. Each sample has draws of its own, so that they do
            not depend on the order of users or samples.
        users: Only these users' samples, in surroundings drawn from everybody's; None is all.

    Returns:
        By user id, in the order of time.

    Raises:
        TrimtabError: ``k`` below 1, or two samples of a user with the same id.
    """
    if k < 1:
        raise TrimtabError(f"expected k of at least 1 context sample, got {k}")
    ordered = {user: _by_time(user, own) for user, own in samples.items()}
    timeline = _SamplesByTime(ordered)
    by_user: dict[str, list[Context]] = {}
    for user in ordered if users is None else users:
        own = ordered[user]
        times = [sample.timestamp for sample in own]
        counts = [bisect.bisect_left(times, time) for time in times]
        scores = relevance([sample.input for sample in own], counts) if own else []
        by_user[user] = []
        for sample, score in zip(own, scores, strict=True):
            values = score.tolist()
            best = sorted(range(len(values)), key=lambda n: (-values[n], -n))[:k]
            draws = random.Random(f"{seed}/{user}/{sample.id}")
            by_user[user].append(
                Context(
                    sample,
                    tuple(own[n] for n in best),
                    tuple(timeline.others(user, sample.timestamp, k, draws)),
                )
            )
    return by_user


def _by_time(user: str, samples: Sequence[HistorySample]) -> list[HistorySample]:
    if len({sample.id for sample in samples}) < len(samples):
        twice = sorted(s.id for s in samples)
        same = next(a for a, b in itertools.pairwise(twice) if a == b)
        raise TrimtabError(
            f"user {user!r} has two samples with the id {same!r}; ids must be unique for a user"
        )
    return sorted(samples, key=lambda sample: (sample.timestamp, sample.id))


class _SamplesByTime:
    """All users' samples in the order of time, to draw from those of other users."""

    def __init__(self, samples: Mapping[str, Sequence[HistorySample]]) -> None:
        every = [
            (sample.timestamp, user, sample) for user, own in samples.items() for sample in own
        ]
        every.sort(key=lambda item: (item[0], item[1], item[2].id))
        self._times = [time for time, _, _ in every]
        self._samples = [sample for _, _, sample in every]
        self._places: dict[str, list[int]] = {user: [] for user in samples}
        for place, (_, user, _) in enumerate(every):
            self._places[user].append(place)

    def others(
        self, user: str, before: int, count: int, draws: random.Random
    ) -> list[HistorySample]:
        """Up to ``count`` different samples of other users from before a time."""
        earlier = bisect.bisect_left(self._times, before)
        own = self._places[user][: bisect.bisect_left(self._places[user], earlier)]
        foreign = earlier - len(own)
        # Drawn as the n-th sample that is not the user's own, without a list of all the others.
        return [
            self._samples[_skipping(own, n)]
            for n in draws.sample(range(foreign), min(count, foreign))
        ]


def _skipping(taken: Sequence[int], n: int) -> int:
    """The ``n``-th whole number, from 0, that is not among the ascending ``taken``."""
    for place in taken:
        if place > n:
            break
        n += 1
    return n
