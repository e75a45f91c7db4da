"""A user's purchases by time: what is history, what is for training, what is for test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ...errors import TrimtabError
from ..shop.records import Purchase

SEGMENTS = 3
"""History, training and test each need a time of their own."""


@dataclass(frozen=True)
class Shares:
    """Which share of a user's purchases, the latest, is for test, and which before them to train.

    Raises:
        TrimtabError: A share is not above 0, or nothing is left for history.
    """

    train: float = 0.3
    test: float = 0.2

    def __post_init__(self) -> None:
        """Refuse shares that leave a part empty."""
        if not (self.train > 0 and self.test > 0 and self.train + self.test < 1):
            raise TrimtabError(
                "expected shares for training and test above 0 that leave some for history; got "
                f"{self.train} and {self.test}"
            )


@dataclass(frozen=True)
class Segments:
    """A user's purchases, oldest first, in three parts that share no time."""

    history: list[Purchase]
    train: list[Purchase]
    test: list[Purchase]


def split_purchases(purchases: Sequence[Purchase], shares: Shares) -> Segments | None:
    """Split purchases by time.

    Purchases of the same time are never parted: of one day's reviews, none precedes the others.
    From the end, whole times are taken until the share is reached, but at least one time is left
    for each part before.

    Args:
        purchases: Oldest first.
        shares: How much is for training and test.

    Returns:
        The parts, none of them empty; None where there are fewer than three different times.
    """
    times = [list(group) for _, group in groupby(purchases, key=lambda p: p.timestamp)]
    if len(times) < SEGMENTS:
        return None
    test = _from_end(times, shares.test * len(purchases), leave=2)
    train = _from_end(times, shares.train * len(purchases), leave=1)
    return Segments(_joined(times), _joined(train), _joined(test))


def _from_end(times: list[list[Purchase]], wanted: float, *, leave: int) -> list[list[Purchase]]:
    """Take whole times off the end until there are as many purchases as wanted."""
    taken: list[list[Purchase]] = []
    count = 0
    while len(times) > leave and (not taken or count < math.floor(wanted)):
        taken.insert(0, times.pop())
        count += len(taken[0])
    return taken


def _joined(times: list[list[Purchase]]) -> list[Purchase]:
    return [purchase for group in times for purchase in group]
