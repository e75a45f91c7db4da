"""All users' steering dictionaries in one place, on disk or object storage."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import torch
from filelock import FileLock, Timeout

from ...errors import TrimtabError
from ..dictionaries.dictionary import SteeringDictionary
from ..dictionaries.population import Population
from ..vectors.entries import Contrast
from ..vectors.steering_vectors import SteeringVectors
from .audit import AuditEvent, AuditTrail, Event, now_milliseconds
from .entry_table import EntryTable
from .hot_users import HotUser, HotUsers
from .layout import Layout, checked_id
from .write import StoreWrite

if TYPE_CHECKING:
    from ..model import SteeredModel

Default = TypeVar("Default")

_NEAREST = 50_000  # above this, looking for the nearest id takes too long
_USERS_AT_ONCE = 500


class UnknownUser(TrimtabError, KeyError):
    """The store holds no dictionary of this user."""

    __str__ = Exception.__str__  # a KeyError would show its message in quotes


class SteeringStore(Mapping[str, SteeringDictionary]):
    """Every user's dictionary, of one model and one set of points, in one LanceDB table.

    Vectors and key embeddings are kept in half precision: a cosine changes by at most 6e-5 and a
    steering vector by 1 part in 2,000. Users asked for last stay in memory. Any number of processes
    and threads may read while one writes; on a local disk a lock file makes further writers wait,
    on object storage there must be only one. Each write takes effect as a whole or not at all,
    whenever the process is killed.

    It is a mapping: ``store[user_id]`` raises for an unknown user, ``store.get(user_id)`` gives
    None, and ``len``, ``in`` and iteration go by user.

    Args:
        uri: A folder, or an object storage URI such as ``s3://bucket/users``. Nothing is created
            before the first ``put``.
        model: Refuse the store, and dictionaries, that are not this model's.
        hot_bytes: How much memory the users asked for last may take.
        refresh: For how many seconds another process's write may go unnoticed; 0 looks at every
            access, which takes a fraction of a millisecond on disk and more on object storage.
        patience: How many seconds to wait for another writer.
        audit_reads: Record in the audit trail who was read, which needs a store that can be
            written.
        storage_options: For object storage: keys, regions; see LanceDB.

    Raises:
        TrimtabError: Something other than a store of this version is there, or another model's.

    Example:
        >>> store = SteeringStore("./users.lance")  # doctest: +SKIP
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
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self.uri = str(uri)
        self._model = model
        self._patience = patience
        self._audit_reads = audit_reads
        self._table = EntryTable(self.uri, storage_options, refresh)
        self._audit = AuditTrail(self._table.database, self.uri)
        self._hot = HotUsers(hot_bytes)
        # A new epoch starts when another process has written: what is in memory may be old then.
        self._epoch = 0
        self._version = 0
        self._lock = threading.RLock()
        self._population: tuple[int, Population] | None = None
        self._layout()

    def __getitem__(self, user_id: str) -> SteeringDictionary:
        found = self._find(user_id)
        if found is None:
            raise self._unknown(user_id)
        return found

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
        found = self._find(user_id)
        if found is not None and model is not None:
            model.check_fingerprint(found.fingerprint, f"the store at {self.uri}")
        return default if found is None else found

    def __contains__(self, user_id: object) -> bool:
        layout = self._layout()
        if layout is None or not isinstance(user_id, str):
            return False
        return self._table.head(layout.owner(user_id)) is not None

    def users(self) -> list[str]:
        """Everyone in the store, sorted."""
        return self._table.user_ids() if self._layout() else []

    def __iter__(self) -> Iterator[str]:
        return iter(self.users())

    def __len__(self) -> int:
        return len(self.users())

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"SteeringStore({self.uri!r})"

    def put(self, *dictionaries: SteeringDictionary) -> None:
        """Put users' dictionaries in the place of what the store holds of them.

        All of them take effect at once; give some hundreds at a time to fill a store fast. Of a
        user who is there, only what differs is written.

        Raises:
            TrimtabError: A dictionary of another model, other points, encoder or keys than the
                store's, with numbers that are not finite or a sample twice; a first one without
                entries; another writer that does not finish; a disk that is full.
        """
        self._write("built", dictionaries, lambda old, given: given)

    def add(self, *dictionaries: SteeringDictionary) -> None:
        """Add entries to what the store holds of their users, in place of those of equal samples.

        Usable by the next request, in every process.

        Raises:
            TrimtabError: As for ``put``.
        """
        self._write("added", dictionaries, _merged)

    def _write(
        self,
        event: Event,
        dictionaries: Sequence[SteeringDictionary],
        combine: Callable[[SteeringDictionary, SteeringDictionary], SteeringDictionary],
    ) -> None:
        given = {checked_id(dictionary.user_id): dictionary for dictionary in dictionaries}
        if len(given) < len(dictionaries):
            raise TrimtabError("expected one dictionary a user, got several; merge them first")
        if not given:
            return
        if self._layout() is None:
            # What cannot be put must not settle what the store holds.
            layout = Layout.of(dictionaries[0])
            for dictionary in dictionaries:
                layout.check(dictionary, f"the store at {self.uri}")
        with self._writing(given, first=dictionaries[0]) as (layout, write):
            for user_id, dictionary in given.items():
                layout.check(dictionary, f"the store at {self.uri}")
                if user_id in write.old:
                    old = layout.dictionary(user_id, write.old[user_id].entries)
                    dictionary = combine(old, dictionary)
                write.put(dictionary)
            self._commit(write, event, {user_id: len(d) for user_id, d in given.items()})

    def drop(self, user_id: str, sample_ids: Iterable[str]) -> int:
        """Remove a user's entries of these samples; how many there were.

        They are out of reach at once, and off the disk with the next ``compact``.

        Raises:
            TrimtabError: The user is unknown, or as for ``put``.
        """
        gone = set(sample_ids)
        with self._writing([user_id], known=True) as (_, write):
            rows = write.old[user_id]
            samples = rows.entries["sample_id"].to_pylist()
            kept = [n for n, sample_id in enumerate(samples) if sample_id not in gone]
            dropped = len(samples) - len(kept)
            if dropped:
                write.keep(rows, kept)
                self._commit(write, "dropped", {user_id: dropped})
        return dropped

    def forget(self, *user_ids: str) -> None:
        """Erase everything of these users: rows, old versions, memory, and their audit trail.

        They are gone for all readers at once. Taking their traces off the disk then rewrites the
        table, so several users at a time cost no more than one. A process that is killed in
        between leaves that to the next writer. The audit trail keeps only that somebody with this
        hash was forgotten, and when. Dictionaries that a program holds are its own affair.

        Raises:
            TrimtabError: One of them is unknown, or as for ``put``.
        """
        if not user_ids:
            return
        with self._writing(user_ids, known=True) as (layout, write):
            for rows in write.old.values():
                write.remove(rows)
            now = now_milliseconds()
            try:
                write.commit({layout.owner(user_id): now for user_id in user_ids})
            finally:
                for user_id in user_ids:
                    self._hot.discard(user_id)
            self._finish_forgetting(write)

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
            limit = now_milliseconds() - older_than // timedelta(milliseconds=1)
            condition = f"built < {limit}"
        else:
            condition = f"timestamp < {before}"
        if self._layout() is None:
            return 0
        expired = 0
        with self._writing() as (_, write):
            old = self._table.entries_where(condition)
            owners = list(old)
            for start in range(0, len(owners), _USERS_AT_ONCE):
                counts = {}
                part = owners[start : start + _USERS_AT_ONCE]
                for owner, rows in self._table.users(part).items():
                    numbers = rows.entries["row"].to_pylist()
                    kept = [n for n, number in enumerate(numbers) if number not in old[owner]]
                    counts[rows.user_id] = len(numbers) - len(kept)
                    if kept:
                        write.keep(rows, kept)
                    else:
                        write.remove(rows)
                self._commit(write, "expired", counts)
                expired += sum(counts.values())
            if expired:
                write.erase()
        return expired

    def compact(self) -> None:
        """Rewrite the table without what no longer counts, and drop its old versions.

        Frees the disk and makes reading as fast as it gets, after filling a store for instance.
        Happens by itself when more than half of what was written no longer counts.

        Raises:
            TrimtabError: As for ``put``.
        """
        if self._layout() is not None:
            with self._writing() as (_, write):
                write.erase()

    def population(self, *, without: str | None = None) -> Population:
        """Everyone's entries, summed up: the collective part, and what is usual.

        Kept as running sums, so this reads one row, however many users there are.

        Args:
            without: Leave this user out, exactly; nobody is left out if the store has no such user.
        """
        if self._layout() is None:
            return Population((), {})
        version = self._table.version()
        if self._population is None or self._population[0] != version:
            self._population = version, self._table.state().population
        everyone = self._population[1]
        one = None if without is None else self._find(without)
        return everyone if one is None else everyone.minus(Population.of(one))

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
        layout = self._layout()
        if layout is None:
            return []
        return self._audit.events(None if user_id is None else [layout.owner(user_id)])

    def close(self) -> None:
        """Write what was read into the audit trail; the store can still be used afterwards."""
        self._audit.flush()

    def __enter__(self) -> SteeringStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _layout(self) -> Layout | None:
        layout = self._table.layout
        if layout is not None and self._model is not None:
            self._model.check_fingerprint(layout.fingerprint, f"the store at {self.uri}")
        return layout

    def _find(self, user_id: str) -> SteeringDictionary | None:
        checked_id(user_id)
        layout = self._layout()
        if layout is None:
            return None
        owner = layout.owner(user_id)
        epoch = self._current_epoch()
        generation = self._hot.generation
        hot = self._hot.get(user_id)
        if hot is not None and hot.epoch != epoch:
            hot = replace(hot, epoch=epoch) if hot.head == self._table.head(owner) else None
        if hot is None:
            rows = self._table.users([owner]).get(owner)
            if rows is None:
                self._hot.discard(user_id)
                return None
            hot = HotUser(layout.dictionary(user_id, rows.entries), rows.head, epoch)
        self._hot.put(hot, generation)
        if self._audit_reads:
            self._audit.count_read(owner)
        return hot.dictionary.replaced()

    def _current_epoch(self) -> int:
        with self._lock:
            version = self._table.version()
            if version != self._version:
                self._version = version
                self._epoch += 1
            return self._epoch

    @contextmanager
    def _writing(
        self,
        user_ids: Collection[str] = (),
        *,
        known: bool = False,
        first: SteeringDictionary | None = None,
    ) -> Iterator[tuple[Layout, StoreWrite]]:
        """Wait for the writer's place, finish what a killed one left, and make a write.

        Args:
            user_ids: Whom it is about.
            known: Refuse users who are not in the store.
            first: Make a table for dictionaries like this where there is none.
        """
        if first is None and self._layout() is None:
            raise TrimtabError(f"the store at {self.uri} is empty; put dictionaries first")
        with self._alone():
            layout = self._layout()
            if layout is None:
                assert first is not None
                layout = Layout.of(first)
                self._table.create(layout)
            self._table.checkout_latest()
            settled = self._table.version() == self._version
            write = StoreWrite(self._table, layout, user_ids)
            if write.state.forgetting:
                self._finish_forgetting(write)
            for user_id in user_ids:
                if known and user_id not in write.old:
                    raise self._unknown(user_id)
            yield layout, write
            if settled:
                # Nobody else wrote meanwhile, and who was changed here is out of memory.
                with self._lock:
                    self._version = self._table.version()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = self._table.lock_path
        if path is None:
            with self._lock:
                yield
            return
        lock = FileLock(path, timeout=self._patience)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise TrimtabError(
                f"another process is writing to the store at {self.uri}, for more than "
                f"{self._patience:g} s; wait for it or end it, or give patience=..."
            ) from None
        except OSError as error:
            raise TrimtabError(
                f"the store at {self.uri} cannot be written: {error}; use a folder that can"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _commit(self, write: StoreWrite, event: Event, counts: Mapping[str, int]) -> None:
        layout = self._table.layout
        assert layout is not None
        self._audit.record(event, {layout.owner(user_id): n for user_id, n in counts.items()})
        try:
            write.commit()
        finally:
            for user_id in counts:
                self._hot.discard(user_id)

    def _finish_forgetting(self, write: StoreWrite) -> None:
        self._audit.forget(write.state.forgetting)
        write.erase()

    def _unknown(self, user_id: str) -> UnknownUser:
        users = self.users()
        nearest = difflib.get_close_matches(user_id, users, n=1) if len(users) < _NEAREST else []
        hint = f"the nearest id is {nearest[0]!r}" if nearest else f"it holds {len(users)} users"
        return UnknownUser(
            f"the store at {self.uri} has no dictionary of user {user_id!r}; {hint}; build and "
            "put one first"
        )


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


def _merged(old: SteeringDictionary, given: SteeringDictionary) -> SteeringDictionary:
    """The old entries, those of equal samples and kinds left out, then the given ones."""
    replaced = {(entry.sample_id, entry.contrast) for entry in given.entries}
    kept = [n for n, e in enumerate(old.entries) if (e.sample_id, e.contrast) not in replaced]
    merged = given.replaced()
    if kept:
        merged.entries = [old.entries[n] for n in kept] + merged.entries
        merged.keys = torch.cat([old.keys[kept], given.keys])
        merged.vectors = torch.cat([old.vectors[kept], given.vectors])
    return merged
