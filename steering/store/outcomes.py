"""What came of the answers that users were given, by the arm of the comparison they are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from .access import Access
from .schema import COUNTED, outcomes


class Counted(NamedTuple):
    """What came of one user's answers.

    Attributes:
        user_id: Whose.
        arm: Which arm they were in.
        since: When the first of it was counted, in milliseconds since 1970.
        counts: By the names of ``COUNTED``.
    """

    user_id: str
    arm: str
    since: int
    counts: Mapping[str, int]


class Outcomes:
    """The counts of one store."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def add(self, counted: Iterable[Counted]) -> None:
        """Add to the counts; not to those of whoever was forgotten since.

        Raises:
            TrimtabError: The store cannot be written.
        """
        given = list(counted)
        if not given:
            return
        with self._access.writing(make=True) as write:
            owners = {one.user_id: self._access.owner(one.user_id) for one in given}
            gone = write.forgotten(owners.values())
            for one in given:
                if one.since > gone.get(owners[one.user_id], 0):
                    write.count(write.user_or_new(one.user_id), one.arm, one.counts)

    def all(self) -> list[tuple[str, dict[str, int]]]:
        """By user, in no order: the arm and the counts.

        Raises:
            TrimtabError: The store cannot be read.
        """
        with self._access.reading() as connection:
            if connection is None or not sa.inspect(connection).has_table(outcomes.name):
                return []  # no store yet, or one that an older version made
            columns = [outcomes.c[name] for name in COUNTED]
            rows = connection.execute(sa.select(outcomes.c.arm, *columns)).all()
        return [(arm, dict(zip(COUNTED, map(int, counts), strict=True))) for arm, *counts in rows]
