"""What came of answers, counted by user and arm in memory, and written together."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from ..errors import TrimtabError
from ..steering.store.outcomes import Counted
from ..steering.store.steering_store import SteeringStore
from .holdout import Holdout

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Came:
    """What came of an answer.

    Attributes:
        answers: How many were given.
        prompt_tokens: Of their prompts.
        new_tokens: Of the answers.
        seconds: They took.
        good: The user liked it.
        bad: The user did not.
        corrected: The user said what was wanted in its place.
        tool_error: A call of it failed.
    """

    answers: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    good: bool = False
    bad: bool = False
    corrected: bool = False
    tool_error: bool = False

    def counts(self) -> dict[str, int]:
        """By the names of the store's columns."""
        return {
            "answers": self.answers,
            "prompt_tokens": self.prompt_tokens,
            "new_tokens": self.new_tokens,
            "milliseconds": round(1000 * self.seconds),
            "good": int(self.good),
            "bad": int(self.bad),
            "corrected": int(self.corrected),
            "tool_errors": int(self.tool_error),
        }


class Tally:
    """Counts in memory, and writes into the store every few seconds and at the end.

    Nothing is counted where nobody is held out: there would be nothing to compare with.

    Args:
        store: Where the counts are kept.
        holdout: Which arm a user is in.
        seconds: How often they are written.
    """

    def __init__(self, store: SteeringStore, holdout: Holdout, *, seconds: float = 10.0) -> None:
        self._store = store
        self._holdout = holdout
        self._seconds = seconds
        self._lock = threading.Lock()
        self._counted: dict[str, Counted] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if holdout.share:
            self._thread = threading.Thread(target=self._run, name="trimtab-tally", daemon=True)
            self._thread.start()

    def came(self, user: str | None, what: Came, *, since: int) -> None:
        """Count what came of an answer to a user.

        Args:
            user: Whose; nobody's is not counted.
            what: What came of it.
            since: When it was asked for, in milliseconds since 1970: who is forgotten after that is
                not counted.
        """
        if user is None or self._thread is None:
            return
        with self._lock:
            self._add(Counted(user, self._holdout.arm(user), since, what.counts()))

    def _add(self, more: Counted) -> None:
        """Add to what is counted; holds the lock."""
        known = self._counted.get(more.user_id)
        if known is not None:
            added = {name: known.counts[name] + number for name, number in more.counts.items()}
            more = more._replace(since=min(known.since, more.since), counts=added)
        self._counted[more.user_id] = more

    def forget(self, user: str) -> None:
        """Drop what is counted of a user and not written."""
        with self._lock:
            self._counted.pop(user, None)

    def flush(self) -> None:
        """Write what was counted.

        Raises:
            TrimtabError: The store cannot be written; the counts are kept for the next time.
        """
        with self._lock:
            given, self._counted = self._counted, {}
        try:
            self._store.outcomes.add(given.values())
        except TrimtabError:
            with self._lock:
                for one in given.values():
                    self._add(one)
            raise

    def close(self) -> None:
        """Write the last of it."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        over = False
        while not over:
            over = self._ended.wait(self._seconds)
            try:
                self.flush()
            except TrimtabError as error:
                _log.warning("counts wait for the store: %s", error)
            except Exception:
                _log.exception("counts were not written by a fault of the server")
