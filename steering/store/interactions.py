"""What users did, kept from the moment that it is acknowledged until it is learned from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ...errors import TrimtabError
from ..dictionaries.dictionary import SteeringDictionary
from .access import Access, UnknownUser
from .layout import head_of, rest_of, with_head
from .schema import pending, secret_slots, users
from .user_rows import user_of


@dataclass(frozen=True)
class Waiting:
    """An interaction that is to be learned from.

    Attributes:
        user_id: Whose.
        interaction_id: Its id, the ``sample_id`` of the entries that are built of it.
        content: What it was: plain JSON values.
    """

    user_id: str
    interaction_id: str
    content: dict[str, Any]


class Interactions:
    """The interactions of one store that wait to be learned from.

    What ``keep`` has returned for is on the disk, and each interaction becomes entries once,
    whenever a process is killed: the entries come in the transaction in which the interaction
    ceases to wait.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def keep(
        self,
        user_id: str,
        interaction_id: str,
        content: Mapping[str, Any],
        *,
        since: int | None = None,
    ) -> bool:
        """Keep an interaction until it is learned from.

        Args:
            user_id: Whose.
            interaction_id: Its id, unique to the user.
            content: What it was: plain JSON values.
            since: When the conversation that it is about was held, in milliseconds since 1970.

        Returns:
            False if it waits already, or was learned from.

        Raises:
            UnknownUser: The user was forgotten after ``since``.
            TrimtabError: No proper id, content that is not plain JSON, or the store cannot be
                written.
        """
        if not isinstance(interaction_id, str) or not interaction_id:
            raise TrimtabError(f"expected an id for the interaction, got {interaction_id!r}")
        try:
            text = json.dumps(dict(content), ensure_ascii=False, allow_nan=False).encode()
            sealable = with_head([interaction_id], text)
        except (TypeError, ValueError) as error:
            raise TrimtabError(
                f"interaction {interaction_id!r}: expected plain JSON values, {error}"
            ) from error
        with self._access.writing([user_id], make=True) as write:
            owner = self._access.owner(user_id)
            if since is not None and write.forgotten([owner]).get(owner, 0) >= since:
                raise UnknownUser(f"user {user_id!r} was forgotten; what was said before is gone")
            return write.wait(write.user_or_new(user_id), interaction_id, sealable)

    def waiting(self, *, limit: int | None = None) -> list[Waiting]:
        """What waits, the oldest first.

        Args:
            limit: At most this many; None is all.

        Raises:
            TrimtabError: The store cannot be read.
        """
        with self._access.reading() as connection:
            if connection is None:
                return []
            columns = (users, secret_slots.c.secret, pending.c.content)
            query = sa.select(*columns).select_from(pending).join(users).join(secret_slots)
            rows = connection.execute(query.order_by(pending.c.id).limit(limit)).all()
        waiting = []
        for row in rows:
            user = user_of(row)
            content = user.seal.open(row.content)
            waiting.append(Waiting(user.user_id, head_of(content)[0], json.loads(rest_of(content))))
        return waiting

    def learned(self, dictionary: SteeringDictionary, interaction_ids: Iterable[str]) -> int:
        """Add the entries that were built of interactions, which wait no longer.

        Args:
            dictionary: Entries whose samples are the interactions; there may be none for some.
            interaction_ids: What was learned from, or cannot be.

        Returns:
            How many entries were added: none of an interaction that no longer waits, since another
            process has learned from it, or its user has dropped it or been forgotten.

        Raises:
            TrimtabError: As for ``SteeringStore.put``.
        """
        user_id = dictionary.user_id
        layout = self._access.layout_for(dictionary) if len(dictionary) else None
        with self._access.writing([user_id], make=True) as write:
            user = write.user(user_id)
            if user is None:
                return 0
            taken = write.take(user, interaction_ids)
            fresh = dictionary.replaced()
            fresh.drop({entry.sample_id for entry in fresh.entries} - taken)
            if len(fresh):
                assert layout is not None
                self._access.settle(write, layout, fresh)
                write.put(fresh, layout.contents(fresh), whole=False)
                write.record("added", {user_id: len(fresh)})
            elif not user.stored:
                write.leave(user)
        return len(fresh)

    def give_up(self, user_id: str, interaction_ids: Iterable[str]) -> int:
        """End the waiting of what cannot be learned from; how many did wait.

        Raises:
            TrimtabError: The store cannot be written.
        """
        with self._access.writing([user_id], make=True) as write:
            user = write.user(user_id)
            if user is None:
                return 0
            taken = write.take(user, interaction_ids)
            if not user.stored:
                write.leave(user)
        return len(taken)
