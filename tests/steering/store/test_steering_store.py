"""A store against plain dictionaries, other processes, killed writers and its bytes."""

import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
import torch

from trimtab import TrimtabError
from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.dictionaries.population import Population
from trimtab.steering.dictionaries.switches import Switches
from trimtab.steering.store import schema
from trimtab.steering.store.access import UnknownUser
from trimtab.steering.store.database import Database, StoreUnavailable
from trimtab.steering.store.hot_users import HotUser, HotUsers
from trimtab.steering.store.layout import scales_of
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.store.user_rows import user_of
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of

from ...forks import Forked

HIDDEN, KEY = 8, 4
POINTS = points_of([17], ["mid", "mlp"])


def dictionary(
    user_id: str = "ann",
    count: int = 3,
    *,
    seed: int = 0,
    start: int = 0,
    contrast: str = "response",
    fill: float | None = None,
    **changes: object,
) -> SteeringDictionary:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, len(POINTS), HIDDEN, generator=generator)
    if fill is not None:
        vectors = torch.full_like(vectors, fill)
    keys = torch.nn.functional.normalize(torch.randn(count, KEY, generator=generator), dim=1)
    about = {
        "user_id": user_id,
        "fingerprint": "f" * 16,
        "points": POINTS,
        "encoder_name": "all-MiniLM-L6-v2",
        "entries": [
            Entry(f"s{n}", f"request {n} of {user_id}", f"answer {n}", contrast, 1000 + n)
            for n in range(start, start + count)
        ],
        # As they come back: rounded to half precision.
        "keys": keys.half().float(),
        "vectors": vectors.half().float(),
    }
    return SteeringDictionary(**(about | changes))


def same(one: SteeringDictionary, other: SteeringDictionary) -> bool:
    return (
        one.user_id == other.user_id
        and one.fingerprint == other.fingerprint
        and one.points == other.points
        and one.encoder_name == other.encoder_name
        and one.keys_from == other.keys_from
        and one.entries == other.entries
        and torch.equal(one.keys, other.keys)
        and torch.equal(one.vectors, other.vectors)
    )


def samples(found: SteeringDictionary) -> list[str]:
    return [entry.sample_id for entry in found.entries]


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[SteeringStore]:
    """A store in a file, for what only a file can show."""
    store = SteeringStore(tmp_path / "store" / "users.db")
    yield store
    store.close()


def rows(store: SteeringStore, statement: str) -> list[tuple]:
    """What SQL finds in the store's database."""
    with store.database.reading() as connection:
        assert connection is not None
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


