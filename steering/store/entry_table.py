"""The one Lance table of a store: reading, atomic writing, tidying and erasing.

Lance appends are atomic and cheap; everything else follows from that. A write appends all of its
rows, the new heads and the new state in one commit, which is the moment that it takes effect.
Rows that no longer count are deleted afterwards; a process that is killed in between leaves rows
that nobody reads and that the next ``erase`` sweeps up. (A merge insert would be one call, but it
joins with the whole table.)
"""

from __future__ import annotations

import atexit
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import TrimtabError
from ..dictionaries.population import Population
from ..vectors.steering_vectors import Point
from .layout import STATE, Layout, live_rows

Read = TypeVar("Read")

LANCE_ERRORS = (OSError, RuntimeError, ValueError)
"""What LanceDB raises when files are missing, broken or out of reach."""

NO_LIMIT = 2**31 - 1  # LanceDB takes no more

_NAME = "entries"
_FOLDER = f"{_NAME}.lance"
_LOCK = "lock"
_TRIES = 5
_COMMITS_TO_FOLD = 16
_SMALL_COMMIT = 1024
_LEAST_TO_INDEX = 4096
_LEAST_TO_ERASE = 4096
_DELETED_AT_ONCE = 10_000


@dataclass(frozen=True)
class State:
    """What the store knows of itself; written with every commit.

    Attributes:
        population: Sums over all entries.
        next_row: The number of the next row.
        tail: Rows from this number on are not in the index.
        commits: How many commits the tail is made of.
        dead: Rows deleted, or to be deleted, since the table was last rewritten.
        forgetting: Users who are gone but whose traces are still to be erased: owner to the time
            (milliseconds since 1970).
    """

    population: Population
    next_row: int = 0
    tail: int = 0
    commits: int = 0
    dead: int = 0
    forgetting: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "population": self.population.to_json()}

    @classmethod
    def from_json(cls, points: tuple[Point, ...], data: dict[str, Any]) -> State:
        """What ``to_json`` gave."""
        population = Population.from_json(points, data.pop("population"))
        return cls(population=population, **data)


@dataclass(frozen=True)
class UserRows:
    """The rows of one user.

    Attributes:
        user_id: Who it is.
        head: The number of the newest head.
        entries: The entry rows that count, in order.
        rows: The numbers of all rows, also of those that no longer count.
    """

    user_id: str
    head: int
    entries: pa.Table
    rows: tuple[int, ...]


