"""How a reading that takes long leaves room for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How a reading that takes long leaves room for others.

    Attributes:
        tokens: At most so many tokens in a forward pass, padding included, where the model allows
            to part it: with a sliding window that is passed, and with linear attention, it does
            not.
        between: Called between two passes.
    """

    tokens: int
    between: Callable[[], None]

    def columns(self, rows: int, width: int) -> Iterator[slice]:
        """The parts of ``(rows, width)`` tokens that are run one after the other."""
        step = max(self.tokens // rows, 1)
        for start in range(0, width, step):
            yield slice(start, min(start + step, width))
            self.between()


def parts_of(pace: Pace | None, rows: int, width: int) -> Iterator[slice]:
    """The parts of ``(rows, width)`` tokens that are run one after the other."""
    if pace is not None:
        yield from pace.columns(rows, width)
    elif width:
        yield slice(0, width)
