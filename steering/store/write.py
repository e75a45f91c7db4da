"""One write to a store: what it appends, what no longer counts, and the population after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..dictionaries.dictionary import SteeringDictionary
from ..dictionaries.population import Population
from .audit import now_milliseconds
from .entry_table import EntryTable, UserRows
from .layout import Layout, numbered, unchanged


class StoreWrite:
    """Collects changes to users; ``commit`` makes them all at once. The caller holds the lock.

    Args:
        table: Where.
        layout: The table's.
        user_ids: Whom to look up.

    Attributes:
        state: The store's state as it was last written.
        old: The rows of those of the users who are in the store.
    """

    def __init__(self, table: EntryTable, layout: Layout, user_ids: Iterable[str]) -> None:
        self._table = table
        self._layout = layout
        self.state, old = table.state_and_users(map(layout.owner, user_ids))
        self.old = {rows.user_id: rows for rows in old.values()}
        self._clear()

    def _clear(self) -> None:
        self._rows: list[pa.Table] = []
        self._dead: dict[str, set[int]] = {}
        self._next = self.state.next_row
        self._population = self.state.population

    def put(self, dictionary: SteeringDictionary) -> None:
        """Let a user have this dictionary; only entries that differ are written."""
        old = self.old.get(dictionary.user_id)
        fresh = self._layout.entry_rows(dictionary, now_milliseconds())
        same = unchanged(old.entries, fresh) if old else {}
        changed = [n for n in range(len(fresh)) if n not in same]
        live = np.empty(len(fresh), dtype=np.int64)
        live[changed] = self._next + np.arange(len(changed))
        if old and same:
            live[list(same)] = old.entries["row"].to_numpy()[list(same.values())]
        if old and live.tolist() == old.entries["row"].to_pylist():
            return
        self._append(numbered(fresh.take(pa.array(changed, pa.int64())), live[changed]))
        # Summed up as it will be read: rounded.
        self._change(old, self._layout.dictionary(dictionary.user_id, fresh), live)

    def keep(self, old: UserRows, positions: Sequence[int]) -> None:
        """Leave a user only the entries at these positions."""
        rest = old.entries.take(pa.array(positions, pa.int64()))
        after = self._layout.dictionary(old.user_id, rest)
        self._change(old, after, rest["row"].to_numpy())

    def remove(self, old: UserRows) -> None:
        """Take a user out of the store."""
        self._change(old, self._layout.dictionary(old.user_id, old.entries.slice(0, 0)), None)

    def _change(
        self, old: UserRows | None, after: SteeringDictionary, live: NDArray[np.int64] | None
    ) -> None:
        user_id = after.user_id
        if old is not None:
            before = self._layout.dictionary(user_id, old.entries)
            self._population = self._population.minus(Population.of(before))
            gone = set(old.rows) - set(() if live is None else live.tolist())
            self._dead[self._layout.owner(user_id)] = gone
        self._population = self._population.plus(Population.of(after))
        self._append(self._layout.head_row(user_id, self._next, live))

    def _append(self, rows: pa.Table) -> None:
        self._rows.append(rows)
        self._next += len(rows)

    def commit(self, forgetting: Mapping[str, int] | None = None) -> None:
        """Write the changes, if there are any, and be ready for more.

        Args:
            forgetting: Whom of them to erase all traces of, see ``State``.
        """
        if self._rows:
            state = replace(
                self.state, population=self._population, forgetting=dict(forgetting or {})
            )
            self.state = self._table.commit(self._rows, state, self._dead)
            self._clear()

    def erase(self) -> None:
        """Take what does not count off the disk."""
        self.state = self._table.erase(self.state)
        self._clear()
