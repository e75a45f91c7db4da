"""One thing that is asked for one user, as the runner and the methods see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

Progress = Callable[[str, int, int], None]
"""Told what is under way, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Sample:
    """One thing that is asked for one user.

    Attributes:
        id: Unique among the task's samples.
        user_id: Whose it is.
        request: What is asked, in the words that the user's past is compared with.
        before: Its time: only what of the user's past strictly precedes it is seen. None is all.
        kind: Its type within the task; empty where all are alike.
        gold: What should come of it; empty where that is not known. No method is given it.
        history: How many earlier samples the user has.
        repeat: Which of several answers to it this is, from 0.
    """

    id: str
    user_id: str
    request: str = ""
    before: int | None = None
    kind: str = ""
    gold: str = ""
    history: int = 0
    repeat: int = 0

    @property
    def key(self) -> str:
        """Names it in a run's records, where a repeat counts as a sample of its own."""
        return f"{self.id}#{self.repeat}" if self.repeat else self.id

    @property
    def draws(self) -> str:
        """Names its draws: equal for all methods, so that they share their luck."""
        return f"{self.id}/{self.repeat}"

    def unseen(self) -> Sample:
        """The same without the gold, as methods are given it."""
        return replace(self, gold="")


def counted(
    progress: Progress | None, what: str, total: int, done: int = 0
) -> Callable[[int], None]:
    """What to call with how many more are done, so that ``progress`` is told how far it is.

    Args:
        progress: Who is told; None is nobody.
        what: What is under way.
        total: Of how many.
        done: How many are done already.
    """
    so_far = done

    def more(count: int) -> None:
        nonlocal so_far
        so_far += count
        if progress:
            progress(what, so_far, total)

    more(0)
    return more
