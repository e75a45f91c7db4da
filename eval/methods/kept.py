"""Values in a file, each under a digest of all that it depends on: what was made once is found."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import TrimtabError


def digest(value: Any) -> str:
    """Of plain data, 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class KeptValues:
    """A table of a database file. Several processes may use one at once.

    Attributes:
        path: The file; made when something is first kept.
        table: The table's name.
        column: What the values' column is called.
        what: What the values are, for a message.
    """

    path: Path
    table: str
    column: str
    what: str

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values that are kept, by key.

        Raises:
            TrimtabError: The file cannot be used.
        """
        if not self.path.exists():
            return {}
        values: dict[str, Any] = {}
        with self._open() as connection:
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT key, {self.column} FROM {self.table} WHERE key IN ({marks})", some
                )
                values.update(rows.fetchall())
        return values

    def put(self, values: Mapping[str, Any]) -> None:
        """Keep values, all or none of them.

        Raises:
            TrimtabError: The file cannot be used.
        """
        with self._open() as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO {self.table} VALUES (?, ?)", values.items()
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The file as a database; what is done to it is kept when the context ends."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {self.table} (key TEXT PRIMARY KEY, {self.column})"
                )
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise TrimtabError(
                f"cannot use {self.path} for {self.what}: {error}; make room, or delete it: "
                "nothing in it is lost for good"
            ) from error
