"""Entries that are too old, by the policy of whoever runs the server, leave the store."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from ..errors import TrimtabError
from ..steering.store.steering_store import SteeringStore

_log = logging.getLogger(__name__)


class Expiring:
    """Looks for old entries again and again.

    Args:
        store: The users' dictionaries.
        after: How long an entry is kept since it was written; None is for ever.
        seconds: How often to look.
    """

    def __init__(
        self, store: SteeringStore, after: timedelta | None, *, seconds: float = 3600.0
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._ended = threading.Event()
        if after is not None:
            threading.Thread(
                target=self._run, args=(after,), name="trimtab-expiring", daemon=True
            ).start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()

    def _run(self, after: timedelta) -> None:
        over = False
        while not over:
            try:
                gone = self._store.expire(after)
                if gone:
                    _log.info("%d entries expired", gone)
            except TrimtabError as error:
                _log.warning("expiry waits for the store: %s", error)
            except Exception:  # what is too old must not stay for good because of one fault
                _log.exception("expiry failed by a fault of the server")
            over = self._ended.wait(self._seconds)
