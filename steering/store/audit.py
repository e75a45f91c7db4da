"""The trail of whose dictionary was built, read and forgotten, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from .database import now_milliseconds
from .schema import audit

Event = Literal[
    "built", "added", "dropped", "read", "listed", "copied", "switched", "expired", "forgotten"
]


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


def forgotten(connection: Connection, owners: Iterable[str]) -> dict[str, int]:
    """When those of these owners who were forgotten were so last, in milliseconds since 1970."""
    last = sa.select(audit.c.owner, sa.func.max(audit.c.at)).group_by(audit.c.owner)
    last = last.where(audit.c.event == "forgotten", audit.c.owner.in_(list(owners)))
    return {owner: at for owner, at in connection.execute(last)}


def record_reads(connection: Connection, reads: Iterable[tuple[str, int, int, int]]) -> None:
    """Record reads that were counted: owner, when the first and the last were, how many."""
    _insert(
        connection, [(owner, "read", first, last, count) for owner, first, last, count in reads]
    )


def _insert(connection: Connection, rows: list[tuple[str, Event, int, int, int]]) -> None:
    if rows:
        names = ("owner", "event", "at", "until", "count")
        connection.execute(sa.insert(audit), [dict(zip(names, row, strict=True)) for row in rows])


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