class EntryTable:
    """A store's table at a folder or an object storage URI; it need not exist yet.

    Args:
        uri: Where.
        options: Passed to LanceDB as storage options: keys, regions.
        refresh: For how many seconds a version of the table is taken for the newest.
    """

    def __init__(self, uri: str, options: Mapping[str, str] | None, refresh: float) -> None:
        self.uri = uri
        self._options = dict(options or {}) or None
        self._refresh = timedelta(seconds=refresh)
        self._local = None if "://" in uri else Path(uri).expanduser()
        self._connection: Any = None
        self._table: Any = None
        self._layout: Layout | None = None
        self._check_place()

    @property
    def lock_path(self) -> Path | None:
        """The file that a writer locks; None on object storage, which has no locks."""
        return None if self._local is None else self._local / _LOCK

    def database(self) -> Any:
        """The LanceDB connection, made when first asked for; makes the folder."""
        if self._connection is None:
            import lancedb

            atexit.unregister(settle)
            atexit.register(settle)
            self._connection = lancedb.connect(
                self.uri if self._local is None else self._local,
                read_consistency_interval=self._refresh,
                storage_options=self._options,
            )
        return self._connection

    def _check_place(self) -> None:
        """Refuse a place with something else in it."""
        if self._local is None or not self._local.exists():
            return
        names = (
            [path.name for path in self._local.iterdir()] if self._local.is_dir() else ["a file"]
        )
        strange = [name for name in names if name not in (_FOLDER, _LOCK)]
        if _FOLDER not in names and strange:
            raise TrimtabError(
                f"{self.uri} is not a steering store: expected a folder with {_FOLDER}, an empty "
                f"one or none, found {', '.join(sorted(strange)[:3])}; use another folder"
            )

    @property
    def layout(self) -> Layout | None:
        """What the table holds; None while there is no table.

        Raises:
            TrimtabError: It is no store's table, of another version, or cannot be read.
        """
        if self._layout is None:
            with self._told("opened"):
                self._table = self._opened()
            if self._table is not None:
                self._layout = Layout.read(self._table.schema, self.uri)
        return self._layout

    def _opened(self) -> Any:
        """The table; None where it is still to be made, or its maker died before it was."""
        if self._local is not None:
            if not any((self._local / _FOLDER / "_versions").glob("*.manifest")):
                return None
        elif _NAME not in self.database().list_tables(limit=NO_LIMIT).tables:
            return None
        return self.database().open_table(_NAME)

    def create(self, layout: Layout) -> None:
        """Make the table for dictionaries of this layout."""
        with self._told("created"):
            self._table = self.database().create_table(_NAME, schema=layout.schema())
        self._layout = layout

    @contextmanager
    def _told(self, action: str) -> Iterator[None]:
        try:
            yield
        except LANCE_ERRORS as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TrimtabError(
                f"the store at {self.uri} cannot be {action}: {reason}; check that it can be "
                "reached and is whole, else restore a copy, or build it again in another folder"
            ) from error

    def _read(self, action: Callable[[], Read]) -> Read:
        """Read the newest version; again if another process erased that one meanwhile."""
        with self._told("read"):
            for _ in range(_TRIES - 1):
                try:
                    return action()
                except LANCE_ERRORS:
                    self._table.checkout_latest()
            return action()

    def _rows(self, where: str, columns: Sequence[str] | None = None) -> pa.Table:
        def read() -> pa.Table:
            query = self._table.search().where(where).limit(NO_LIMIT)
            return (query.select(list(columns)) if columns else query).to_arrow()

        return self._read(read)

    def checkout_latest(self) -> None:
        """Go to the newest version whatever ``refresh`` says, as a writer must."""
        with self._told("read"):
            self._table.checkout_latest()

    def version(self) -> int:
        """A number that changes with whatever is written, by any process."""
        return self._read(lambda: self._table.version)

    def user_ids(self) -> list[str]:
        """Everyone who is in the store, sorted."""
        heads = _newest(self._rows("sample_id IS NULL", ["owner", "row", "user_id"]))
        return sorted(user_id for user_id in heads["user_id"].to_pylist() if user_id is not None)

    def head(self, owner: str) -> int | None:
        """The number of a user's newest head; None where there is no such user."""
        where = f"owner = '{owner}' AND sample_id IS NULL"
        heads = _newest(self._rows(where, ["owner", "row", "user_id"])).to_pylist()
        return heads[0]["row"] if heads and heads[0]["user_id"] is not None else None

    def users(self, owners: Iterable[str]) -> dict[str, UserRows]:
        """The rows of those of the users who are in the store, by owner."""
        listed = ", ".join(f"'{owner}'" for owner in owners)
        return self._by_user(self._rows(f"owner IN ({listed})")) if listed else {}

    def state_and_users(self, owners: Iterable[str]) -> tuple[State, dict[str, UserRows]]:
        """The newest state and the rows of those of the users who are in the store."""
        listed = ", ".join(f"'{owner}'" for owner in (STATE, *owners))
        found = self._rows(f"owner IN ({listed})")
        return self._newest_state(found), self._by_user(found)

    def _by_user(self, found: pa.Table) -> dict[str, UserRows]:
        numbers = found["row"].to_numpy()
        is_head = found["sample_id"].is_null().to_numpy()
        places: dict[str, list[int]] = {}
        for place, owner in enumerate(found["owner"].to_pylist()):
            places.setdefault(owner, []).append(place)
        result = {}
        for owner, own in places.items():
            head = max((n for n in own if is_head[n]), key=lambda n: numbers[n], default=None)
            if head is None or not found["user_id"][head].is_valid:
                continue
            place_of = dict(zip(numbers[own].tolist(), own, strict=True))
            live = live_rows(found["head"][head].as_py()).tolist()
            if not place_of.keys() >= set(live):
                raise TrimtabError(
                    f"the store at {self.uri} lacks entries of user "
                    f"{found['user_id'][head].as_py()!r}; restore a copy or build it again in "
                    "another folder, and let only one process write at a time"
                )
            result[owner] = UserRows(
                user_id=found["user_id"][head].as_py(),
                head=int(numbers[head]),
                entries=_taken(found, [place_of[row] for row in live]),
                rows=tuple(place_of),
            )
        return result

    def entries_where(self, condition: str) -> dict[str, set[int]]:
        """Owners, and the numbers of their entry rows for which an SQL condition holds."""
        found = self._rows(f"sample_id IS NOT NULL AND {condition}", ["owner", "row"])
        rows: dict[str, set[int]] = {}
        for owner, row in zip(found["owner"].to_pylist(), found["row"].to_pylist(), strict=True):
            rows.setdefault(owner, set()).add(row)
        return rows

    def state(self) -> State:
        """The newest state."""
        return self._newest_state(self._rows(f"owner = '{STATE}'", ["owner", "row", "head"]))

    def _newest_state(self, found: pa.Table) -> State:
        points = self._known().points
        states = _newest(found.filter(pc.equal(found["owner"], STATE)))
        if not len(states):
            return State(Population(points, {}))
        return State.from_json(points, json.loads(states["head"][0].as_py()))

    def commit(
        self, rows: Sequence[pa.Table], state: State, dead: Mapping[str, Collection[int]]
    ) -> State:
        """Write rows and the new state, all at once, then delete what no longer counts.

        Args:
            rows: Entries and heads, numbered from the old state's ``next_row`` on.
            state: The new state; its counters are brought up to date here.
            dead: Owners, and the numbers of their rows that no longer count.

        Returns:
            The state as it was written.
        """
        number = state.next_row + sum(map(len, rows))
        commits = state.commits + 1
        tail = number + 1 - state.tail
        index = tail >= max(_LEAST_TO_INDEX, state.tail // 128)
        fold = commits >= _COMMITS_TO_FOLD or (index and 1 < commits > tail / _SMALL_COMMIT)
        written = replace(
            state,
            next_row=number + 1,
            tail=number + 1 if index else state.tail,
            commits=0 if fold or index else commits,
            dead=state.dead + sum(map(len, dead.values())) + 1,
        )
        new = pa.concat_tables([*rows, self._known().state_row(number, written.to_json())])
        with self._told("written"):
            self._table.add(new.combine_chunks())
            self._delete(dead, number)
            if fold:
                self._rewrite(f"row >= {state.tail}")
            if index:
                self._index()
            # Who is being forgotten stays on record until that is through.
            if written.dead > _LEAST_TO_ERASE and not written.forgetting:
                return self.erase(written) if written.dead > self._table.count_rows() else written
        return written

    def _delete(self, dead: Mapping[str, Collection[int]], state_row: int) -> None:
        """Delete rows of users, and all states before the one at ``state_row``."""
        every = [(owner, row) for owner, rows in dead.items() for row in rows]
        for start in range(0, len(every) or 1, _DELETED_AT_ONCE):
            part = every[start : start + _DELETED_AT_ONCE]
            owners = ", ".join(f"'{owner}'" for owner in {STATE, *(owner for owner, _ in part)})
            which = f"(owner = '{STATE}' AND row < {state_row})"
            if part:
                which += f" OR row IN ({', '.join(str(row) for _, row in part)})"
            self._table.delete(f"owner IN ({owners}) AND ({which})")

    def _rewrite(self, where: str | None = None) -> None:
        """Copy rows as they are into a new file; the old ones are left without them.

        LanceDB's own compaction leaves a file of a million rows alone until a tenth is deleted.
        """
        self._table.update(where=where, values_sql={"row": "row"})

    def _index(self) -> None:
        from lancedb.index import BTree

        self._table.create_index("owner", config=BTree(), replace=True)

    def erase(self, state: State) -> State:
        """Take everything that does not count off the disk: deleted rows and old versions too.

        Rewrites the whole table. A reader in another process that is at it finds its version gone
        and reads the newest in its place.
        """
        with self._told("rewritten"):
            self._sweep()
            self._rewrite()
            self._index()
            for _ in range(_TRIES):
                # Not 0, which warns; a version as young as that goes in the next round. Files of
                # writers that were killed are in no version: "unverified".
                self._table.optimize(
                    cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True
                )
                if len(self._table.list_versions()) == 1:
                    break
            else:
                raise TrimtabError(
                    f"old versions of the store at {self.uri} cannot be removed; delete the tags "
                    "or branches that hold them, then forget or compact again"
                )
        state = replace(state, tail=state.next_row, commits=0, dead=0, forgetting={})
        return self.commit([], state, {})

    def _sweep(self) -> None:
        """Delete rows that no newest head lists, left behind by writers that were killed."""
        every = self._rows("sample_id IS NULL", ["owner", "row", "user_id", "head"])
        heads = _newest(every)
        named = heads.filter(pc.is_valid(heads["user_id"]))
        kept = [live_rows(head) for head in named["head"].to_pylist()]
        kept += [named["row"].to_numpy()]
        kept += [heads.filter(pc.equal(heads["owner"], STATE))["row"].to_numpy()]
        rows = self._rows("row >= 0", ["row"])["row"].to_numpy()
        dead = rows[~np.isin(rows, np.concatenate(kept))].tolist()
        for start in range(0, len(dead), _DELETED_AT_ONCE):
            part = dead[start : start + _DELETED_AT_ONCE]
            self._table.delete(f"row IN ({', '.join(map(str, part))})")

    def _known(self) -> Layout:
        assert self._layout is not None
        return self._layout


def _taken(rows: pa.Table, places: Sequence[int]) -> pa.Table:
    """The rows at these places; those that lie in order, as nearly all users' do, uncopied."""
    if places and list(places) == list(range(places[0], places[0] + len(places))):
        return rows.slice(places[0], len(places))
    return rows.take(pa.array(places, pa.int64()))


def settle() -> None:
    """Let LanceDB's threads come to rest.

    One that is still handing over a result while the interpreter shuts down aborts the process.
    """
    time.sleep(0.05)


def _newest(heads: pa.Table) -> pa.Table:
    """The newest row of each owner."""
    owners = heads["owner"].to_pylist()
    newest = {owners[n]: n for n in np.argsort(heads["row"].to_numpy())}
    return heads.take(pa.array(list(newest.values()), pa.int64()))
