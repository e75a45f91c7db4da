"""A Lance store of the last release, written here as it wrote it, and what becomes of it."""

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering.store.sealing import owner_of
from trimtab.steering.store.steering_store import SteeringStore

pa = pytest.importorskip("pyarrow")
lancedb = pytest.importorskip("lancedb", reason="the extra `lance` is not installed")

SALT = "0123456789abcdef0123456789abcdef"
HIDDEN, KEY, POINTS = 8, 4, 2


def entry(user_id: str, row: int, fill: float, scale: float = 1.0) -> dict:
    return {
        "owner": owner_of(SALT, user_id),
        "row": row,
        "sample_id": f"s{row}",
        "key": f"request {row}",
        "answer": f"answer {row}",
        "contrast": "response",
        "timestamp": 1000 + row,
        "built": 5000 + row,
        "scale": scale,
        "embedding": [np.float16(0.5)] * KEY,
        "vectors": [np.float16(fill)] * (POINTS * HIDDEN),
    }


def head(user_id: str, row: int, live: list[int] | None) -> dict:
    return {
        "owner": owner_of(SALT, user_id),
        "row": row,
        "user_id": None if live is None else user_id,
        "head": b"" if live is None else np.array(live, "<i8").tobytes(),
    }


def lance_store(folder: Path, version: str = "trimtab-store-1") -> None:
    about = {
        "format": version, "fingerprint": "f", "points": [[1, "mid"], [1, "mlp"]],
        "hidden_size": HIDDEN, "key_size": KEY, "encoder_name": "e", "keys_from": "input",
        "salt": SALT,
    }  # fmt: skip
    schema = pa.schema(
        [
            pa.field("owner", pa.string()),
            pa.field("row", pa.int64()),
            pa.field("user_id", pa.string()),
            pa.field("head", pa.large_binary()),
            *(pa.field(name, pa.string()) for name in ("sample_id", "key", "answer", "contrast")),
            pa.field("timestamp", pa.int64()),
            pa.field("built", pa.int64()),
            pa.field("scale", pa.float32()),
            pa.field("embedding", pa.list_(pa.float16(), KEY)),
            pa.field("vectors", pa.list_(pa.float16(), POINTS * HIDDEN)),
        ],
        metadata={"trimtab": json.dumps(about)},
    )
    rows = [
        entry("ann", 0, 1.0), entry("ann", 1, 2.0, scale=4.0), head("ann", 2, [0, 1]),
        entry("bob", 3, 3.0), head("bob", 4, [3]), entry("ann", 5, 4.0), head("ann", 6, [5, 1]),
        head("bob", 7, None), {"owner": "", "row": 8, "head": b"{}"},
    ]  # fmt: skip
    database = lancedb.connect(folder)
    database.create_table("entries", schema=schema).add(pa.Table.from_pylist(rows, schema=schema))
    trail = {"owner": owner_of(SALT, "ann"), "event": "built", "at": 7, "until": 7, "count": 2}
    database.create_table("audit", pa.Table.from_pylist([trail]))


def test_is_imported_once_into_the_database_beside_it(tmp_path: Path) -> None:
    lance_store(tmp_path / "users.lance")
    store = SteeringStore(tmp_path / "users.lance")
    assert store.users() == ["ann"]
    ann = store["ann"]
    assert [e.sample_id for e in ann.entries] == ["s5", "s1"]
    assert [e.timestamp for e in ann.entries] == [1005, 1001]
    assert ann.vectors.flatten(1).tolist() == [[4.0] * 16, [8.0] * 16]
    assert torch.equal(ann.keys, torch.full((2, KEY), 0.5))
    assert store.population().kinds["response"].total.flatten().tolist() == [12.0] * 16
    assert next((e.event, e.count) for e in store.audit("ann")) == ("built", 2)
    with store.database.reading() as connection:
        built = connection.exec_driver_sql("SELECT built FROM trimtab_entries ORDER BY position")
        assert [row[0] for row in built] == [5005, 5001]
    store.forget("ann")
    store.close()
    assert SteeringStore(tmp_path / "users.lance").users() == []
    assert SteeringStore(tmp_path / "users.db").users() == []
    made = {path.name for path in tmp_path.iterdir()}
    assert made - {"users.db-wal", "users.db-shm"} == {"users.db", "users.lance"}


def test_another_version_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    lance_store(tmp_path / "users", version="trimtab-store-0")
    with pytest.raises(TrimtabError, match="cannot be imported: it is not of the format") as caught:
        SteeringStore(tmp_path / "users")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["users"]


def test_without_lance_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users.lance" / "entries.lance").mkdir(parents=True)
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "lancedb":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TrimtabError, match=r"run: pip install 'trimtab\[lance\]'"):
        SteeringStore(tmp_path / "users.lance")
    (tmp_path / "users.db").touch()
    assert SteeringStore(tmp_path / "users.lance").users() == []
