"""Transactions on one store, in which what all its entries share is known."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ...errors import TrimtabError
from ..dictionaries.dictionary import SteeringDictionary
from . import schema
from .database import Database
from .layout import StoreLayout
from .place import Place
from .schema import users
from .sealing import checked_id, owner_of
from .user_rows import UserRow, all_users, find_user
from .write import ERASING, StoreWrite

if TYPE_CHECKING:
    from ..model import SteeredModel

_NEAREST = 50_000  # above this, looking for the nearest id takes too long


class UnknownUser(TrimtabError, KeyError):
    """The store holds no dictionary of this user."""

    __str__ = Exception.__str__  # a KeyError would show its message in quotes


class Access:
    """Reads and writes one store's database.

    Args:
        place: Where it is.
        model: Refuse a store that is not this model's.
        patience: How many seconds to wait for another writer.
        changed: Told of every user whom a write may have changed.

    Attributes:
        database: Its connections.
        shown: Where it is, for messages.
    """

    def __init__(
        self,
        place: Place,
        *,
        model: SteeredModel | None,
        patience: float,
        changed: Callable[[str], None],
    ) -> None:
        self.database = Database(place, patience)
        self.shown = f"the store at {place.shown}"
        self._model = model
        self._changed = changed
        self._salt: str | None = None
        self._layout: StoreLayout | None = None

    @contextmanager
    def reading(self) -> Iterator[sa.Connection | None]:
        """One state of the database; None while there is no store yet.

        Raises:
            TrimtabError: It cannot be reached or read, or it is another model's.
        """
        with self.database.reading() as connection:
            self.layout(connection)
            yield connection

    @contextmanager
    def writing(self, user_ids: Iterable[str] = (), *, make: bool = False) -> Iterator[StoreWrite]:
        """One transaction; what it erases is off the disk after it, or after the next one.

        Args:
            user_ids: Whom it changes.
            make: Make a store where there is none.

        Raises:
            TrimtabError: There is no store, no proper id, another writer does not finish, or the
                store cannot be written.
        """
        changed = [checked_id(user_id) for user_id in user_ids]
        erase = None
        try:
            with self.database.writing(make=make) as connection:
                if connection is None:
                    raise TrimtabError(f"{self.shown} is empty; put dictionaries first")
                layout = self.layout(connection)
                assert self._salt is not None
                write = StoreWrite(connection, self._salt, layout)
                yield write
                write.finish()
                erase = write.erasing
        finally:
            for user_id in changed:
                self._changed(user_id)
        if erase:
            self._erase_log(erase)

    def _erase_log(self, number: str) -> None:
        self.database.erase_log()
        with self.database.writing() as connection:
            if connection is not None:
                said = schema.about.c
                done = sa.delete(schema.about).where(said.name == ERASING, said.value == number)
                connection.execute(done)

    def layout(self, connection: sa.Connection | None) -> StoreLayout | None:
        """What all entries share; None while no dictionary has been put.

        Raises:
            TrimtabError: The store is another model's.
        """
        if connection is not None and self._layout is None:
            said = schema.read_about(connection)
            self._salt = said["salt"]
            if "layout" in said:
                self._layout = StoreLayout.from_json(said["layout"])
        if self._layout is not None and self._model is not None:
            self._model.check_fingerprint(self._layout.fingerprint, self.shown)
        return self._layout

    def layout_for(self, *dictionaries: SteeringDictionary) -> StoreLayout:
        """The layout in which all of these can be put: the store's, or that of the first.

        What cannot be put must not make a store, nor settle what it holds.

        Raises:
            TrimtabError: One of them does not fit.
        """
        layout = self._layout
        if layout is None:
            with self.reading() as connection:
                layout = self.layout(connection)
        layout = layout or StoreLayout.of(dictionaries[0])
        for dictionary in dictionaries:
            layout.check(dictionary, self.shown)
        return layout

    def settle(self, write: StoreWrite, layout: StoreLayout, first: SteeringDictionary) -> None:
        """Fix what all entries share, unless that is fixed.

        Raises:
            TrimtabError: Another process has put something else since ``layout_for``.
        """
        if write.layout is None:
            write.settle(layout)
        elif write.layout != layout:
            write.layout.check(first, self.shown)

    def owner(self, user_id: str) -> str:
        """The keyed hash that a user's row is found by; known inside of a transaction."""
        assert self._salt is not None
        return owner_of(self._salt, user_id)

    def find(self, connection: sa.Connection, user_id: str) -> UserRow | None:
        """A user's row, if there is one."""
        return find_user(connection, self.owner(user_id))

    def known(self, write: StoreWrite, user_id: str, *, stored: bool = True) -> UserRow:
        """A user's row.

        Args:
            write: The transaction.
            user_id: Whose.
            stored: Refuse a user who is kept without a dictionary too.

        Raises:
            UnknownUser: There is none.
        """
        row = write.user(user_id)
        if row is None or (stored and not row.stored):
            raise self.unknown(user_id)
        return row

    def names(self, limit: int | None = None, *, stored: bool = True) -> list[str]:
        """Everyone with a dictionary, or everyone, sorted; at most so many, who came first."""
        with self.reading() as connection:
            if connection is None:
                return []
            return sorted(user.user_id for user in all_users(connection, limit, stored=stored))

    def count(self) -> int:
        """How many users have a dictionary."""
        with self.reading() as connection:
            if connection is None:
                return 0
            count = sa.select(sa.func.count()).select_from(users).where(users.c.stored)
            return int(connection.execute(count).scalar_one())

    def unknown(self, user_id: str) -> UnknownUser:
        """The error that there is no such user."""
        count = self.count()
        near = difflib.get_close_matches(user_id, self.names(), n=1) if count < _NEAREST else []
        hint = f"the nearest id is {near[0]!r}" if near else f"it holds {count} users"
        return UnknownUser(
            f"{self.shown} has no dictionary of user {user_id!r}; {hint}; build and put one first"
        )
