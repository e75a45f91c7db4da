"""The Lance folder that a store of the last release was: read once, into a database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
import torch

from ...errors import TrimtabError
from ...files import replacing
from ..dictionaries.dictionary import SteeringDictionary
from ..vectors.entries import Entry
from ..vectors.steering_vectors import Point
from . import schema
from .database import Database
from .layout import StoreLayout
from .place import place_of
from .write import StoreWrite

_FORMAT = "trimtab-store-1"
_NO_LIMIT = 2**31 - 1  # LanceDB takes no more
_USERS_AT_ONCE = 200
_PATIENCE = 60.0


def import_lance(folder: Path, file: Path) -> None:
    """Make an SQLite store of a Lance store: entries, when they were built, and the audit trail.

    The folder stays as it is. Where the file is there already, nothing is done.

    Args:
        folder: The Lance store.
        file: The database to make, whole or not at all.

    Raises:
        TrimtabError: LanceDB is not installed, another process writes to the folder, or it is no
            store of the last release.
    """
    if file.exists():
        return
    try:
        import lancedb
        from filelock import FileLock, Timeout
    except ImportError:
        raise TrimtabError(
            f"{folder} is a Lance store of the last release, to be imported into {file}; run: pip "
            "install 'trimtab[lance]'"
        ) from None
    try:
        with FileLock(folder / "lock", timeout=_PATIENCE):
            if not file.exists():
                with replacing(file) as temporary:
                    _import(lancedb.connect(folder), temporary)
    except Timeout:
        raise TrimtabError(
            f"another process is writing to the Lance store at {folder}; wait for it or end it"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:  # what LanceDB raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrimtabError(
            f"the Lance store at {folder} cannot be imported: {reason}; restore a copy of it, or "
            "name a file for a new store"
        ) from error


def _import(connection: Any, file: Path) -> None:
    table = connection.open_table("entries")
    about = json.loads((table.schema.metadata or {}).get(b"trimtab", b"{}"))
    if about.pop("format", None) != _FORMAT:
        raise ValueError(f"it is not of the format {_FORMAT}")
    salt = about.pop("salt")
    points = tuple(Point(layer, site) for layer, site in about.pop("points"))
    layout = StoreLayout(points=points, **about)
    owners = _owners(table)
    database = Database(place_of(file), _PATIENCE)
    for start in range(0, max(len(owners), 1), _USERS_AT_ONCE):
        with database.writing(make=True) as writing:
            assert writing is not None
            schema.write_about(writing, "salt", salt)
            write = StoreWrite(writing, salt, layout)
            if not start:
                write.settle(layout)
                _import_audit(connection, writing)
            for user in _users(table, layout, owners[start : start + _USERS_AT_ONCE]):
                contents = layout.contents(user.dictionary)
                write.put(user.dictionary, contents, whole=True, built=user.built)
            write.finish()
    database.close()


@dataclass(frozen=True)
class _LanceUser:
    dictionary: SteeringDictionary
    built: list[int]


@dataclass(frozen=True)
class _Head:
    """The newest row of a user: who it is, and the numbers of the rows that count, in order."""

    owner: str
    row: int
    user_id: str | None
    live: list[int]


def _owners(table: Any) -> list[_Head]:
    newest: dict[str, _Head] = {}
    columns = ["owner", "row", "user_id", "head"]
    query = table.search().where("sample_id IS NULL AND owner != ''").limit(_NO_LIMIT)
    for row in query.select(columns).to_arrow().to_pylist():
        if row["owner"] not in newest or row["row"] > newest[row["owner"]].row:
            live = np.frombuffer(row["head"], "<i8").tolist()
            newest[row["owner"]] = _Head(row["owner"], row["row"], row["user_id"], live)
    return [head for head in newest.values() if head.user_id is not None]


def _users(table: Any, layout: StoreLayout, heads: list[_Head]) -> Iterator[_LanceUser]:
    if not heads:
        return
    listed = ", ".join(f"'{head.owner}'" for head in heads)
    query = table.search().where(f"owner IN ({listed}) AND sample_id IS NOT NULL")
    rows = {row["row"]: row for row in query.limit(_NO_LIMIT).to_arrow().to_pylist()}
    for head in heads:
        own = [rows[number] for number in head.live]
        keys = torch.tensor([row["embedding"] for row in own], dtype=torch.float32)
        vectors = torch.tensor([row["vectors"] for row in own], dtype=torch.float32)
        scales = torch.tensor([row["scale"] for row in own], dtype=torch.float32)
        texts = ("sample_id", "key", "answer", "contrast", "timestamp")
        assert head.user_id is not None
        dictionary = SteeringDictionary(
            user_id=head.user_id,
            fingerprint=layout.fingerprint,
            points=layout.points,
            encoder_name=layout.encoder_name,
            keys_from=layout.keys_from,
            entries=[Entry(**{name: row[name] for name in texts}) for row in own],
            keys=keys.reshape(len(own), layout.key_size),
            vectors=vectors.reshape(len(own), len(layout.points), layout.hidden_size)
            * scales[:, None, None],
        )
        yield _LanceUser(dictionary, [row["built"] for row in own])


def _import_audit(connection: Any, writing: sa.Connection) -> None:
    if "audit" not in connection.list_tables(limit=_NO_LIMIT).tables:
        return
    rows = connection.open_table("audit").search().limit(_NO_LIMIT).to_arrow().to_pylist()
    if rows:
        names = ("owner", "event", "at", "until", "count")
        writing.execute(sa.insert(schema.audit), [{n: row[n] for n in names} for row in rows])
