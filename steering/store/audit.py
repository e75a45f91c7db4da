"""The trail of whose dictionary was built, read and forgotten, and when."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from ...errors import TrimtabError
from .database import Database, now_milliseconds
from .schema import audit

Event = Literal[
    "built", "added", "dropped", "read", "listed", "copied", "switched", "expired", "forgotten"
]

_READERS_AT_ONCE = 1000
_SECONDS_AT_ONCE = 60.0


@dataclass(frozen=True)
class AuditEvent:
    """Something that happened to one user's dictionary.

    Attributes:
        owner: The keyed hash of the user's id; the id itself is not kept.
        event: What happened; ``built`` is a ``put``.
        at: When; for reads, when the first of them was.
        until: For reads, when the last of them was, else as ``at``.
        count: How many entries were built, added, dropped, expired or forgotten; how many reads.
    """

    owner: str
    event: Event
    at: datetime
    until: datetime
    count: int


def record(connection: Connection, event: Event, counts: Mapping[str, int]) -> None:
    """Record, in the transaction that does it, that an event happens now to these owners.

    Args:
        connection: The transaction.
        event: What happens.
        counts: Owners, each with the number of entries.
    """
    now = now_milliseconds()
    _insert(connection, [(owner, event, now, now, count) for owner, count in counts.items()])


def forget(connection: Connection, owners: Iterable[str]) -> None:
    """Leave of these owners only that they were forgotten, and when."""
    owners = list(owners)
    connection.execute(
        sa.delete(audit).where(audit.c.owner.in_(owners), audit.c.event != "forgotten")
    )
    record(connection, "forgotten", dict.fromkeys(owners, 0))


def events(connection: Connection, owners: Iterable[str] | None = None) -> list[AuditEvent]:
    """What happened to these owners, or to all, in order of time."""
    columns = (audit.c.owner, audit.c.event, audit.c.at, audit.c.until, audit.c.count)
    query = sa.select(*columns).order_by(audit.c.at, audit.c.until, audit.c.id)
    if owners is not None:
        query = query.where(audit.c.owner.in_(list(owners)))
    return [
        AuditEvent(owner, event, _time(at), _time(until), count)
        for owner, event, at, until, count in connection.execute(query)
    ]


class ReadCounter:
    """Counts reads in memory and writes them together.

    They are written once a minute and before the process ends; ``kill -9`` loses at most that
    minute.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads: dict[str, list[int]] = {}  # owner: first, last, how many
        self._written = time.monotonic()
        self._lock = threading.RLock()
        atexit.register(self.finish)

    def after_fork(self) -> None:
        """In a child process: the reads so far are the parent's to write."""
        self._lock = threading.RLock()
        self._reads = {}

    def count(self, owner: str) -> None:
        """Count a read; cheap, and written later."""
        now = now_milliseconds()
        with self._lock:
            reads = self._reads.setdefault(owner, [now, now, 0])
            reads[1] = now
            reads[2] += 1
            age = time.monotonic() - self._written
            if len(self._reads) >= _READERS_AT_ONCE or age > _SECONDS_AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Write the reads that were counted since the last time.

        Raises:
            TrimtabError: The store cannot be written.
        """
        with self._lock:
            self._written = time.monotonic()
            if not self._reads:
                return
            try:
                with self._database.writing() as connection:
                    if connection is not None:
                        self._write(connection)
            except TrimtabError as error:
                raise TrimtabError(
                    f"reads cannot be recorded in the audit trail: {error}; or open the store with "
                    "audit_reads=False and only read"
                ) from error
            self._reads.clear()

    def _write(self, connection: Connection) -> None:
        # Another process may have forgotten a user since: then nothing else is kept.
        gone = sa.select(audit.c.owner, sa.func.max(audit.c.at)).group_by(audit.c.owner)
        gone = gone.where(audit.c.event == "forgotten", audit.c.owner.in_(list(self._reads)))
        forgotten = {owner: at for owner, at in connection.execute(gone)}
        _insert(
            connection,
            [
                (owner, "read", first, last, count)
                for owner, (first, last, count) in self._reads.items()
                if last > forgotten.get(owner, 0)
            ],
        )

    def close(self) -> None:
        """The last flush, of a store that is no longer in use."""
        atexit.unregister(self.finish)
        self.finish()

    def finish(self) -> None:
        """The last flush before the process ends; where the store is gone, there is none."""
        with suppress(TrimtabError):
            self.flush()


def _insert(connection: Connection, rows: list[tuple[str, Event, int, int, int]]) -> None:
    if rows:
        names = ("owner", "event", "at", "until", "count")
        connection.execute(sa.insert(audit), [dict(zip(names, row, strict=True)) for row in rows])


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
