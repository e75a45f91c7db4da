"""Reading one store: users' dictionaries as a mapping, the users asked for last in memory."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ...errors import TrimtabError
from ..dictionaries.dictionary import SteeringDictionary
from ..dictionaries.population import Population
from ..dictionaries.switches import KnownUser, Switches
from ..vectors.entries import Contrast
from ..vectors.steering_vectors import SteeringVectors
from . import audit, schema
from .access import Access
from .audit import AuditEvent
from .counts import Counts
from .hot_users import HotUser, HotUsers
from .place import place_of
from .sealing import checked_id
from .user_rows import entry_contents
from .write import read_sums

if TYPE_CHECKING:
    from ..model import SteeredModel

Default = TypeVar("Default")


class StoreReader(Mapping[str, SteeringDictionary]):
    """What can be read of a store; see ``SteeringStore``, which writes it too, for the arguments.

    Raises:
        TrimtabError: Something other than a store of this version is there, or another model's.
    """

    def __init__(
        self,
        uri: str | Path,
        *,
        model: SteeredModel | None = None,
        hot_bytes: int = 256 * 2**20,
        refresh: float = 0.0,
        patience: float = 60.0,
        audit_reads: bool = True,
        existing: bool = False,
    ) -> None:
        self.uri = str(uri)
        self._refresh = refresh
        self._audit_reads = audit_reads
        place = place_of(uri)
        if place.lance is not None and place.file is not None:
            from .lance_import import import_lance

            import_lance(place.lance, place.file)
        self._shown = place.shown
        self._hot = HotUsers(hot_bytes)
        self._access = Access(place, model=model, patience=patience, changed=self._hot.discard)
        self.database = self._access.database
        self._counts = Counts(self.database)
        weakref.finalize(self, self._counts.close).atexit = False
        self._population: tuple[str, Population] | None = None
        _OPEN.add(self)
        with self._access.reading() as connection:
            if connection is None and existing:
                raise TrimtabError(
                    f"there is no steering store at {self._shown}; check the name, or put "
                    "dictionaries first"
                )

    def _after_fork(self) -> None:
        """In a child process: nothing that another thread of the parent may have held."""
        self._hot.after_fork()
        self.database.after_fork()
        self._counts.after_fork()

    def __getitem__(self, user_id: str) -> SteeringDictionary:
        hot = self.user(user_id)
        if hot is None or hot.dictionary is None:
            raise self._access.unknown(user_id)
        return hot.dictionary

    @overload
    def get(
        self, user_id: str, /, *, model: SteeredModel | None = None
    ) -> SteeringDictionary | None: ...

    @overload
    def get(
        self, user_id: str, /, default: Default, *, model: SteeredModel | None = None
    ) -> SteeringDictionary | Default: ...

    def get(
        self, user_id: str, /, default: Any = None, *, model: SteeredModel | None = None
    ) -> Any:
        """A user's dictionary, or the default where there is none.

        The object is the caller's own: what is done to it changes the store only when it is put.

        Args:
            user_id: Whose.
            default: For unknown users.
            model: Refuse the dictionary if it is not this model's.

        Raises:
            TrimtabError: Another model's, no proper id, or the store cannot be read.
        """
        hot = self.user(user_id)
        if hot is None or hot.dictionary is None:
            return default
        if model is not None:
            model.check_fingerprint(hot.dictionary.fingerprint, f"the store at {self._shown}")
        return hot.dictionary

    def __contains__(self, user_id: object) -> bool:
        if not isinstance(user_id, str):
            return False
        with self._access.reading() as connection:
            if connection is None or self._access.layout(connection) is None:
                return False
            row = self._access.find(connection, user_id)
            return row is not None and row.stored

    def users(self, *, limit: int | None = None) -> list[str]:
        """Everyone with a dictionary, sorted.

        Args:
            limit: At most so many, those who came first; None is all, which opens every user's
                sealed id.
        """
        return self._access.names(limit)

    def everyone(self) -> list[str]:
        """All of whom anything is kept, with a dictionary or without, sorted.

        Without one: something trained, switches, or requests that wait to be learned.
        """
        return self._access.names(stored=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self.users())

    def __len__(self) -> int:
        return self._access.count()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown!r})"

    def user(self, user_id: str) -> KnownUser | None:
        """A user's dictionary and switches at one moment; None where nothing is kept of them.

        Raises:
            TrimtabError: No proper id, or the store cannot be read.
        """
        checked_id(user_id)
        generation = self._hot.generation
        hot = self._hot.get(user_id)
        if hot is not None and time.monotonic() - hot.checked < self._refresh:
            if self._audit_reads:
                self._counts.read(self._access.owner(user_id))
            return KnownUser(hot.dictionary.replaced(), hot.switches, hot.version)
        with self._access.reading() as connection:
            if connection is None:
                return None
            layout = self._access.layout(connection)
            row = self._access.find(connection, user_id)
            if row is None:
                self._hot.discard(user_id)
                return None
            switches = Switches(row.enabled, row.strength)
            if layout is None or not row.stored:
                return KnownUser(None, switches, row.version)
            if hot is None or hot.version != row.version:
                stored = entry_contents(connection, row)
                hot = HotUser(layout.dictionary(user_id, stored), switches, row.version, 0.0)
        self._hot.put(replace(hot, checked=time.monotonic()), generation)
        if self._audit_reads:
            self._counts.read(row.owner)
        return KnownUser(hot.dictionary.replaced(), switches, row.version)

    def population(self, *, without: str | None = None) -> Population:
        """Everyone's entries, summed up: the collective part, and what is usual.

        Kept as running sums, so this reads a few rows, however many users there are.

        Args:
            without: Leave this user out, exactly; nobody is left out if the store has no such user.
        """
        with self._access.reading() as connection:
            layout = self._access.layout(connection)
            if connection is None or layout is None:
                return Population((), {})
            changes = schema.read_about(connection)["changes"]
            known = self._population
            if known is None or known[0] != changes:
                known = changes, layout.population(read_sums(connection))
                self._population = known
            one = None
            if without is not None:
                row = self._access.find(connection, without)
                if row is not None and row.stored:
                    one = layout.dictionary("", entry_contents(connection, row))
        return known[1] if one is None else known[1].minus(Population.of(one))

    def residual(self, user_id: str, contrast: Contrast = "context") -> SteeringVectors:
        """A user's mean vector minus that of everyone else: the personal part.

        Raises:
            TrimtabError: The user is unknown, or there is no entry of that kind on either side.
        """
        own = Population.of(self[user_id])
        return own.mean(contrast) - self.population(without=user_id).mean(contrast)

    def audit(self, user_id: str | None = None) -> list[AuditEvent]:
        """What happened to one user's dictionary, or to all, in order of time.

        Raises:
            TrimtabError: The trail cannot be read.
        """
        self._counts.flush()
        with self._access.reading() as connection:
            if connection is None:
                return []
            owners = None if user_id is None else [self._access.owner(user_id)]
            return audit.events(connection, owners)

    def close(self) -> None:
        """Write what was read into the audit trail; the store can still be used afterwards."""
        self._counts.flush()
        self.database.close()

    def __exit__(self, *exc: object) -> None:
        self.close()


_OPEN: weakref.WeakSet[StoreReader] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_OPEN):
        store._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
