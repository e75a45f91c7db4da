"""The tables of a store, their version, and the way from an older version to this one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, ForeignKey, Index, LargeBinary, Table, Text

from ...errors import TrimtabError

VERSION = 2
"""Of the tables below."""

COUNTED = (
    "answers",
    "prompt_tokens",
    "new_tokens",
    "milliseconds",
    "good",
    "bad",
    "corrected",
    "tool_errors",
)
"""What is counted of a user's answers."""

metadata = sa.MetaData()
_Number = BigInteger().with_variant(sa.Integer, "sqlite")


def _owned_by_user(*more: sa.schema.SchemaItem) -> Column[int]:
    return Column("user", ForeignKey("trimtab_users.id", ondelete="CASCADE"), *more, nullable=False)


about = Table(
    "trimtab_about",
    metadata,
    # schema: the version; salt: of owners; changes: counts all writes; layout: of all entries;
    # erasing: there is something forgotten in SQLite's log.
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
secret_slots = Table(
    # Rows of one size that are never moved and never deleted, so that what is overwritten in them
    # is left nowhere else; see sealing.py.
    "trimtab_secrets",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("secret", LargeBinary, nullable=False),
)
users = Table(
    "trimtab_users",
    metadata,
    Column("id", ForeignKey(secret_slots.c.id), primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False, unique=True),
    Column("name", LargeBinary, nullable=False),  # the user's id, sealed
    Column("version", BigInteger, nullable=False),  # the number of the write that changed it last
    Column("stored", sa.Boolean, nullable=False),  # has a dictionary
    Column("enabled", sa.Boolean, nullable=False),
    Column("strength", sa.Float, nullable=False),
)
entries = Table(
    "trimtab_entries",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    _owned_by_user(),
    Column("position", BigInteger, nullable=False),
    Column("sample", LargeBinary, nullable=False),  # a hash
    Column("contrast", Text, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("built", BigInteger, nullable=False),  # milliseconds since 1970
    Column("content", LargeBinary, nullable=False),  # texts, key and vectors, sealed
    Index("trimtab_entry", "user", "sample", "contrast", unique=True),
    Index("trimtab_position", "user", "position"),
    Index("trimtab_built", "built"),
    Index("trimtab_timestamp", "timestamp"),
)
uses = Table(
    "trimtab_uses",
    metadata,
    Column("entry", ForeignKey(entries.c.id, ondelete="CASCADE"), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),  # milliseconds since 1970
)
sums = Table(
    "trimtab_sums",
    metadata,
    Column("contrast", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
weights = Table(
    "trimtab_weights",
    metadata,
    _owned_by_user(),
    Column("name", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),  # safetensors, sealed
    sa.PrimaryKeyConstraint("user", "name"),
)
pending = Table(
    "trimtab_pending",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    _owned_by_user(),
    Column("sample", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),  # JSON, sealed
    Index("trimtab_pending_sample", "user", "sample", unique=True),
)
keys = Table(
    "trimtab_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("label", Text, nullable=False),
    Column("users", Text, nullable=False),
    Column("rights", Text, nullable=False),
    Column("made", BigInteger, nullable=False),  # milliseconds since 1970
)
audit = Table(
    "trimtab_audit",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("at", BigInteger, nullable=False),  # milliseconds since 1970, as is the next
    Column("until", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Index("trimtab_audit_owner", "owner"),
)
outcomes = Table(
    # What came of the answers that a user was given, by the arm of the comparison that they are in.
    "trimtab_outcomes",
    metadata,
    _owned_by_user(),
    Column("arm", Text, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in COUNTED),
    sa.PrimaryKeyConstraint("user", "arm"),
)

MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {1: outcomes.create}
"""From each older version to the next one; they run in one transaction."""


def read_about(connection: Connection) -> dict[str, str]:
    """What the store says of itself."""
    return {name: value for name, value in connection.execute(sa.select(about))}


def write_about(connection: Connection, name: str, value: str) -> None:
    """Set one thing that the store says of itself."""
    if not connection.execute(
        sa.update(about).where(about.c.name == name).values(value=value)
    ).rowcount:
        connection.execute(sa.insert(about).values(name=name, value=value))


def is_made(connection: Connection) -> bool:
    """Whether the tables are there."""
    return sa.inspect(connection).has_table(about.name)


def make(connection: Connection, salt: str | None = None) -> None:
    """Make the tables, of this version and without any user."""
    metadata.create_all(connection)
    for name, value in {
        "schema": str(VERSION),
        "salt": salt or secrets.token_hex(16),
        "changes": "0",
    }.items():
        write_about(connection, name, value)


def version_of(said: Mapping[str, str], store: str) -> int:
    """The version of a store's tables.

    Raises:
        TrimtabError: A newer one than this.
    """
    version = json.loads(said["schema"])
    if version > VERSION:
        raise TrimtabError(
            f"the store at {store} was made by a newer trimtab (its tables are of version "
            f"{version}, this one knows {VERSION}); upgrade: pip install --upgrade trimtab"
        )
    return int(version)


def migrate(connection: Connection, version: int) -> None:
    """Bring older tables to this version."""
    for older in range(version, VERSION):
        MIGRATIONS[older](connection)
    write_about(connection, "schema", str(VERSION))
