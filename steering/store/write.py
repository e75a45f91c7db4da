"""One write to a store: users' entries, the running sums and the audit trail, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from ..dictionaries.dictionary import SteeringDictionary
from ..dictionaries.population import Population
from ..vectors.entries import Contrast
from . import audit, schema
from .database import now_milliseconds
from .layout import EntryContent, StoreLayout, sample_of
from .schema import entries, outcomes, pending, secret_slots, sums, users, weights
from .sealing import SECRET_BYTES, Seal, new_secret, owner_of
from .user_rows import UserRow, entry_contents, entry_rows, find_user, opened

ERASING = "erasing"
"""Set in the store's own table while SQLite's log may hold what was erased."""


class StoreWrite:
    """Changes users within one transaction; ``finish`` writes what all of them share.

    Args:
        connection: The transaction.
        salt: Of the owners' hashes.
        layout: Of all entries; None while no dictionary has been put.

    Attributes:
        erasing: The number of the last write that left something to be taken off the disk, if
            that is not done.
    """

    def __init__(self, connection: Connection, salt: str, layout: StoreLayout | None) -> None:
        self._connection = connection
        self._salt = salt
        self.layout = layout
        said = schema.read_about(connection)
        self._changes = int(said["changes"]) + 1
        self.erasing = said.get(ERASING)
        self._population: Population | None = None
        self._kinds: set[Contrast] = set()  # of the sums that are stored

    def settle(self, layout: StoreLayout) -> None:
        """Fix what all entries share, by the store's first dictionary."""
        self.layout = layout
        schema.write_about(self._connection, "layout", layout.to_json())

    def user(self, user_id: str) -> UserRow | None:
        """A user's row, if there is one."""
        return find_user(self._connection, owner_of(self._salt, user_id))

    def user_or_new(self, user_id: str) -> UserRow:
        """A user's row, made where there is none."""
        row = self.user(user_id)
        if row is not None:
            return row
        secret = new_secret()
        made = self._connection.execute(sa.insert(secret_slots).values(secret=secret))
        assert made.inserted_primary_key is not None
        seal = Seal(secret)
        user = UserRow(
            id=made.inserted_primary_key[0],
            owner=owner_of(self._salt, user_id),
            version=self._changes,
            stored=False,
            enabled=True,
            strength=1.0,
            seal=seal,
            name=seal.close(user_id.encode()),
        )
        values = {name: getattr(user, name) for name in users.c.keys()}  # noqa: SIM118
        self._connection.execute(sa.insert(users).values(values))
        return user

    def change(self, user: UserRow, **columns: Any) -> None:
        """Change a user's own row; whoever has it in memory will notice."""
        columns["version"] = self._changes
        self._connection.execute(sa.update(users).where(users.c.id == user.id).values(columns))

    def put(
        self,
        dictionary: SteeringDictionary,
        contents: Sequence[EntryContent],
        *,
        whole: bool,
        built: Sequence[int] | None = None,
    ) -> bool:
        """Let a user have these entries; only what differs is written.

        Args:
            dictionary: The entries.
            contents: The same as they are stored.
            whole: They take the place of all that the user has; else they are added at the end, in
                the place of those of equal samples and kinds.
            built: When each was built, in milliseconds since 1970; None is now.

        Returns:
            Whether anything was different.
        """
        now = now_milliseconds()
        user = self.user_or_new(dictionary.user_id)
        samples = [user.seal.sample(entry.sample_id) for entry in dictionary.entries]
        old = {(row.sample, row.contrast): row for row in self._old_rows(user, whole, samples)}
        first = 0 if whole or (not old and not user.stored) else self._next_position(user)
        fresh: list[dict[str, Any]] = []
        moved: list[dict[str, Any]] = []
        gone: list[EntryContent] = []
        come: list[EntryContent] = []
        for n, (sample, content) in enumerate(zip(samples, contents, strict=True)):
            row = old.pop((sample, content.contrast), None)
            before = None if row is None else opened(user, [row])[0]
            if row is not None and before == content:
                if row.position != first + n:
                    moved.append({"which": row.id, "position": first + n})
                continue
            come.append(content)
            values = {
                "user": user.id,
                "position": first + n,
                "sample": sample,
                "contrast": content.contrast,
                "timestamp": content.timestamp,
                "built": now if built is None else built[n],
                "content": user.seal.close(content.content),
            }
            if row is None or before is None:
                fresh.append(values)
            else:
                gone.append(before)
                update = sa.update(entries).where(entries.c.id == row.id)
                self._connection.execute(update.values(values))
        if whole and old:
            gone += opened(user, list(old.values()))
            self._delete([row.id for row in old.values()])
        if fresh:
            self._connection.execute(sa.insert(entries), fresh)
        if moved:
            where = sa.update(entries).where(entries.c.id == sa.bindparam("which"))
            self._connection.execute(where.values(position=sa.bindparam("position")), moved)
        if not (gone or come or moved) and user.stored:
            return False
        self._sum_up(gone, come)
        self.change(user, stored=True)
        return True

    def _old_rows(self, user: UserRow, whole: bool, samples: Collection[bytes]) -> Sequence[Any]:
        if whole:
            return entry_rows(self._connection, user)
        query = sa.select(entries).where(entries.c.user == user.id, entries.c.sample.in_(samples))
        return self._connection.execute(query).all()

    def _next_position(self, user: UserRow) -> int:
        query = sa.select(sa.func.max(entries.c.position)).where(entries.c.user == user.id)
        last = self._connection.execute(query).scalar()
        return 0 if last is None else last + 1

    def drop(self, user: UserRow, gone: Callable[[Any], bool]) -> int:
        """Take some of a user's entries out and off the disk; how many there were."""
        rows = entry_rows(self._connection, user)
        dropped = [row for row in rows if gone(row)]
        if dropped:
            self._sum_up(opened(user, dropped), [])
            self._delete([row.id for row in dropped])
            self._reseal(user)
        return len(dropped)

    def drop_samples(self, user: UserRow, sample_ids: Iterable[str]) -> int:
        """Take what there is of these samples out and off the disk; how many entries there were."""
        sample_ids = set(sample_ids)
        hashes = {user.seal.sample(sample_id) for sample_id in sample_ids}
        waited = self.take(user, sample_ids)
        dropped = self.drop(user, lambda row: bytes(row.sample) in hashes)
        if waited and not dropped:
            self._reseal(user)
        return dropped

    def left(self, user: UserRow) -> int:
        """How many entries a user has."""
        query = sa.select(sa.func.count()).where(entries.c.user == user.id)
        return int(self._connection.execute(query).scalar_one())

    def leave(self, user: UserRow) -> None:
        """A user whose last entry is gone has no dictionary; without anything else, no row.

        What came of the user's answers stays, since the comparison of the arms counts everybody.
        """
        self.change(user, stored=False)
        more = sum(
            self._connection.execute(
                sa.select(sa.func.count()).where(table.c.user == user.id)
            ).scalar_one()
            for table in (weights, pending, outcomes)
        )
        if user.enabled and user.strength == 1 and not more:
            self.remove(user)

    def remove(self, user: UserRow) -> None:
        """Take everything of a user out of the store and off the disk."""
        if self.layout is not None:
            self._sum_up(entry_contents(self._connection, user), [])
        self._connection.execute(sa.delete(users).where(users.c.id == user.id))
        self._overwrite(user, bytes(SECRET_BYTES))

    def _delete(self, ids: Iterable[int]) -> None:
        which = sa.delete(entries).where(entries.c.id == sa.bindparam("which"))
        self._connection.execute(which, [{"which": each} for each in ids])

    def _reseal(self, user: UserRow) -> None:
        """Give a user another secret, so that nothing can open what is left of the old rows."""
        secret = new_secret()
        seal = Seal(secret)
        again = replace(user, seal=seal, name=seal.close(user.user_id.encode()))
        samples = {}
        for row in entry_rows(self._connection, user):
            content = user.seal.open(row.content)
            sample = seal.sample(sample_of(content))
            samples[row.sample] = sample
            self._connection.execute(
                sa.update(entries)
                .where(entries.c.id == row.id)
                .values(sample=sample, content=seal.close(content))
            )
        for table, key in ((weights, weights.c.name), (pending, pending.c.id)):
            for row in self._connection.execute(sa.select(table).where(table.c.user == user.id)):
                content = user.seal.open(row.content)
                values: dict[str, Any] = {"content": seal.close(content)}
                if table is pending:
                    values["sample"] = seal.sample(sample_of(content))
                where = (table.c.user == user.id, key == getattr(row, key.name))
                self._connection.execute(sa.update(table).where(*where).values(values))
        self._overwrite(user, secret)
        self.change(user, name=again.name)

    def _overwrite(self, user: UserRow, secret: bytes) -> None:
        slot = sa.update(secret_slots).where(secret_slots.c.id == user.id)
        self._connection.execute(slot.values(secret=secret))
        self.erasing = str(self._changes)
        schema.write_about(self._connection, ERASING, self.erasing)

    def _sum_up(self, gone: Sequence[EntryContent], come: Sequence[EntryContent]) -> None:
        """Bring the running sums up to date; of entries as they will be read: rounded."""
        assert self.layout is not None
        if self._population is None:
            self._population = self.layout.population(read_sums(self._connection))
            self._kinds = set(self._population.kinds)
        without = Population.of(self.layout.dictionary("", gone))
        with_new = Population.of(self.layout.dictionary("", come))
        self._population = self._population.minus(without).plus(with_new)

    def put_intervention(self, user: UserRow, name: str, content: bytes) -> None:
        """Keep a low-rank intervention of a user's, sealed, in the place of one of this name."""
        self._connection.execute(
            sa.delete(weights).where(weights.c.user == user.id, weights.c.name == name)
        )
        row = {"user": user.id, "name": name, "content": user.seal.close(content)}
        self._connection.execute(sa.insert(weights).values(row))
        self.change(user)

    def drop_intervention(self, user: UserRow, name: str) -> bool:
        """Take a low-rank intervention out and off the disk; whether there was one."""
        which = sa.delete(weights).where(weights.c.user == user.id, weights.c.name == name)
        there = bool(self._connection.execute(which).rowcount)
        if there:
            self._reseal(user)
        return there

    def wait(self, user: UserRow, interaction_id: str, content: bytes) -> bool:
        """Keep an interaction of a user's until it is learned from, sealed.

        Returns:
            Whether it is new: neither waiting, nor learned from already.
        """
        sample = user.seal.sample(interaction_id)
        for table in (pending, entries):
            there = sa.select(table.c.id).where(table.c.user == user.id, table.c.sample == sample)
            if self._connection.execute(there.limit(1)).first() is not None:
                return False
        row = {"user": user.id, "sample": sample, "content": user.seal.close(content)}
        self._connection.execute(sa.insert(pending).values(row))
        return True

    def take(self, user: UserRow, interaction_ids: Iterable[str]) -> set[str]:
        """End the waiting of these interactions; those that did wait."""
        taken = set()
        for each in interaction_ids:
            sample = user.seal.sample(each)
            which = sa.delete(pending).where(pending.c.user == user.id, pending.c.sample == sample)
            if self._connection.execute(which).rowcount:
                taken.add(each)
        return taken

    def count(self, user: UserRow, arm: str, more: Mapping[str, int]) -> None:
        """Add to what came of a user's answers."""
        here = (outcomes.c.user == user.id, outcomes.c.arm == arm)
        added = {name: outcomes.c[name] + number for name, number in more.items()}
        if not self._connection.execute(sa.update(outcomes).where(*here).values(**added)).rowcount:
            row = dict.fromkeys(schema.COUNTED, 0) | dict(more) | {"user": user.id, "arm": arm}
            self._connection.execute(sa.insert(outcomes).values(row))

    def forgotten(self, owners: Iterable[str]) -> dict[str, int]:
        """When those of these who were forgotten were so last, in milliseconds since 1970."""
        return audit.forgotten(self._connection, owners)

    def forget(self, owners: Iterable[str]) -> None:
        """Leave in the audit trail only that these were forgotten."""
        audit.forget(self._connection, owners)

    def record(self, event: audit.Event, counts: dict[str, int]) -> None:
        """Write into the audit trail, of users by their ids."""
        owners = {owner_of(self._salt, user_id): n for user_id, n in counts.items()}
        audit.record(self._connection, event, owners)

    def finish(self) -> None:
        """Write the running sums and the number of this write."""
        if self._population is not None:
            assert self.layout is not None
            kinds = self._population.kinds
            if gone := self._kinds - set(kinds):
                self._connection.execute(sa.delete(sums).where(sums.c.contrast.in_(gone)))
            for kind, moments in kinds.items():
                content = self.layout.sums_to_bytes(moments)
                row = {"contrast": kind, "content": content}
                if kind in self._kinds:
                    old = sa.update(sums).where(sums.c.contrast == kind)
                    self._connection.execute(old.values(row))
                else:
                    self._connection.execute(sa.insert(sums).values(row))
        schema.write_about(self._connection, "changes", str(self._changes))


def read_sums(connection: Connection) -> list[Any]:
    """The running sums of all kinds, as they are stored."""
    return [tuple(row) for row in connection.execute(sa.select(sums))]
