"""By which rule entries are too old to be kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from ...errors import TrimtabError
from .database import now_milliseconds
from .schema import entries, secret_slots, users
from .user_rows import user_of


@dataclass(frozen=True)
class AgeRule:
    """Entries earlier than a limit are too old.

    Attributes:
        column: What the limit is of: when an entry was written, or when its sample happened.
        limit: In the unit of that column.
    """

    column: Literal["built", "timestamp"]
    limit: int

    @classmethod
    def of(cls, older_than: timedelta | None, before: int | None) -> AgeRule:
        """The rule of these arguments of ``SteeringStore.expire``.

        Raises:
            TrimtabError: Neither or both are given.
        """
        if older_than is not None and before is None:
            return cls("built", now_milliseconds() - older_than // timedelta(milliseconds=1))
        if before is not None and older_than is None:
            return cls("timestamp", before)
        raise TrimtabError(
            "expected either older_than (a timedelta since entries were written) or before "
            f"(a sample's timestamp), got older_than={older_than} and before={before}"
        )

    def covers(self, row: Any) -> bool:
        """Whether an entry's row is too old."""
        return bool(getattr(row, self.column) < self.limit)


def users_with_old_entries(connection: Connection, rule: AgeRule) -> list[str]:
    """Who has entries that are too old."""
    old = sa.select(entries.c.user).where(entries.c[rule.column] < rule.limit).distinct()
    query = sa.select(users, secret_slots.c.secret).join(secret_slots)
    return [user_of(row).user_id for row in connection.execute(query.where(users.c.id.in_(old)))]
