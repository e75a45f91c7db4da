"""A lock that threads get in the order in which they asked for it."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """Whose turn it is to use a model: first come, first served.

    A plain lock goes to whichever thread happens to run when it is released, which is nearly
    always the one that released it: a thread that takes it again and again, as a decode loop does,
    would never let another have it. This one is handed to the thread that has waited longest.

    The thread that has it may take it again, and has it until it released it as often.

    Example:
        >>> turns = Turns()
        >>> with turns:
        ...     turns.give_way()  # whoever waits is first
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # Guarded by `_guard`:
        self._owner: int | None = None
        self._depth = 0
        self._queue: deque[tuple[int, threading.Lock]] = deque()

    @property
    def wanted(self) -> bool:
        """Whether a thread waits for its turn."""
        return bool(self._queue)

    def acquire(self) -> None:
        """Wait for the calling thread's turn."""
        mine = threading.get_ident()
        with self._guard:
            if self._owner in (None, mine):
                self._owner = mine
                self._depth += 1
                return
            place = mine, threading.Lock()
            place[1].acquire()
            self._queue.append(place)
        self._wait(place)

    def release(self) -> None:
        """Hand the turn on, once the calling thread released it as often as it took it.

        Raises:
            RuntimeError: Another thread's turn, or nobody's.
        """
        with self._guard:
            self._check_mine()
            self._depth -= 1
            if not self._depth:
                self._hand_on()

    def give_way(self) -> None:
        """Let everybody who waits have their turn first, and go on when it comes round again.

        Raises:
            RuntimeError: It is not the calling thread's turn.
        """
        with self._guard:
            self._check_mine()
            if not self._queue:
                return
            depth = self._depth
            place = threading.get_ident(), threading.Lock()
            place[1].acquire()
            self._queue.append(place)
            self._hand_on()
        try:
            self._wait(place)
        except BaseException:
            self.acquire()  # whoever has it releases it, also on the way out
            self._depth = depth
            raise
        self._depth = depth

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _wait(self, place: tuple[int, threading.Lock]) -> None:
        """Until the place's turn has come; a thread that is interrupted meanwhile leaves it."""
        try:
            place[1].acquire()
        except BaseException:
            with self._guard:
                if place in self._queue:
                    self._queue.remove(place)
                else:
                    self._hand_on()
            raise

    def _hand_on(self) -> None:
        """Make it the next thread's turn; holds ``_guard``."""
        self._owner, self._depth = None, 0
        if self._queue:
            self._owner, gate = self._queue.popleft()
            self._depth = 1
            gate.release()

    def _check_mine(self) -> None:
        if self._owner != threading.get_ident():
            raise RuntimeError("expected the turn of the thread that releases it, got another's")
