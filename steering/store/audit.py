"""The trail of whose dictionary was built, read and forgotten, and when."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from ...errors import TrimtabError
from .entry_table import LANCE_ERRORS, NO_LIMIT, settle

Event = Literal["built", "added", "dropped", "read", "expired", "forgotten"]

_NAME = "audit"
_SCHEMA = pa.schema(
    [
        pa.field("owner", pa.string(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("at", pa.int64(), nullable=False),  # milliseconds since 1970, as is the next
        pa.field("until", pa.int64(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
_READERS_AT_ONCE = 1000
_SECONDS_AT_ONCE = 60.0
_COMMITS_TO_COMPACT = 100
_GRACE = timedelta(hours=1)


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


class AuditTrail:
    """An append-only table of events, of users known by hash alone.

    What changes a store is recorded before it is done, so that a killed process may leave a record
    of what did not come about, never the other way round. Reads are counted in memory and written
    together, once a minute and before the process ends; ``kill -9`` loses at most that minute.

    Args:
        connect: Gives the LanceDB connection of the store.
        store: The store's name for messages.
    """

    def __init__(self, connect: Callable[[], Any], store: str) -> None:
        self._file = _AuditFile(connect)
        self._store = store
        atexit.register(self._file.finish)
        weakref.finalize(self, self._file.close).atexit = False

    def record(self, event: Event, counts: Mapping[str, int]) -> None:
        """Record that an event happens now to these owners, each with its number of entries."""
        now = now_milliseconds()
        with self._told():
            self._file.append([(owner, event, now, now, n) for owner, n in counts.items()])

    def count_read(self, owner: str) -> None:
        """Count a read; cheap, and written later."""
        with self._told():
            self._file.count_read(owner)

    def flush(self) -> None:
        """Write the reads that were counted since the last time."""
        with self._told():
            self._file.flush()

    def forget(self, owners: Mapping[str, int]) -> None:
        """Leave of these owners only that they were forgotten, and when; twice is as once.

        Args:
            owners: Each with the time, milliseconds since 1970.
        """
        with self._told():
            self._file.flush()
            known = {(e.owner, e.at) for e in self.events(owners) if e.event == "forgotten"}
            self._file.append(
                [
                    (owner, "forgotten", at, at, 0)
                    for owner, at in owners.items()
                    if (owner, _time(at)) not in known
                ]
            )
            self._file.remove(f"{_among(owners)} AND event != 'forgotten'")

    def events(self, owners: Iterable[str] | None = None) -> list[AuditEvent]:
        """What happened to these owners, or to all, in order of time."""
        with self._told():
            self._file.flush()
            rows = self._file.rows(None if owners is None else _among(owners))
        return [
            AuditEvent(
                row["owner"], row["event"], _time(row["at"]), _time(row["until"]), row["count"]
            )
            for row in rows.sort_by([("at", "ascending"), ("until", "ascending")]).to_pylist()
        ]

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except LANCE_ERRORS as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TrimtabError(
                f"the audit trail of the store at {self._store} cannot be kept: {reason}; make "
                "the store writable, or open it with audit_reads=False and only read"
            ) from error


class _AuditFile:
    """The table itself, and the reads that are not in it yet."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._table: Any = None
        self._reads: dict[str, list[int]] = {}  # owner: first, last, how many
        self._written = time.monotonic()
        self._lock = threading.RLock()

    def append(self, rows: list[tuple[str, Event, int, int, int]]) -> None:
        if not rows:
            return
        table = self._opened()
        if table is None:
            table = self._created()
        table.add(pa.table([list(c) for c in zip(*rows, strict=True)], schema=_SCHEMA))
        if table.version % _COMMITS_TO_COMPACT == 0:
            table.optimize(cleanup_older_than=_GRACE)

    def count_read(self, owner: str) -> None:
        now = now_milliseconds()
        with self._lock:
            reads = self._reads.setdefault(owner, [now, now, 0])
            reads[1] = now
            reads[2] += 1
            age = time.monotonic() - self._written
            if len(self._reads) >= _READERS_AT_ONCE or age > _SECONDS_AT_ONCE:
                self.flush()

    def flush(self) -> None:
        with self._lock:
            if self._reads:
                # Another process may have forgotten a user since: then nothing else is kept.
                gone = self.rows(f"event = 'forgotten' AND {_among(self._reads)}").to_pylist()
                forgotten = {row["owner"]: row["at"] for row in gone}
                self.append(
                    [
                        (owner, "read", first, last, count)
                        for owner, (first, last, count) in self._reads.items()
                        if last > forgotten.get(owner, 0)
                    ]
                )
            self._reads.clear()
            self._written = time.monotonic()

    def close(self) -> None:
        atexit.unregister(self.finish)
        self.flush()

    def finish(self) -> None:
        """The last flush before the process ends; where the store is gone, there is none."""
        if self._reads:
            with suppress(*LANCE_ERRORS):
                self.flush()
            settle()

    def rows(self, where: str | None) -> pa.Table:
        table = self._opened()
        if table is None:
            return _SCHEMA.empty_table()
        query = table.search().limit(NO_LIMIT)
        return (query.where(where) if where else query).to_arrow()

    def remove(self, where: str) -> None:
        table = self._opened()
        if table is not None:
            table.delete(where)
            table.optimize(cleanup_older_than=timedelta(milliseconds=1))

    def _opened(self) -> Any:
        if self._table is None and _NAME in self._connect().list_tables(limit=NO_LIMIT).tables:
            self._table = self._connect().open_table(_NAME)
        return self._table

    def _created(self) -> Any:
        self._table = self._connect().create_table(_NAME, schema=_SCHEMA, exist_ok=True)
        return self._table


def now_milliseconds() -> int:
    """The time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _among(owners: Iterable[str]) -> str:
    return f"owner IN ({', '.join(repr(owner) for owner in owners)})"
