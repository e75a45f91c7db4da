"""The answers given last, in memory, so that feedback can name one by its id."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answered:
    """An answer that was given.

    Attributes:
        id: Of the completion.
        user: Whose request it was.
        request: The user's last words.
        messages: The conversation, as plain dicts.
        tools: The tools that could be called.
        answers: What was answered, one for each choice: ``content`` or ``tool_calls``.
        asked: When, in milliseconds since 1970.
        size: About how many bytes all of it is.
        told: What feedback said of it: of which choice, and what.
    """

    id: str
    user: str
    request: str
    messages: Sequence[dict[str, Any]]
    tools: Sequence[dict[str, Any]]
    answers: Sequence[dict[str, Any]]
    asked: int
    size: int
    told: set[tuple[int, str]] = field(default_factory=set)


class Recent:
    """Remembers answers for a while; nothing of them is written anywhere.

    Args:
        seconds: For how long.
        limit: At most so many bytes.
    """

    def __init__(self, *, seconds: float = 3600.0, limit: int = 64 * 2**20) -> None:
        self._seconds = seconds
        self._limit = limit
        self._lock = threading.Lock()
        self._size = 0
        self._kept: OrderedDict[str, tuple[float, Answered]] = OrderedDict()

    def keep(self, answered: Answered) -> None:
        """Remember an answer."""
        if answered.size > self._limit // 8:
            return
        now = time.monotonic()
        with self._lock:
            self._kept[answered.id] = now, answered
            self._size += answered.size
            while self._kept:
                since, oldest = next(iter(self._kept.values()))
                if self._size <= self._limit and now - since <= self._seconds:
                    break
                self._drop(oldest.id)

    def find(self, id: str) -> Answered | None:
        """The answer with this id, if it is remembered."""
        with self._lock:
            since, answered = self._kept.get(id, (0.0, None))
            if answered is None or time.monotonic() - since > self._seconds:
                return None
            return answered

    def first_told(self, answered: Answered, choice: int, said: Iterable[str]) -> set[str]:
        """What of this feedback is told for the first time; a client may tell it again."""
        with self._lock:
            fresh = {one for one in said if (choice, one) not in answered.told}
            answered.told.update((choice, one) for one in fresh)
        return fresh

    def forget(self, user: str) -> None:
        """Remember nothing of a user."""
        with self._lock:
            for id in [id for id, (_, one) in self._kept.items() if one.user == user]:
                self._drop(id)

    def _drop(self, id: str) -> None:
        _, gone = self._kept.pop(id)
        self._size -= gone.size
