"""One user's rows: finding them, and opening what is sealed in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from .layout import EntryContent
from .schema import entries, secret_slots, users, weights
from .sealing import Seal

_USER = sa.select(users, secret_slots.c.secret).join(secret_slots)
_BY_OWNER = _USER.where(users.c.owner == sa.bindparam("owner"))
_ENTRIES = (
    sa.select(entries)
    .where(entries.c.user == sa.bindparam("user"))
    .order_by(entries.c.position, entries.c.id)
)
_CONTENTS = _ENTRIES.with_only_columns(
    entries.c.contrast, entries.c.timestamp, entries.c.content, maintain_column_froms=True
)


@dataclass(frozen=True)
class UserRow:
    """What the store knows of a user besides entries.

    Attributes:
        id: The row's number.
        owner: The keyed hash of the user's id.
        version: The number of the write that changed the user last.
        stored: Whether there is a dictionary, which may have no entries.
        enabled: Whether the user is steered.
        strength: What every strength is multiplied with for the user.
        seal: The user's.
        name: The user's id, sealed.
    """

    id: int
    owner: str
    version: int
    stored: bool
    enabled: bool
    strength: float
    seal: Seal
    name: bytes

    @property
    def user_id(self) -> str:
        """Who it is."""
        return self.seal.open(self.name).decode()


def find_user(connection: Connection, owner: str) -> UserRow | None:
    """The row of a user; None where there is none."""
    row = connection.execute(_BY_OWNER, {"owner": owner}).one_or_none()
    return None if row is None else user_of(row)


def user_of(row: Any) -> UserRow:
    """A row of the users' table joined with their secrets."""
    return UserRow(
        id=row.id,
        owner=row.owner,
        version=row.version,
        stored=row.stored,
        enabled=row.enabled,
        strength=row.strength,
        seal=Seal(row.secret),
        name=row.name,
    )


def all_users(
    connection: Connection, limit: int | None = None, *, stored: bool = True
) -> list[UserRow]:
    """Everyone with a dictionary, or everyone; at most so many, those who came first."""
    query = _USER.where(users.c.stored) if stored else _USER
    query = query.order_by(users.c.id).limit(limit)
    return [user_of(row) for row in connection.execute(query)]


def entry_rows(connection: Connection, user: UserRow) -> Sequence[Any]:
    """The user's entries, in order, sealed."""
    return connection.execute(_ENTRIES, {"user": user.id}).all()


def entry_contents(connection: Connection, user: UserRow) -> list[EntryContent]:
    """What the user's entries hold, in order."""
    open_ = user.seal.open
    return [
        EntryContent(contrast, timestamp, open_(content))
        for contrast, timestamp, content in connection.execute(_CONTENTS, {"user": user.id})
    ]


def opened(user: UserRow, rows: Sequence[Any]) -> list[EntryContent]:
    """What rows of the user's hold."""
    return [EntryContent(r.contrast, r.timestamp, user.seal.open(r.content)) for r in rows]


def intervention_content(connection: Connection, user: UserRow, name: str) -> bytes | None:
    """A low-rank intervention of the user's; None where there is none of this name."""
    query = sa.select(weights.c.content)
    query = query.where(weights.c.user == user.id, weights.c.name == name)
    content = connection.execute(query).scalar()
    return None if content is None else user.seal.open(content)