class TestMapping:
    def test_gives_back_what_was_put(self, store: SteeringStore) -> None:
        ann, bob = dictionary("ann", 5), dictionary("bob", 2, seed=1, contrast="context")
        store.put(ann, bob)
        for reader in (store, SteeringStore(store.uri)):
            assert same(reader["ann"], ann)
            assert same(reader["bob"], bob)
        assert store.users() == ["ann", "bob"] == sorted(store)
        assert len(store.users(limit=1)) == 1
        assert len(store) == 2
        assert {user_id: len(d) for user_id, d in store.items()} == {"ann": 5, "bob": 2}

    def test_steers_as_the_dictionary_does(self, store: SteeringStore) -> None:
        ann = dictionary("ann", 9)
        store.put(ann)
        query = torch.nn.functional.normalize(torch.ones(KEY), dim=0)
        mine, stored = ann.select(query, k=3), store["ann"].select(query, k=3)
        assert mine is not None and stored is not None
        assert stored.picked == mine.picked
        assert all(torch.equal(stored.vectors.values[p], mine.vectors.values[p]) for p in POINTS)

    def test_unknown_users_are_none_or_an_error_that_names_the_nearest(
        self, store: SteeringStore
    ) -> None:
        assert store.get("anne") is None
        assert "anne" not in store
        store.put(dictionary("ann"))
        assert store.get("anne") is None
        assert store.get("anne", 3) == 3
        assert "anne" not in store and "ann" in store and 7 not in store
        with pytest.raises(UnknownUser, match=r"user 'anne'; the nearest id is 'ann'") as caught:
            store["anne"]
        assert isinstance(caught.value, KeyError)
        assert "\n" not in str(caught.value)
        for action in (lambda: store.drop("anne", ["s0"]), lambda: store.forget("ann", "anne")):
            with pytest.raises(UnknownUser, match="nearest id is 'ann'"):
                action()
        assert "ann" in store

    @pytest.mark.parametrize(
        "user_id",
        ["o'hara", "' OR 1=1 --", '"; DROP TABLE entries', "user_id", "äöü 例", "%", "a\nb"],
    )
    def test_any_id_is_only_an_id(self, store: SteeringStore, user_id: str) -> None:
        store.put(dictionary("ann"), dictionary(user_id, seed=1))
        assert same(store[user_id], dictionary(user_id, seed=1))
        assert store.get(user_id + "'") is None
        store.drop(user_id, ["s1"])
        store.forget(user_id)
        assert store.users() == ["ann"]
        assert same(store["ann"], dictionary("ann"))

    @pytest.mark.parametrize("user_id", ["", None, 3, b"ann", "\ud800"])
    def test_refuses_what_is_no_id(self, store: SteeringStore, user_id: object) -> None:
        store.put(dictionary())
        for action in (
            lambda: store.put(dictionary(user_id)),  # type: ignore[arg-type]
            lambda: store.get(user_id),  # type: ignore[call-overload]
            lambda: store.forget(user_id),  # type: ignore[arg-type]
        ):
            with pytest.raises(TrimtabError, match="expected a user id"):
                action()
        assert 3 not in store

    def test_what_it_gives_out_is_the_callers_own(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"))
        for _ in range(2):  # from disk, then from memory
            mine = store["ann"]
            mine.drop(["s0", "s1"])
            assert same(store["ann"], dictionary("ann"))

    def test_nothing_is_made_before_the_first_put(self, file_store: SteeringStore) -> None:
        store = file_store
        assert store.get("ann") is None
        assert store.audit() == [] == store.users()
        assert store.expire(before=3) == 0
        store.compact()
        with pytest.raises(TrimtabError, match="is empty; put dictionaries first"):
            store.forget("ann")
        assert not Path(store.uri).parent.exists()


class TestWriting:
    def test_put_replaces_add_merges_and_drop_removes(self, store: SteeringStore) -> None:
        store.put(dictionary("ann", 3))
        store.put(dictionary("ann", 2, seed=1, start=1))
        assert same(store["ann"], dictionary("ann", 2, seed=1, start=1))
        newer = dictionary("ann", 2, seed=2, start=2)
        store.add(newer)
        assert samples(store["ann"]) == ["s1", "s2", "s3"]
        store.add(dictionary("ann", 1, start=2, contrast="context"))
        assert samples(store["ann"]) == ["s1", "s2", "s3", "s2"]
        store.add(newer)
        assert samples(store["ann"]) == ["s1", "s2", "s2", "s3"]
        store.put(dictionary("ann", 2, seed=1, start=1))
        store.add(newer)
        assert torch.equal(store["ann"].vectors[1:], newer.vectors)
        assert store.drop("ann", ["s1", "s3", "s9"]) == 2
        assert samples(store["ann"]) == ["s2"]
        assert store.drop("ann", ["s9"]) == 0
        assert store.drop("ann", ["s2"]) == 1
        assert len(store["ann"]) == 0
        assert store["ann"].select(torch.ones(KEY)) is None
        store.add(newer)
        assert same(store["ann"], newer)

    def test_add_makes_users_who_are_not_there(self, store: SteeringStore) -> None:
        store.add(dictionary("ann"))
        assert same(store["ann"], dictionary("ann"))

    def test_only_what_differs_is_written(self, store: SteeringStore) -> None:
        def stored() -> dict[int, bytes]:
            found = rows(store, "SELECT position, content FROM trimtab_entries")
            return {position: bytes(content) for position, content in found}

        store.put(dictionary("ann", 50))
        before, version = stored(), store.user("ann").version
        store.put(dictionary("ann", 50))
        assert stored() == before and store.user("ann").version == version
        changed = dictionary("ann", 50)
        changed.vectors = changed.vectors.clone()
        changed.vectors[7] *= 2
        store.put(changed)
        now = stored()
        assert {position for position in now if now[position] != before[position]} == {7}
        assert same(store["ann"], changed) and store.user("ann").version > version
        store.add(dictionary("ann", 50))
        assert same(store["ann"], dictionary("ann", 50))

    def test_many_users_at_once_or_none(self, store: SteeringStore) -> None:
        broken = dictionary("bob")
        broken.vectors[1, 0, 3] = torch.nan
        with pytest.raises(TrimtabError, match="'bob' holds NaN or infinity"):
            store.put(dictionary("ann"), broken)
        assert store.users() == []
        with pytest.raises(TrimtabError, match="store at .* empty; put dictionaries first"):
            store.forget("ann")
        store.put(dictionary("ann"))
        with pytest.raises(TrimtabError, match="'bob' holds NaN"):
            store.put(dictionary("ann", 1), broken)
        assert same(store["ann"], dictionary("ann"))
        with pytest.raises(TrimtabError, match="one dictionary a user"):
            store.put(dictionary("ann"), dictionary("ann"))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"fingerprint": "0123"}, "another model .fingerprint 0123. than"),
            ({"points": points_of([3], ["mid", "mlp"])}, "its points is layer 3 mid, layer 3 mlp"),
            ({"encoder_name": "other"}, "its encoder name is other, the store's all-MiniLM-L6-v2"),
            ({"keys_from": "input+answer"}, "its keys from is input.answer, the store's input"),
            ({"vectors": torch.zeros(3, 2, 5)}, "its hidden size is 5, the store's 8"),
            ({"keys": torch.full((3, KEY), torch.inf)}, "NaN or infinity"),
            ({"entries": [Entry("s0", "k", "a", "response", 1)] * 3}, "two entries of sample 's0'"),
            (
                {"entries": [Entry(f"\ud800{n}", "k", "a", "response", 1) for n in range(3)]},
                "cannot be stored",
            ),
        ],
    )
    def test_refuses_what_does_not_fit(
        self, store: SteeringStore, changes: dict, message: str
    ) -> None:
        store.put(dictionary("ann"))
        for write in (store.put, store.add):
            with pytest.raises(TrimtabError, match=message) as caught:
                write(dictionary("bob", **changes))
            assert "\n" not in str(caught.value)
        assert store.users() == ["ann"]

    def test_refuses_an_empty_first_dictionary(self, store: SteeringStore) -> None:
        with pytest.raises(TrimtabError, match="'ann' is empty"):
            store.put(dictionary("ann", 0))

    def test_refuses_another_model(self, store: SteeringStore) -> None:
        def check(fingerprint: str, what: str) -> None:
            raise TrimtabError(f"{what} was built with another model")

        other = SimpleNamespace(check_fingerprint=check)
        store.put(dictionary("ann"))
        with pytest.raises(TrimtabError, match="built with another model"):
            store.get("ann", model=other)  # type: ignore[call-overload]
        with pytest.raises(TrimtabError, match="built with another model"):
            SteeringStore(store.uri, model=other)  # type: ignore[arg-type]

    def test_vectors_beyond_half_precision_are_scaled(self, store: SteeringStore) -> None:
        large = dictionary("ann", 3)
        large.vectors = large.vectors.clone()
        large.vectors[1] *= 3e5
        large.vectors[2, 0, 0] = 65504
        assert scales_of(large.vectors).tolist()[::2] == [1, 1]
        store.put(large)
        found = store["ann"].vectors
        assert torch.equal(found[::2], large.vectors[::2])
        torch.testing.assert_close(found[1], large.vectors[1], rtol=5e-4, atol=1e-2)
        store.put(store["ann"])
        assert torch.equal(store["ann"].vectors, found)


