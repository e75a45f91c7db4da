"""How often users were read and their entries used: counted in memory, written together."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection

from ...errors import TrimtabError
from ..vectors.entries import Picked
from . import audit
from .database import Database, StoreUnavailable, now_milliseconds
from .schema import entries, uses
from .user_rows import UserRow, find_user

_OWNERS_AT_ONCE = 1000
_SECONDS_AT_ONCE = 60.0


@dataclass
class _Owner:
    """What was counted of one user.

    Attributes:
        last: When the last of it was, in milliseconds since 1970.
        first_read: When the first read was; None is never.
        reads: How many reads.
        uses: By sample and kind, how many requests an entry was picked for.
    """

    last: int
    first_read: int | None = None
    reads: int = 0
    uses: dict[tuple[str, str], int] = field(default_factory=dict)


class Counts:
    """Counts reads and uses in memory and writes them together.

    They are written once a minute and before the process ends; ``kill -9`` loses at most that
    minute.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owners: dict[str, _Owner] = {}
        self._written = time.monotonic()
        self._lock = threading.RLock()
        atexit.register(self.finish)

    def after_fork(self) -> None:
        """In a child process: the counts so far are the parent's to write."""
        self._lock = threading.RLock()
        self._owners = {}

    def read(self, owner: str) -> None:
        """Count a read of the user with this keyed hash; cheap, and written later."""
        with self._lock:
            counted = self._owner(owner)
            counted.reads += 1
            if counted.first_read is None:
                counted.first_read = counted.last
            self._flush_in_time()

    def used(self, owner: str, picked: Iterable[Picked]) -> None:
        """Count a request that these entries were picked for; cheap, and written later."""
        with self._lock:
            counted = self._owner(owner)
            for one in picked:
                which = one.entry.sample_id, one.entry.contrast
                counted.uses[which] = counted.uses.get(which, 0) + 1
            self._flush_in_time()

    def _owner(self, owner: str) -> _Owner:
        now = now_milliseconds()
        counted = self._owners.setdefault(owner, _Owner(now))
        counted.last = now
        return counted

    def _flush_in_time(self) -> None:
        age = time.monotonic() - self._written
        if len(self._owners) >= _OWNERS_AT_ONCE or age > _SECONDS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what was counted since the last time.

        Raises:
            StoreUnavailable: It cannot be written now.
            TrimtabError: It was made by a newer trimtab.
        """
        with self._lock:
            self._written = time.monotonic()
            if not self._owners:
                return
            try:
                with self._database.writing() as connection:
                    if connection is not None:
                        self._write(connection)
            except StoreUnavailable as error:
                raise StoreUnavailable(
                    f"reads cannot be recorded in the audit trail: {error}; or open the store with "
                    "audit_reads=False and only read"
                ) from error
            self._owners.clear()

    def _write(self, connection: Connection) -> None:
        # Another process may have forgotten a user since: then nothing else is kept.
        forgotten = audit.forgotten(connection, self._owners)
        left = {
            owner: counted
            for owner, counted in self._owners.items()
            if counted.last > forgotten.get(owner, 0)
        }
        audit.record_reads(
            connection,
            [
                (owner, counted.first_read, counted.last, counted.reads)
                for owner, counted in left.items()
                if counted.first_read is not None
            ],
        )
        for owner, counted in left.items():
            user = find_user(connection, owner) if counted.uses else None
            if user is not None:
                _add_uses(connection, user, counted)

    def close(self) -> None:
        """The last flush, of a store that is no longer in use."""
        atexit.unregister(self.finish)
        self.finish()

    def finish(self) -> None:
        """The last flush before the process ends; where the store is gone, there is none."""
        with suppress(TrimtabError):
            self.flush()


def _add_uses(connection: Connection, user: UserRow, counted: _Owner) -> None:
    """Add to the counts of those of a user's entries that are still there."""
    used = {(user.seal.sample(sample), kind): n for (sample, kind), n in counted.uses.items()}
    columns = (entries.c.id, entries.c.sample, entries.c.contrast, uses.c.count)
    query = sa.select(*columns).outerjoin(uses, uses.c.entry == entries.c.id)
    samples = {sample for sample, _ in used}
    query = query.where(entries.c.user == user.id, entries.c.sample.in_(samples))
    for entry, sample, kind, before in connection.execute(query).all():
        more = used.get((bytes(sample), kind))
        if more is None:
            continue
        values = {"count": (before or 0) + more, "last": counted.last}
        if before is None:
            connection.execute(sa.insert(uses).values(entry=entry, **values))
        else:
            connection.execute(sa.update(uses).where(uses.c.entry == entry).values(**values))
