"""All users' steering dictionaries in one relational database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from torch import Tensor

from ...errors import TrimtabError
from ..dictionaries.dictionary import SteeringDictionary
from ..dictionaries.switches import MAX_STRENGTH, Switches
from ..vectors.entries import Picked
from . import audit
from .copies import KeptEntry, UserCopy, copy_of, kept_entries
from .expiry import AgeRule, users_with_old_entries
from .interactions import Interactions
from .interventions import KeptIntervention, from_bytes, to_bytes
from .keys import AccessKeys
from .outcomes import Outcomes
from .reader import StoreReader
from .sealing import checked_id
from .user_rows import intervention_content


class SteeringStore(StoreReader):
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

    def __enter__(self) -> SteeringStore:
        return self

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
        layout = self._access.layout_for(*dictionaries)
        contents = [layout.contents(dictionary) for dictionary in dictionaries]
        with self._access.writing(given, make=True) as write:
            self._access.settle(write, layout, dictionaries[0])
            for dictionary, content in zip(dictionaries, contents, strict=True):
                write.put(dictionary, content, whole=whole)
            write.record(event, {user_id: len(d) for user_id, d in given.items()})

    def drop(self, user_id: str, sample_ids: Iterable[str]) -> int:
        """Remove a user's entries of these samples, off the disk too; how many there were.

        Raises:
            TrimtabError: The user is unknown, or as for ``put``.
        """
        with self._access.writing([user_id]) as write:
            user = self._access.known(write, user_id)
            dropped = write.drop_samples(user, sample_ids)
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
        with self._access.writing(user_ids) as write:
            rows = [
                self._access.known(write, user_id, stored=False)
                for user_id in dict.fromkeys(user_ids)
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
        rule = AgeRule.of(older_than, before)
        with self._access.reading() as connection:
            if connection is None:
                return 0
            names = users_with_old_entries(connection, rule)
        return sum(self._expire(name, rule) for name in names)

    def _expire(self, user_id: str, rule: AgeRule) -> int:
        with self._access.writing([user_id]) as write:
            user = write.user(user_id)
            if user is None:
                return 0
            expired = write.drop(user, rule.covers)
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
        with self._access.writing([user_id], make=True) as write:
            row = write.user_or_new(user_id)
            switches = Switches(
                row.enabled if enabled is None else enabled,
                row.strength if strength is None else float(strength),
            )
            write.change(row, enabled=switches.enabled, strength=switches.strength)
            write.record("switched", {user_id: 1})
        return switches

    def put_intervention(
        self,
        user_id: str,
        name: str,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep a user's own low-rank intervention beside the vectors.

        It is sealed, copied and forgotten with the user, and takes the place of one of this name.

        Args:
            user_id: Whose.
            name: What it is called, such as ``perfit``.
            tensors: Its numbers by name, of whatever shapes and data types.
            meta: What else is known of it: plain JSON values.

        Raises:
            TrimtabError: Nothing to keep, a name or meta that cannot be written, or as for ``put``.
        """
        content = to_bytes(name, tensors, meta or {})
        with self._access.writing([user_id], make=True) as write:
            write.put_intervention(write.user_or_new(user_id), name, content)
            write.record("added", {user_id: 1})

    def intervention(self, user_id: str, name: str) -> KeptIntervention | None:
        """What ``put_intervention`` was given; None where there is no such thing.

        Raises:
            TrimtabError: No proper id, or the store cannot be read.
        """
        checked_id(user_id)
        with self._access.reading() as connection:
            row = None if connection is None else self._access.find(connection, user_id)
            if connection is None or row is None:
                return None
            content = intervention_content(connection, row, name)
        return None if content is None else from_bytes(content)

    def drop_intervention(self, user_id: str, name: str) -> bool:
        """Remove a low-rank intervention, off the disk too; whether there was one.

        Raises:
            TrimtabError: The user is unknown, or as for ``put``.
        """
        with self._access.writing([user_id]) as write:
            user = self._access.known(write, user_id, stored=False)
            dropped = write.drop_intervention(user, name)
            if dropped:
                write.record("dropped", {user_id: 1})
        return dropped

    @property
    def interactions(self) -> Interactions:
        """What users did, kept until it is learned from."""
        return Interactions(self._access)

    @property
    def access_keys(self) -> AccessKeys:
        """The keys by which a server knows its callers."""
        return AccessKeys(self._access)

    @property
    def outcomes(self) -> Outcomes:
        """What came of the answers that users were given."""
        return Outcomes(self._access)

    def used(self, user_id: str, picked: Iterable[Picked]) -> None:
        """Count that a request of the user's was steered by these entries; written later.

        Raises:
            TrimtabError: No proper id, or the counts so far cannot be written.
        """
        with self._access.reading() as connection:
            there = connection is not None
        if there:
            self._counts.used(self._access.owner(user_id), picked)

    def kept(self, user_id: str) -> list[KeptEntry]:
        """What is kept of a user besides vectors: each entry, since when, and how often used.

        Raises:
            TrimtabError: No proper id, or the store cannot be read and written.
        """
        checked_id(user_id)
        self._counts.flush()
        with self._access.reading() as connection:
            row = None if connection is None else self._access.find(connection, user_id)
            if connection is None or row is None:
                return []
            entries = kept_entries(connection, row)
        self._tell(user_id, "listed", len(entries))
        return entries

    def copy_of(self, user_id: str) -> UserCopy:
        """Everything that the store holds of a user, for the user.

        Raises:
            UnknownUser: Nothing is kept of the user.
            TrimtabError: No proper id, or the store cannot be read and written.
        """
        checked_id(user_id)
        self._counts.flush()
        with self._access.reading() as connection:
            row = None if connection is None else self._access.find(connection, user_id)
            if connection is None or row is None:
                raise self._access.unknown(user_id)
            copy = copy_of(connection, row, self._access.layout(connection))
        self._tell(user_id, "copied", len(copy.entries))
        return copy

    def _tell(self, user_id: str, event: audit.Event, count: int) -> None:
        """Record what was read of a user, unless the user was forgotten meanwhile."""
        if self._audit_reads:
            with self._access.writing() as write:
                if write.user(user_id) is not None:
                    write.record(event, {user_id: count})

    def compact(self) -> None:
        """Rewrite the database without what is not in use, which gives the disk back.

        Raises:
            TrimtabError: As for ``put``.
        """
        with self._access.reading() as connection:
            there = connection is not None
        if there:
            with self._access.writing():
                pass  # finishes what a killed writer left
            self.database.rewrite()