class TestMemory:
    def test_the_least_recently_used_goes_first(self) -> None:
        users = {name: HotUser(dictionary(name), Switches(), 0, 0) for name in "abc"}
        hot = HotUsers(2 * users["a"].size)
        for name in "ab":
            hot.put(users[name], hot.generation)
        hot.get("a")
        hot.put(users["c"], hot.generation)
        assert [name for name in "abc" if hot.get(name)] == ["a", "c"]
        assert hot.size == 2 * users["a"].size
        hot.put(users["a"], hot.generation)
        assert len(hot) == 2 and hot.size == 2 * users["a"].size

    def test_what_was_read_before_a_change_does_not_come_in_after_it(self) -> None:
        hot = HotUsers(2**20)
        generation = hot.generation
        hot.discard("ann")
        hot.put(HotUser(dictionary("ann"), Switches(), 0, 0), generation)
        assert hot.get("ann") is None

    def test_hot_users_are_not_read_again(
        self, store: SteeringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put(dictionary("ann"), dictionary("bob"))
        store["ann"], store["bob"]
        store.put(dictionary("cid"))
        assert len(store["bob"]) == 3
        monkeypatch.setattr("trimtab.steering.store.reader.entry_contents", None)
        assert same(store["ann"], dictionary("ann"))

    def test_sees_what_another_writer_did(self, store: SteeringStore) -> None:
        other = SteeringStore(store.uri)
        store.put(dictionary("ann"), dictionary("bob"))
        assert len(other["ann"]) == len(other["bob"]) == 3
        store.put(dictionary("ann", 2, seed=1))
        assert same(other["ann"], dictionary("ann", 2, seed=1))
        assert same(other["bob"], dictionary("bob"))
        other.add(dictionary("ann", 1, start=7))
        assert samples(store["ann"]) == ["s0", "s1", "s7"]
        store.forget("ann")
        assert other.get("ann") is None
        assert "ann" not in other
        assert same(other["bob"], dictionary("bob"))

    def test_takes_its_time_to_see_it_where_that_is_allowed(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"))
        slow = SteeringStore(store.uri, refresh=3600)
        assert len(slow["ann"]) == 3
        store.put(dictionary("ann", 2))
        assert len(slow["ann"]) == 3
        slow.add(dictionary("ann", 1, start=9))  # but a writer looks first
        assert samples(slow["ann"]) == ["s0", "s1", "s9"]


def bytes_on_disk(store: SteeringStore) -> dict[Path, bytes]:
    """All files of the database but the index of its log, which holds no content."""
    found = Path(store.uri).parent.iterdir()
    return {path: path.read_bytes() for path in found if not path.name.endswith("-shm")}


def size_on_disk(store: SteeringStore) -> int:
    return sum(map(len, bytes_on_disk(store).values()))


def files_with(store: SteeringStore, needle: bytes) -> list[Path]:
    return [path for path, content in bytes_on_disk(store).items() if needle in content]


def secrets_of(store: SteeringStore) -> dict[str, bytes]:
    """What each user's rows are sealed with; to hold one is to be able to read them."""
    with store.database.reading() as connection:
        assert connection is not None
        query = sa.select(schema.users, schema.secret_slots.c.secret)
        found = connection.execute(query.join(schema.secret_slots)).all()
    return {user_of(row).user_id: bytes(row.secret) for row in found}


class TestForgetting:
    def test_leaves_no_byte_behind(self, file_store: SteeringStore) -> None:
        store = file_store
        secret = dictionary("mallory-4711", 4, seed=5)
        store.put(dictionary("ann"), secret, dictionary("bob"))
        sealed_with = [secrets_of(store)["mallory-4711"]]
        store.add(dictionary("mallory-4711", 1, seed=6, start=90))
        store.put(dictionary("mallory-4711", 2, seed=7))
        store.drop("mallory-4711", ["s1"])
        sealed_with.append(secrets_of(store)["mallory-4711"])
        assert sealed_with[0] != sealed_with[1]
        assert not files_with(store, sealed_with[0]) and files_with(store, sealed_with[1])
        assert store["mallory-4711"].entries
        plain = [
            b"mallory",
            secret.entries[3].key.encode(),
            secret.vectors[0].half().numpy().tobytes(),
            dictionary("mallory-4711", 2, seed=7).vectors[1].half().numpy().tobytes(),
        ]
        assert not any(files_with(store, needle) for needle in plain)
        others = {name: dictionary(name) for name in ("ann", "bob")}

        store.forget("mallory-4711")

        assert not any(files_with(store, needle) for needle in [*plain, *sealed_with])
        assert store.get("mallory-4711") is None
        for name, own in others.items():
            assert same(store[name], own)
            assert files_with(store, secrets_of(store)[name])
        assert [event.event for event in store.audit("mallory-4711")] == ["forgotten"]
        reopened = SteeringStore(store.uri)
        assert reopened.users() == ["ann", "bob"]

    def test_leaves_no_secret_behind_among_many(self, file_store: SteeringStore) -> None:
        store, chance = file_store, random.Random(3)
        gone: list[bytes] = []
        for step in range(120):
            there = secrets_of(store) if step else {}
            if len(there) > 3 and chance.random() < 0.5:
                user_id = chance.choice(sorted(there))
                if chance.random() < 0.5:
                    store.forget(user_id)
                elif not store.drop(user_id, samples(store[user_id])[:1]):
                    continue
                gone.append(there[user_id])
            else:
                store.put(dictionary(f"user{step}", chance.randint(1, 9), seed=step))
        assert len(gone) > 30
        assert not any(files_with(store, secret) for secret in gone)

    def test_leaves_no_row_in_any_table(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"), dictionary("mallory"))
        store.switch("mallory", enabled=False)
        store.put_intervention("mallory", "loreft", {"a": torch.ones(2)})
        store["mallory"]
        store.close()
        ((number, owner),) = [
            (row[0], row[1])
            for row in rows(store, "SELECT id, owner FROM trimtab_users WHERE enabled = false")
        ]
        store.forget("mallory")
        for table in ("entries", "weights", "pending"):
            left = rows(store, f'SELECT "user" FROM trimtab_{table}')
            assert (number,) not in left
        assert rows(store, f"SELECT id FROM trimtab_users WHERE id = {number}") == []
        ((secret,),) = rows(store, f"SELECT secret FROM trimtab_secrets WHERE id = {number}")
        assert bytes(secret) == bytes(32)
        trail = rows(store, f"SELECT event FROM trimtab_audit WHERE owner = '{owner}'")
        assert trail == [("forgotten",)]
        assert store.intervention("mallory", "loreft") is None
        store.put(dictionary("mallory", 1))
        assert store.user("mallory").switches == Switches()

    def test_forgets_everyone(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"), dictionary("bob"))
        store.forget("ann", "bob")
        assert store.users() == []
        assert store.population().kinds == {}
        store.put(dictionary("ann", 1))
        assert same(store["ann"], dictionary("ann", 1))

    def test_is_finished_by_the_next_writer(
        self, file_store: SteeringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = file_store
        store.put(dictionary("ann"), dictionary("mallory-4711", 4))
        secret = secrets_of(store)["mallory-4711"]
        with monkeypatch.context() as patch:
            patch.setattr(Database, "erase_log", lambda *_: 1 / 0)  # as if it were killed there
            with pytest.raises(ZeroDivisionError):
                store.forget("mallory-4711")
        assert store.users() == ["ann"]
        assert store.get("mallory-4711") is None
        assert files_with(store, secret)
        SteeringStore(store.uri).add(dictionary("bob"))
        assert not files_with(store, secret)
        assert store.users() == ["ann", "bob"]
        assert [event.event for event in store.audit("mallory-4711")] == ["forgotten"]
        assert store.population().kinds["response"].count == 6

    def test_a_reader_that_keeps_the_log_in_use_is_told_of(self, file_store: SteeringStore) -> None:
        store = SteeringStore(file_store.uri, patience=0.2)
        store.put(dictionary("ann"), dictionary("bob"))
        with file_store.database.reading() as connection:
            assert connection is not None
            connection.exec_driver_sql("SELECT count(*) FROM trimtab_users").all()
            with pytest.raises(TrimtabError, match="keeps it in the log file; end it"):
                store.forget("ann")
        assert store.users() == ["bob"]
        store.compact()
        assert rows(store, "SELECT name FROM trimtab_about WHERE name = 'erasing'") == []

    def test_expires_by_the_age_of_what_was_written(self, store: SteeringStore) -> None:
        store.put(dictionary("ann", 2))
        assert store.expire(timedelta(hours=1)) == 0
        assert store.expire(timedelta(hours=-1)) == 2
        assert store.users() == []

    def test_expires_by_the_age_of_samples(self, store: SteeringStore) -> None:
        store.put(dictionary("ann", 5), dictionary("bob", 2), dictionary("cid", 3, start=7))
        store.put_intervention("ann", "loreft", {"a": torch.ones(2)})
        before = secrets_of(store)
        assert store.expire(before=1003) == 5
        assert store.users() == ["ann", "cid"]
        assert samples(store["ann"]) == ["s3", "s4"]
        assert torch.equal(store.intervention("ann", "loreft").tensors["a"], torch.ones(2))
        assert same(store["cid"], dictionary("cid", 3, start=7))
        # What was sealed before can be opened no longer.
        assert secrets_of(store)["ann"] != before["ann"]
        assert secrets_of(store)["cid"] == before["cid"]
        assert "bob" not in secrets_of(store)
        assert [(e.event, e.count) for e in store.audit("bob")] == [("built", 2), ("expired", 2)]
        assert ("expired", 3) in [(e.event, e.count) for e in store.audit("ann")]
        store.add(dictionary("ann", 1, start=4))
        assert samples(store["ann"]) == ["s3", "s4"]

    def test_expiry_needs_one_rule(self, store: SteeringStore) -> None:
        for rules in ({}, {"older_than": timedelta(1), "before": 3}):
            with pytest.raises(TrimtabError, match="expected either older_than"):
                store.expire(**rules)


class TestSwitches:
    def test_are_kept_beside_the_dictionary(self, store: SteeringStore) -> None:
        assert store.user("ann") is None
        assert store.switch("ann", enabled=False) == Switches(enabled=False)
        assert store.users() == [] and store.get("ann") is None and "ann" not in store
        store.put(dictionary("ann"))
        other = SteeringStore(store.uri)
        assert other.user("ann").switches == Switches(enabled=False)
        assert store.switch("ann", strength=0.5) == Switches(False, 0.5)
        store.switch("ann", enabled=True)
        found = other.user("ann")
        assert found.switches == Switches(True, 0.5) and same(found.dictionary, dictionary("ann"))
        store.put(dictionary("ann", 1))
        assert store.user("ann").switches == Switches(True, 0.5)

    def test_outlast_the_last_entry(self, store: SteeringStore) -> None:
        store.put(dictionary("ann", 2))
        store.switch("ann", enabled=False)
        store.expire(timedelta(hours=-1))
        assert store.users() == []
        assert store.user("ann").switches == Switches(enabled=False)
        assert store.user("ann").dictionary is None

    @pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan")])
    def test_have_bounds(self, store: SteeringStore, strength: float) -> None:
        with pytest.raises(TrimtabError, match="expected a strength between 0 and 2, got"):
            store.switch("ann", strength=strength)


def test_rows_under_another_user_cannot_be_read(store: SteeringStore) -> None:
    store.put(dictionary("ann", 2), dictionary("bob", 1))
    with store.database.writing() as connection:
        assert connection is not None
        connection.exec_driver_sql(
            'UPDATE trimtab_entries SET "user" = (SELECT max(id) FROM trimtab_users)'
        )
    with pytest.raises(TrimtabError, match="not of the user whom it lies under"):
        SteeringStore(store.uri)["bob"]


class TestAudit:
    def test_tells_who_was_built_read_and_changed(self, store: SteeringStore) -> None:
        store.put(dictionary("ann", 3), dictionary("bob", 2))
        store.add(dictionary("ann", 1, start=5))
        for _ in range(4):
            store["ann"]
        store.drop("ann", ["s5"])
        events = store.audit("ann")
        assert {(e.event, e.count) for e in events} == {
            ("built", 3), ("added", 1), ("read", 4), ("dropped", 1)
        }  # fmt: skip
        assert [e.at for e in events] == sorted(e.at for e in events)
        assert all(e.at <= e.until for e in events)
        assert len({e.owner for e in events}) == 1 and "ann" not in events[0].owner
        assert {(e.event, e.count) for e in store.audit("bob")} == {("built", 2)}
        assert len(store.audit()) == len(events) + 1
        store["ann"]
        assert [e.count for e in store.audit("ann") if e.event == "read"] == [4, 1]

    def test_a_hot_read_writes_nothing(self, file_store: SteeringStore) -> None:
        store = file_store
        store.put(dictionary("ann"))
        before = bytes_on_disk(store)
        for _ in range(50):
            store["ann"]
        assert bytes_on_disk(store) == before

    def test_reads_can_go_unrecorded(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"))
        with SteeringStore(store.uri, audit_reads=False) as quiet:
            quiet["ann"]
        assert [e.event for e in store.audit("ann")] == ["built"]

    def test_reads_are_written_when_the_store_is_closed(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"))
        with SteeringStore(store.uri) as reader:
            reader["ann"]
        for any_store in (store, SteeringStore(store.uri)):
            assert [e.event for e in any_store.audit("ann")] == ["built", "read"]

    def test_what_cannot_be_recorded_now_may_be_later(
        self, store: SteeringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put(dictionary("ann"))
        monkeypatch.setattr("trimtab.steering.store.counts._SECONDS_AT_ONCE", 0.0)
        with SteeringStore(store.uri, patience=0.1) as reader:
            with store.database.writing(), pytest.raises(StoreUnavailable, match="audit trail"):
                reader["ann"]
            reader["ann"]
        assert [e.count for e in store.audit("ann") if e.event == "read"] == [2]


class TestPopulation:
    def test_is_what_a_full_pass_gives_after_any_sequence(self, store: SteeringStore) -> None:
        chance = random.Random(7)
        truth: dict[str, SteeringDictionary] = {}
        names = [f"user{n}" for n in range(6)]
        for step in range(40):
            user_id = chance.choice(names)
            kind = chance.choice(["response", "context"])
            action = chance.choice(["put", "put", "add", "add", "drop", "forget"])
            new = dictionary(
                user_id, chance.randint(1, 5), seed=step, start=chance.randint(0, 9), contrast=kind
            )
            if action == "put":
                store.put(new)
                truth[user_id] = new
            elif action == "add":
                store.add(new)
                old = truth.setdefault(user_id, dictionary(user_id, 0))
                old._extend(new.entries, new.keys, new.vectors)
            elif user_id in truth and action == "drop":
                gone = chance.sample(samples(truth[user_id]), k=len(truth[user_id]) // 2)
                store.drop(user_id, gone)
                truth[user_id].drop(gone)
            elif user_id in truth and step % 3 == 0:
                store.forget(user_id)
                del truth[user_id]
        assert store.users() == sorted(truth) and len(truth) > 2
        for user_id, expected in truth.items():
            assert same(store[user_id], expected)

        def brute(kind: str, without: str | None = None) -> torch.Tensor:
            rows = [
                vector
                for user_id, own in truth.items()
                if user_id != without
                for entry, vector in zip(own.entries, own.vectors.double(), strict=True)
                if entry.contrast == kind
            ]
            return torch.stack(rows)

        for kind in ("response", "context"):
            for without in (None, *truth, "nobody"):
                rows = brute(kind, without)
                mean = store.population(without=without).mean(kind)
                assert torch.equal(
                    torch.stack([mean.values[p] for p in POINTS]), rows.mean(dim=0).float()
                )
                norms = store.population(without=without).usual_norms(kind)
                for n, point in enumerate(POINTS):
                    lengths = rows[:, n].norm(dim=-1)
                    assert norms[point].mean == pytest.approx(lengths.mean().item())
                    assert norms[point].deviation == pytest.approx(
                        lengths.std(correction=0).item(), abs=1e-6
                    )

    def test_a_residual_is_a_users_mean_minus_the_others(self, store: SteeringStore) -> None:
        own, other = dictionary("ann", 3), dictionary("bob", 2, seed=1)
        store.put(own, other)
        residual = store.residual("ann", "response")
        expected = own.vectors.mean(dim=0) - other.vectors.mean(dim=0)
        torch.testing.assert_close(
            torch.stack([residual.values[p] for p in POINTS]), expected, atol=1e-6, rtol=1e-6
        )

    def test_an_empty_mean_is_refused(self, store: SteeringStore) -> None:
        with pytest.raises(TrimtabError, match="no entry of 'response' contrast"):
            store.population().mean("response")
        store.put(dictionary("ann"))
        with pytest.raises(TrimtabError, match="no entry of 'context' contrast"):
            store.population().mean("context")
        with pytest.raises(TrimtabError, match="no entry of 'response' contrast"):
            store.population(without="ann").usual_norms("response")

    def test_is_a_value(self) -> None:
        one, other = (Population.of(dictionary(seed=seed)) for seed in (1, 2))
        left = one.plus(other).minus(one)
        assert torch.equal(left.kinds["response"].total, other.kinds["response"].total)
        for point, norm in left.usual_norms("response").items():
            assert norm == pytest.approx(other.usual_norms("response")[point])
        assert one.minus(one).kinds == {}


class TestUpkeep:
    def test_users_are_found_by_an_index(self, file_store: SteeringStore) -> None:
        store = file_store
        store.put(*(dictionary(f"user{n}", 3, seed=n) for n in range(9)))
        for where in ("owner = 'x'", "id = 3"):
            plan = rows(store, f"EXPLAIN QUERY PLAN SELECT * FROM trimtab_users WHERE {where}")
            assert "SEARCH" in plan[0][-1]
        entries = 'SELECT * FROM trimtab_entries WHERE "user" = 3 ORDER BY position, id'
        plan = [row[-1] for row in rows(store, f"EXPLAIN QUERY PLAN {entries}")]
        assert plan[0].startswith("SEARCH trimtab_entries USING INDEX")

    def test_compacting_gives_the_disk_back(self, file_store: SteeringStore) -> None:
        store = file_store
        store.put(dictionary("ann", 4000), dictionary("bob", 10))
        store.close()
        once = size_on_disk(store)
        store.forget("ann")
        store.compact()
        assert size_on_disk(store) < once / 2
        assert same(store["bob"], dictionary("bob", 10))

    def test_compacting_changes_nothing(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"), dictionary("bob"))
        store.forget("bob")
        store.compact()
        assert same(store["ann"], dictionary("ann"))
        assert same(SteeringStore(store.uri)["ann"], dictionary("ann"))


class TestBadPlaces:
    def test_a_folder_with_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("nothing that a database holds\n" * 100)
        with pytest.raises(TrimtabError, match=r"not a steering store: .* found a folder"):
            SteeringStore(tmp_path)
        with pytest.raises(TrimtabError, match=r"not a steering store: file is not a database"):
            SteeringStore(tmp_path / "notes.txt")

    def test_the_database_of_something_else(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "other.db") as other:
            other.execute("CREATE TABLE notes(text)")
        other.close()
        with pytest.raises(TrimtabError, match="the SQLite database of something else"):
            SteeringStore(tmp_path / "other.db")

    def test_a_newer_store(self, store: SteeringStore) -> None:
        store.put(dictionary())
        with store.database.writing() as connection:
            schema.write_about(connection, "schema", str(schema.VERSION + 1))
        with pytest.raises(TrimtabError, match="made by a newer trimtab .*; upgrade: pip install"):
            SteeringStore(store.uri)

    def test_an_older_one_is_brought_up_to_date(
        self, store: SteeringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put(dictionary())

        def add_a_column(connection: sa.Connection) -> None:
            connection.exec_driver_sql("ALTER TABLE trimtab_keys ADD COLUMN note TEXT")

        monkeypatch.setattr(schema, "MIGRATIONS", {schema.VERSION: add_a_column})
        monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
        reopened = SteeringStore(store.uri)
        assert same(reopened["ann"], dictionary())
        reopened.add(dictionary("bob"))
        assert rows(reopened, "SELECT note FROM trimtab_keys") == []
        assert rows(reopened, "SELECT value FROM trimtab_about WHERE name = 'schema'") == [
            (str(schema.VERSION),)
        ]

    def test_a_broken_one(self, file_store: SteeringStore) -> None:
        file_store.put(dictionary("ann", 200))
        file_store.close()
        path = Path(file_store.uri)
        path.write_bytes(path.read_bytes()[:20_000])
        with pytest.raises(TrimtabError, match="cannot be read: .*malformed; restore a copy") as e:
            SteeringStore(file_store.uri)["ann"]
        assert "\n" not in str(e.value)

    def test_one_that_is_being_written_can_be_read(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"))
        hasty = SteeringStore(store.uri, patience=0.05)
        with store.database.writing():
            assert same(hasty["ann"], dictionary("ann"))
            for action in (
                lambda: hasty.put(dictionary("bob")),
                lambda: hasty.forget("ann"),
                lambda: hasty.switch("ann", enabled=False),
            ):
                with pytest.raises(TrimtabError, match="another process is writing to the store"):
                    action()
        hasty.put(dictionary("bob"))
        assert store.users() == ["ann", "bob"]

    @pytest.mark.parametrize(
        ("uri", "said"),
        [
            ("s3://bucket/users", "expected sqlite:///FILE, postgresql://.*got 's3://bucket/users"),
            ("sqlite://", "which names no file"),
            ("postgresql://u:geheim@localhost:1/d", "cannot be read: .*check that the server runs"),
        ],
    )
    def test_one_that_cannot_be_reached(self, uri: str, said: str) -> None:
        with pytest.raises(TrimtabError, match=said) as caught:
            SteeringStore(uri)
        assert "\n" not in str(caught.value) and "geheim" not in str(caught.value)

    def test_one_that_should_be_there(self, place: str) -> None:
        with pytest.raises(TrimtabError, match="there is no steering store at"):
            SteeringStore(place, existing=True)

    def test_a_server_that_is_stopped_and_started(self, postgres_server) -> None:
        store = SteeringStore(postgres_server.new_database())
        store.put(dictionary("ann"))
        postgres_server.stop()
        for action in (lambda: store["ann"], lambda: store.put(dictionary("bob"))):
            with pytest.raises(TrimtabError, match="check that the server runs") as caught:
                action()
            assert "\n" not in str(caught.value)
        postgres_server.start()
        store.add(dictionary("bob"))
        assert same(store["ann"], dictionary("ann")) and store.users() == ["ann", "bob"]

    def test_a_full_disk(self, file_store: SteeringStore) -> None:
        file_store.put(dictionary("ann"))
        with file_store.database.reading() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(TrimtabError, match="database or disk is full; make room on the disk"):
            file_store.put(dictionary("bob", 500))
        assert file_store.users() == ["ann"]


def test_a_forked_process_reads_and_writes(store: SteeringStore) -> None:
    store.put(dictionary("ann"), dictionary("bob"))
    assert len(store["ann"]) == 3
    child = os.fork()
    if not child:
        try:
            store.add(dictionary("cid"))
            os._exit(0 if len(store["ann"]) == len(store["bob"]) == 3 else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.users() == ["ann", "bob", "cid"]
    store.put(dictionary("ann", 1))
    assert len(store["ann"]) == 1


def test_importing_the_package_does_not_load_a_database() -> None:
    code = (
        "import sys, trimtab.steering as s; s.SteeringDictionary;"
        "print('lancedb' in sys.modules, 'sqlalchemy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False False"


def test_threads_read_while_one_writes(store: SteeringStore) -> None:
    store.put(dictionary("ann", 5, fill=0), dictionary("bob", 5, fill=-1))
    problems: list[str] = []
    done = threading.Event()

    def read() -> None:
        last = 0.0
        while not done.is_set():
            values = store["ann"].vectors.unique().tolist()
            if len(values) != 1 or values[0] < last:
                problems.append(f"{values} after {last}")
            last = values[0]

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(1, 8):
        store.put(dictionary("ann", 5, fill=version))
        assert store["ann"].vectors.unique().tolist() == [version]
    store.forget("bob")
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []


class Process:
    """Python in another process, which waits for ``go``."""

    PREFIX = """
        import torch
        from trimtab.steering.dictionaries.dictionary import SteeringDictionary
        from trimtab.steering.vectors.entries import Entry
        from trimtab.steering.store.steering_store import SteeringStore
        from trimtab.steering.vectors.steering_vectors import points_of

        def dictionary(user_id, count, fill):
            return SteeringDictionary(
                user_id=user_id, fingerprint="f" * 16, points=points_of([17], ["mid", "mlp"]),
                encoder_name="all-MiniLM-L6-v2",
                entries=[Entry(f"s{n}", f"of {fill}", "a", "response", n) for n in range(count)],
                keys=torch.eye(4)[torch.arange(count) % 4],
                vectors=torch.full((count, 2, 8), float(fill)),
            )

        line.recv()
    """

    def __init__(self, store: SteeringStore, code: str) -> None:
        program = textwrap.dedent(self.PREFIX) + textwrap.dedent(code)
        self.forked = Forked(program, uri=store.uri)

    def go(self) -> None:
        self.forked.said.send("go")

    def finish(self) -> list[Any]:
        heard = self.forked.rest()
        assert self.forked.ended() == 0
        return heard


@pytest.fixture
def process(store: SteeringStore) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(code: str) -> Process:
        started.append(Process(store, code))
        return started[-1]

    yield start
    for each in started:
        each.forked.kill()


def test_processes_read_while_one_writes(
    store: SteeringStore, process: Callable[[str], Process]
) -> None:
    store.put(dictionary("ann", 6, fill=0), dictionary("old", 3))
    readers = [
        process("""
            store, seen = SteeringStore(uri), []
            while not seen or seen[-1] < 12:
                found = store["ann"]
                (value,) = found.vectors.unique().tolist()  # of one version
                assert len(found) == 6 and (not seen or value >= seen[-1]), (value, seen)
                if not seen or value > seen[-1]:
                    seen.append(value)
            assert store.get("old") is None
            store.close()
            line.send(len(seen))
        """)
        for _ in range(2)
    ]
    for reader in readers:
        reader.go()
    for version in range(1, 13):
        store.put(dictionary("ann", 6, fill=version))
        if version == 6:
            store.forget("old")
        if version == 9:
            store.compact()
    for reader in readers:
        assert reader.finish()[-1] >= 1
    reads = [event.count for event in store.audit("ann") if event.event == "read"]
    assert len(reads) == 2  # each reader's, written when it ended


def test_a_killed_put_is_done_or_not_done(
    store: SteeringStore, process: Callable[[str], Process]
) -> None:
    chance = random.Random(11)
    writers = [
        process("""
            store = SteeringStore(uri)
            for fill in range(int(store["ann"].vectors.max()) + 1 if "ann" in store else 1, 10**6):
                line.send(("start", fill))
                # Every third time only one entry differs, every seventh somebody is forgotten.
                store.put(dictionary("ann", 40, fill), dictionary("bob", 2, fill))
                if fill % 3 == 0:
                    store.drop("bob", ["s1"])
                if fill % 7 == 0:
                    store.forget("bob")
                line.send(("end", fill))
        """)
        for _ in range(6)
    ]
    ended = 0
    for writer in writers:
        writer.go()
        heard = [writer.forked.said.recv() for _ in range(chance.randint(1, 12))]
        threading.Event().wait(chance.random() * 0.05)
        writer.forked.kill()
        heard += writer.forked.rest()
        begun = max(fill for what, fill in heard if what == "start")
        ended = max([ended] + [fill for what, fill in heard if what == "end"])

        reopened = SteeringStore(store.uri)
        found = reopened.get("ann")
        if found is None:
            assert ended == 0
            continue
        (value,) = found.vectors.unique().tolist()
        assert len(found) == 40 and value in (ended, begun)
        assert {entry.key for entry in found.entries} == {f"of {value:.0f}"}
        everyone = torch.cat([own.vectors for own in reopened.values()]).double()
        assert torch.equal(
            torch.stack([reopened.population().mean("response").values[p] for p in POINTS]),
            everyone.mean(dim=0).float(),
        )
