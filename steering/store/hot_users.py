"""The users who were asked for last, kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from ..dictionaries.dictionary import SteeringDictionary
from ..dictionaries.switches import Switches


@dataclass(frozen=True)
class HotUser:
    """A dictionary in memory.

    Attributes:
        dictionary: As it was read; never handed out itself, since its holder may change it.
        switches: As they were then.
        version: The number of the write that changed the user last when it was read; a newer one
            means that it has changed.
        checked: When it was last known to be the newest, by the monotonic clock.
    """

    dictionary: SteeringDictionary
    switches: Switches
    version: int
    checked: float

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return self.dictionary.keys.nbytes + self.dictionary.vectors.nbytes


class HotUsers:
    """Dictionaries by user, the least recently used dropped when they are too many bytes.

    Safe to use from several threads.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._users: OrderedDict[str, HotUser] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self.generation = 0
        """Counts what was discarded: what was read before that must not come in after it."""

    def after_fork(self) -> None:
        """In a child process: nothing that another thread of the parent may have held."""
        self._users = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._users)

    @property
    def size(self) -> int:
        """Bytes in use."""
        return self._size

    def get(self, user_id: str) -> HotUser | None:
        """The user's dictionary, if it is here; it counts as used."""
        with self._lock:
            user = self._users.get(user_id)
            if user is not None:
                self._users.move_to_end(user_id)
            return user

    def put(self, user: HotUser, generation: int) -> None:
        """Keep a dictionary that was read when ``generation`` was what it still is."""
        user_id = user.dictionary.user_id
        with self._lock:
            if generation != self.generation:
                return
            self._discard(user_id)
            self._users[user_id] = user
            self._size += user.size
            while self._size > self._limit:
                self._discard(next(iter(self._users)))

    def discard(self, user_id: str) -> None:
        """Drop a user's dictionary, if it is here, and let none come in that is being read."""
        with self._lock:
            self.generation += 1
            self._discard(user_id)

    def _discard(self, user_id: str) -> None:
        dropped = self._users.pop(user_id, None)
        if dropped is not None:
            self._size -= dropped.size
