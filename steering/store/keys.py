"""The keys by which a server knows its callers, as a store keeps them: hashed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from .access import Access
from .database import now_milliseconds
from .schema import keys


@dataclass(frozen=True)
class KeptKey:
    """A key as it is kept.

    Attributes:
        id: Names the key; no secret.
        digest: A hash of the key.
        label: What a person calls it.
        users: For whom it may act, as text.
        rights: What it may do, separated by commas.
        made: When.
    """

    id: str
    digest: str
    label: str
    users: str
    rights: str
    made: datetime


class AccessKeys:
    """The keys of one store."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def put(self, id: str, *, digest: str, label: str, users: str, rights: str) -> None:
        """Keep a new key.

        Raises:
            TrimtabError: The store cannot be written.
        """
        made = now_milliseconds()
        row = {"id": id, "digest": digest, "label": label, "users": users, "rights": rights}
        with self._access.database.writing(make=True) as connection:
            assert connection is not None
            connection.execute(sa.insert(keys).values(**row, made=made))

    def find(self, id: str) -> KeptKey | None:
        """A key by its id; None where there is none.

        Raises:
            TrimtabError: The store cannot be read.
        """
        with self._access.reading() as connection:
            if connection is None:
                return None
            row = connection.execute(sa.select(keys).where(keys.c.id == id)).one_or_none()
            return None if row is None else _kept(row)

    def any(self) -> bool:
        """Whether there is a key.

        Raises:
            TrimtabError: The store cannot be read.
        """
        with self._access.reading() as connection:
            if connection is None:
                return False
            return connection.execute(sa.select(keys.c.id).limit(1)).first() is not None

    def list(self) -> list[KeptKey]:
        """All keys, the oldest first.

        Raises:
            TrimtabError: The store cannot be read.
        """
        with self._access.reading() as connection:
            if connection is None:
                return []
            query = sa.select(keys).order_by(keys.c.made, keys.c.id)
            return [_kept(row) for row in connection.execute(query)]

    def drop(self, id: str) -> bool:
        """Revoke a key, for all servers at once; whether there was one.

        Raises:
            TrimtabError: The store cannot be written.
        """
        with self._access.database.writing() as connection:
            if connection is None:
                return False
            return bool(connection.execute(sa.delete(keys).where(keys.c.id == id)).rowcount)


def _kept(row: Any) -> KeptKey:
    made = datetime.fromtimestamp(row.made / 1000, UTC)
    return KeptKey(row.id, row.digest, row.label, row.users, row.rights, made)
