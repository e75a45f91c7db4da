"""All users' steering dictionaries in one relational database."""

from __future__ import annotations

import difflib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import sqlalchemy as sa
import torch
from safetensors.torch import load, save

from ...errors import TrimtabError
from ..dictionaries.dictionary import SteeringDictionary
from ..dictionaries.population import Population
from ..dictionaries.switches import MAX_STRENGTH, KnownUser, Switches
from ..vectors.entries import Contrast
from ..vectors.steering_vectors import SteeringVectors
from . import audit, schema
from .audit import AuditEvent, ReadCounter
from .database import Database, now_milliseconds
from .hot_users import HotUser, HotUsers
from .layout import Layout
from .place import place_of
from .schema import entries, secret_slots, users, weights
from .sealing import checked_id, owner_of
from .user_rows import UserRow, entry_rows, find_user, opened, stored_users, user_of
from .write import ERASING, StoreWrite, read_sums

if TYPE_CHECKING:
    from ..model import SteeredModel

Default = TypeVar("Default")

_NEAREST = 50_000  # above this, looking for the nearest id takes too long


class UnknownUser(TrimtabError, KeyError):
    """The store holds no dictionary of this user."""

    __str__ = Exception.__str__  # a KeyError would show its message in quotes


class SteeringStore(Mapping[str, SteeringDictionary]):
    """Every user's dictionary, of one model and one set of points, in SQLite or PostgreSQL.

    Vectors and key embeddings are kept in half precision: a cosine changes by at most 6e-5 and a
    steering vector by 1 part in 2,000. Users asked for last stay in memory, and are read again when
    their version in the database is another. Any number of processes and threads may read while
    one writes; further writers wait. Each write takes effect as a whole or not at all, whenever the
    process is killed: entries, running sums and the audit trail alike. What is of a user lies in
    the database sealed with the user's own secret; to forget is to delete it and to overwrite that
    secret. It may be used in a forked process.

    It is a mapping: ``store[user_id]`` raises for an unknown user, ``store.get(user_id)`` gives
    None, and ``len``, ``in`` and iteration go by user.

    Args:
        uri: ``sqlite:///users.db``, ``postgresql://USER@HOST/DATABASE``, or a file's path. A folder
            with a Lance store of the last release is imported into the database beside it, once.
            Nothing is created before the first write.
        model: Refuse the store, and dictionaries, that are not this model's.
        hot_bytes: How much memory the users asked for last may take.
        refresh: For how many seconds another process's write may go unnoticed; 0 asks the database
            for the user's version at every access.
        patience: How many seconds to wait for another writer.
        audit_reads: Record in the audit trail who was read, which needs a store that can be
            written.
        existing: Refuse a place where there is no store yet.

    Raises:
        TrimtabError: Something other than a store of this version is there, or another model's.

    Example:
        >>> store = SteeringStore("sqlite:///users.db")  # doctest: +SKIP
        >>> store.put(dictionary)  # doctest: +SKIP
        >>> store["u1"].select("a light rain jacket")  # doctest: +SKIP
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
        self._model = model
        self._refresh = refresh
        self._audit_reads = audit_reads
        self._place = place_of(uri)
        if self._place.lance is not None and self._place.file is not None:
            from .lance_import import import_lance

            import_lance(self._place.lance, self._place.file)
        self._shown = self._place.shown
        self.database = Database(self._place, patience)
        self._reads = ReadCounter(self.database)
        weakref.finalize(self, self._reads.close).atexit = False
        self._hot = HotUsers(hot_bytes)
        self._hot_bytes = hot_bytes
        self._salt: str | None = None
        self._known_layout: Layout | None = None
        self._lock = threading.Lock()
        self._population: tuple[str, Population] | None = None
        _OPEN.add(self)
        with self.database.reading() as connection:
            if connection is None and existing:
                raise TrimtabError(
                    f"there is no steering store at {self._shown}; check the name, or put "
                    "dictionaries first"
                )
            self._layout(connection)

    def _after_fork(self) -> None:
        """In a child process: nothing that another thread of the parent may have held."""
        self._lock = threading.Lock()
        self._hot = HotUsers(self._hot_bytes)
        self.database.after_fork()
        self._reads.after_fork()

    def __getitem__(self, user_id: str) -> SteeringDictionary:
        found = self.user(user_id)
        if found is None or found.dictionary is None:
            raise self._unknown(user_id)
        return found.dictionary

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
        found = self.user(user_id)
        if found is None or found.dictionary is None:
            return default
        if model is not None:
            model.check_fingerprint(found.dictionary.fingerprint, f"the store at {self._shown}")
        return found.dictionary

    def __contains__(self, user_id: object) -> bool:
        if not isinstance(user_id, str):
            return False
        with self.database.reading() as connection:
            if connection is None or self._layout(connection) is None:
                return False
            row = find_user(connection, self._owner(user_id))
            return row is not None and row.stored

    def users(self) -> list[str]:
        """Everyone in the store, sorted."""
        with self.database.reading() as connection:
            if connection is None:
                return []
            return sorted(user.user_id for user in stored_users(connection))

    def __iter__(self) -> Iterator[str]:
        return iter(self.users())

    def __len__(self) -> int:
        with self.database.reading() as connection:
            if connection is None:
                return 0
            count = sa.select(sa.func.count()).select_from(users).where(users.c.stored)
            return int(connection.execute(count).scalar_one())

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"SteeringStore({self._shown!r})"

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
                self._reads.count(self._owner(user_id))
            return KnownUser(hot.dictionary.replaced(), hot.switches, hot.version)
        with self.database.reading() as connection:
            if connection is None:
                return None
            layout = self._layout(connection)
            row = find_user(connection, self._owner(user_id))
            if row is None:
                self._hot.discard(user_id)
                return None
            switches = Switches(row.enabled, row.strength)
            if layout is None or not row.stored:
                return KnownUser(None, switches, row.version)
            if hot is None or hot.version != row.version:
                stored = opened(row, entry_rows(connection, row))
                hot = HotUser(layout.dictionary(user_id, stored), switches, row.version, 0.0)
        self._hot.put(replace(hot, checked=time.monotonic()), generation)
        if self._audit_reads:
            self._reads.count(row.owner)
        return KnownUser(hot.dictionary.replaced(), switches, row.version)

    def put(self, *dictionaries: SteeringDictionary) -> None:
        """Put users' dictionaries in the place of what the store holds of them.

        All of them take effect at once; give some hundreds at a time to fill a store fast. Of a
        user who is there, only what differs is written.

        Raises:
            TrimtabError: A dictionary of another model, other points, encoder or keys than the
                store's, with numbers that are not finite or a sample twice; a first one without
                entries; another writer that does not finish; a disk that is full.
        """
        self._write("built", dictionaries, whole=True)

    def add(self, *dictionaries: SteeringDictionary) -> None:
        """Add entries to what the store holds of their users, in place of those of equal samples.

        Usable by the next request, in every process.

        Raises:
            TrimtabError: As for ``put``.
        """
        self._write("added", dictionaries, whole=False)

    def _write(
        self, event: audit.Event, dictionaries: Sequence[SteeringDictionary], *, whole: bool
    ) -> None:
        given = {checked_id(dictionary.user_id): dictionary for dictionary in dictionaries}
        if len(given) < len(dictionaries):
            raise TrimtabError("expected one dictionary a user, got several; merge them first")
        if not given:
            return
        with self.database.reading() as connection:
            layout = self._layout(connection)
        # What cannot be put must not make a store, nor settle what it holds.
        layout = layout or Layout.of(dictionaries[0])
        for dictionary in dictionaries:
            layout.check(dictionary, f"the store at {self._shown}")
        contents = [layout.contents(dictionary) for dictionary in dictionaries]
        with self._writing(given, make=True) as write:
            if write.layout is None:
                write.settle(layout)
            elif write.layout != layout:  # another process was first
                write.layout.check(dictionaries[0], f"the store at {self._shown}")
            for dictionary, content in zip(dictionaries, contents, strict=True):
                write.put(dictionary, content, whole=whole)
            write.record(event, {user_id: len(d) for user_id, d in given.items()})

    def drop(self, user_id: str, sample_ids: Iterable[str]) -> int:
        """Remove a user's entries of these samples, off the disk too; how many there were.

        Raises:
            TrimtabError: The user is unknown, or as for ``put``.
        """
        gone = set(sample_ids)
        with self._writing([user_id]) as write:
            user = self._known(write, user_id)
            hashes = {user.seal.sample(sample_id) for sample_id in gone}
            dropped = write.drop(user, lambda row: bytes(row.sample) in hashes)
            if dropped:
                write.record("dropped", {user_id: dropped})
        return dropped

    def forget(self, *user_ids: str) -> None:
        """Erase everything of these users: entries, switches, memory, and their audit trail.

        They are gone for all readers at once. The secrets that their rows were sealed with are
        overwritten, and the log of SQLite is emptied, so no byte of theirs can be read from the
        database's files. (PostgreSQL's own log, its dead rows until they are vacuumed, and backups
        of either hold what they held.) The audit trail keeps only that somebody with this hash was
        forgotten, and when. Dictionaries that a program holds are its own affair.

        Raises:
            TrimtabError: One of them is unknown, or as for ``put``.
        """
        if not user_ids:
            return
        with self._writing(user_ids) as write:
            rows = [
                self._known(write, user_id, stored=False) for user_id in dict.fromkeys(user_ids)
            ]
            for row in rows:
                write.remove(row)
            write.forget(row.owner for row in rows)

    def expire(self, older_than: timedelta | None = None, *, before: int | None = None) -> int:
        """Remove entries by age, off the disk too; how many there were.

        A user whose last entry expires leaves the store.

        Args:
            older_than: Entries that were written into the store, or last changed, longer ago than
                this: the store's own clock, which rules on keeping data are about.
            before: Entries whose samples happened earlier than this, in the samples' own unit, as
                for ``select``.

        Raises:
            TrimtabError: Neither or both are given, or as for ``put``.
        """
        if (older_than is None) == (before is None):
            raise TrimtabError(
                "expected either older_than (a timedelta since entries were written) or before "
                f"(a sample's timestamp), got older_than={older_than} and before={before}"
            )
        if older_than is not None:
            column = entries.c.built
            limit = now_milliseconds() - older_than // timedelta(milliseconds=1)
        else:
            assert before is not None
            column, limit = entries.c.timestamp, before
        with self.database.reading() as connection:
            if connection is None:
                return 0
            old = sa.select(entries.c.user).where(column < limit).distinct()
            query = sa.select(users, secret_slots.c.secret).join(secret_slots)
            found = connection.execute(query.where(users.c.id.in_(old)))
            names = [user_of(row).user_id for row in found]
        return sum(self._expire(name, lambda row: row[column.name] < limit) for name in names)

    def _expire(self, user_id: str, gone: Callable[[Any], bool]) -> int:
        with self._writing([user_id]) as write:
            user = write.user(user_id)
            if user is None:
                return 0
            expired = write.drop(user, lambda row: gone(row._mapping))
            if expired:
                write.record("expired", {user_id: expired})
                if not write.left(user):
                    again = write.user(user_id)
                    assert again is not None
                    write.leave(again)
        return expired

    def switch(
        self, user_id: str, *, enabled: bool | None = None, strength: float | None = None
    ) -> Switches:
        """Change what a user has set for themselves; what is not given stays.

        A user of whom nothing else is kept can be switched off too, and stays so.

        Raises:
            TrimtabError: A strength out of bounds, or as for ``put``.
        """
        if strength is not None and not 0 <= strength <= MAX_STRENGTH:
            raise TrimtabError(
                f"expected a strength between 0 and {MAX_STRENGTH:g}, got {strength:g}"
            )
        with self._writing([user_id], make=True) as write:
            row = write.user_or_new(user_id)
            switches = Switches(
                row.enabled if enabled is None else enabled,
                row.strength if strength is None else float(strength),
            )
            write.change(row, enabled=switches.enabled, strength=switches.strength)
            write.record("switched", {user_id: 1})
        return switches

    def put_weights(self, user_id: str, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep a low-rank intervention, or any other tensors, of a user's beside the vectors.

        Raises:
            TrimtabError: As for ``put``.
        """
        content = save({key: tensor.contiguous() for key, tensor in tensors.items()})
        with self._writing([user_id], make=True) as write:
            write.put_weights(write.user_or_new(user_id), name, content)
            write.record("added", {user_id: 1})

    def weights(self, user_id: str, name: str) -> dict[str, torch.Tensor] | None:
        """What ``put_weights`` was given; None where there is no such thing.

        Raises:
            TrimtabError: No proper id, or the store cannot be read.
        """
        checked_id(user_id)
        with self.database.reading() as connection:
            if connection is None:
                return None
            self._layout(connection)
            row = find_user(connection, self._owner(user_id))
            if row is None:
                return None
            query = sa.select(weights.c.content)
            query = query.where(weights.c.user == row.id, weights.c.name == name)
            content = connection.execute(query).scalar()
            return None if content is None else load(row.seal.open(content))

    def compact(self) -> None:
        """Rewrite the database without what is not in use, which gives the disk back.

        Raises:
            TrimtabError: As for ``put``.
        """
        with self.database.reading() as connection:
            there = connection is not None
        if there:
            with self._writing():
                pass  # finishes what a killed writer left
            self.database.rewrite()

    def population(self, *, without: str | None = None) -> Population:
        """Everyone's entries, summed up: the collective part, and what is usual.

        Kept as running sums, so this reads a few rows, however many users there are.

        Args:
            without: Leave this user out, exactly; nobody is left out if the store has no such user.
        """
        with self.database.reading() as connection:
            layout = self._layout(connection)
            if connection is None or layout is None:
                return Population((), {})
            changes = schema.read_about(connection)["changes"]
            known = self._population
            if known is None or known[0] != changes:
                known = changes, layout.population(read_sums(connection))
                self._population = known
            one = None
            if without is not None:
                row = find_user(connection, self._owner(without))
                if row is not None and row.stored:
                    one = layout.dictionary("", opened(row, entry_rows(connection, row)))
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
        self._reads.flush()
        with self.database.reading() as connection:
            if connection is None:
                return []
            self._layout(connection)
            owners = None if user_id is None else [self._owner(user_id)]
            return audit.events(connection, owners)

    def close(self) -> None:
        """Write what was read into the audit trail; the store can still be used afterwards."""
        self._reads.flush()
        self.database.close()

    def __enter__(self) -> SteeringStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _owner(self, user_id: str) -> str:
        assert self._salt is not None
        return owner_of(self._salt, user_id)

    def _layout(self, connection: sa.Connection | None) -> Layout | None:
        """What all entries share; None while no dictionary has been put."""
        if connection is not None and self._known_layout is None:
            said = schema.read_about(connection)
            self._salt = said["salt"]
            if "layout" in said:
                self._known_layout = Layout.from_json(said["layout"])
        layout = self._known_layout
        if layout is not None and self._model is not None:
            self._model.check_fingerprint(layout.fingerprint, f"the store at {self._shown}")
        return layout

    @contextmanager
    def _writing(self, user_ids: Iterable[str] = (), *, make: bool = False) -> Iterator[StoreWrite]:
        """One transaction; what it erases is off the disk after it, or after the next one.

        Args:
            user_ids: Whom it changes.
            make: Make a store where there is none.
        """
        changed = [checked_id(user_id) for user_id in user_ids]
        erase = None
        try:
            with self.database.writing(make=make) as connection:
                if connection is None:
                    raise TrimtabError(
                        f"the store at {self._shown} is empty; put dictionaries first"
                    )
                layout = self._layout(connection)
                assert self._salt is not None
                write = StoreWrite(connection, self._salt, layout)
                yield write
                write.finish()
                erase = write.erasing
        finally:
            for user_id in changed:
                self._hot.discard(user_id)
        if erase:
            self._erase_log(erase)

    def _erase_log(self, number: str) -> None:
        self.database.erase_log()
        with self.database.writing() as connection:
            if connection is not None:
                said = schema.about.c
                done = sa.delete(schema.about).where(said.name == ERASING, said.value == number)
                connection.execute(done)

    def _known(self, write: StoreWrite, user_id: str, *, stored: bool = True) -> UserRow:
        row = write.user(user_id)
        if row is None or (stored and not row.stored):
            raise self._unknown(user_id)
        return row

    def _unknown(self, user_id: str) -> UnknownUser:
        count = len(self)
        nearest = difflib.get_close_matches(user_id, self.users(), n=1) if count < _NEAREST else []
        hint = f"the nearest id is {nearest[0]!r}" if nearest else f"it holds {count} users"
        return UnknownUser(
            f"the store at {self._shown} has no dictionary of user {user_id!r}; {hint}; build and "
            "put one first"
        )


_OPEN: weakref.WeakSet[SteeringStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_OPEN):
        store._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def population_of(dictionaries: Mapping[str, SteeringDictionary], *, without: str) -> Population:
    """Everybody's entries but one user's, of a store or of any other mapping by user.

    A store keeps them summed up; of another mapping, all are read.

    Raises:
        TrimtabError: There is nobody else.
    """
    if isinstance(dictionaries, SteeringStore):
        return dictionaries.population(without=without)
    others = [own for user, own in dictionaries.items() if user != without]
    if not others:
        raise TrimtabError(f"expected the dictionaries of others than {without!r}, got none")
    return Population.of(*others)
