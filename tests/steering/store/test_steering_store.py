"""A store against plain dictionaries, other processes, killed writers and a look at its bytes."""

import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

from trimtab import TrimtabError
from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.dictionaries.population import Population
from trimtab.steering.store.entry_table import EntryTable
from trimtab.steering.store.hot_users import HotUser, HotUsers
from trimtab.steering.store.layout import Layout, scales_of
from trimtab.steering.store.steering_store import SteeringStore, UnknownUser
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of

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
def store(tmp_path: Path) -> SteeringStore:
    return SteeringStore(tmp_path / "users")


def lance(store: SteeringStore):
    import lancedb

    return lancedb.connect(store.uri).open_table("entries")


class TestMapping:
    def test_gives_back_what_was_put(self, store: SteeringStore) -> None:
        ann, bob = dictionary("ann", 5), dictionary("bob", 2, seed=1, contrast="context")
        store.put(ann, bob)
        for reader in (store, SteeringStore(store.uri)):
            assert same(reader["ann"], ann)
            assert same(reader["bob"], bob)
        assert store.users() == ["ann", "bob"] == sorted(store)
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

    def test_nothing_is_made_before_the_first_put(self, tmp_path: Path) -> None:
        store = SteeringStore(tmp_path / "users")
        assert store.get("ann") is None
        assert store.audit() == [] == store.users()
        assert store.expire(before=3) == 0
        store.compact()
        assert not (tmp_path / "users").exists()


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
        store.put(dictionary("ann", 50))
        before = lance(store).version
        store.put(dictionary("ann", 50))
        assert lance(store).version == before
        changed = dictionary("ann", 50)
        changed.vectors = changed.vectors.clone()
        changed.vectors[7] *= 2
        rows = {r["sample_id"]: r["row"] for r in lance(store).to_arrow().to_pylist()}
        store.put(changed)
        now = {r["sample_id"]: r["row"] for r in lance(store).to_arrow().to_pylist()}
        assert {s for s in now if now[s] != rows[s]} == {"s7", None}  # None: the user's head
        assert same(store["ann"], changed)

    def test_many_users_at_once_or_none(self, store: SteeringStore) -> None:
        broken = dictionary("bob")
        broken.vectors[1, 0, 3] = torch.nan
        with pytest.raises(TrimtabError, match="'bob' holds NaN or infinity"):
            store.put(dictionary("ann"), broken)
        assert store.users() == []
        assert not Path(store.uri).exists()
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
        users = {name: HotUser(dictionary(name), 0, 0) for name in "abc"}
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
        hot.put(HotUser(dictionary("ann"), 0, 0), generation)
        assert hot.get("ann") is None

    def test_hot_users_are_not_read_again(
        self, store: SteeringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put(dictionary("ann"), dictionary("bob"))
        store["ann"], store["bob"]
        store.put(dictionary("cid"))
        assert len(store["bob"]) == 3
        monkeypatch.setattr(store._table, "_rows", None)
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
    return {path: path.read_bytes() for path in Path(store.uri).rglob("*") if path.is_file()}


def size_on_disk(store: SteeringStore) -> int:
    return sum(map(len, bytes_on_disk(store).values()))


def files_with(store: SteeringStore, needle: bytes) -> list[Path]:
    return [path for path, content in bytes_on_disk(store).items() if needle in content]


class TestForgetting:
    def test_leaves_no_byte_behind(self, store: SteeringStore) -> None:
        secret = dictionary("mallory-4711", 4, seed=5)
        store.put(dictionary("ann"), secret, dictionary("bob"))
        store.add(dictionary("mallory-4711", 1, seed=6, start=90))
        store.put(dictionary("mallory-4711", 2, seed=7))
        store.drop("mallory-4711", ["s1"])
        assert store["mallory-4711"].entries
        needles = [
            b"mallory",
            secret.entries[3].key.encode(),
            secret.vectors[0].half().numpy().tobytes(),
            dictionary("mallory-4711", 2, seed=7).vectors[1].half().numpy().tobytes(),
        ]
        others = [(n, dictionary(n).vectors.half().numpy().tobytes()) for n in ("ann", "bob")]
        assert all(files_with(store, needle) for needle in needles)
        # What a writer that was killed in the middle leaves: a file that no version knows.
        data = files_with(store, b"mallory")[0]
        shutil.copy(data, data.with_name(f"1111{data.name}"))

        store.forget("mallory-4711")

        assert not any(files_with(store, needle) for needle in needles)
        # The clean one, a state that says so, and the old state deleted.
        assert len(lance(store).list_versions()) == 3
        assert store.get("mallory-4711") is None
        for name, _ in others:
            assert same(store[name], dictionary(name))
        assert [event.event for event in store.audit("mallory-4711")] == ["forgotten"]
        reopened = SteeringStore(store.uri)
        assert reopened.users() == ["ann", "bob"]
        for version in lance(store).list_versions():
            table = lance(store)
            table.checkout(version["version"])
            assert "mallory-4711" not in table.to_arrow()["user_id"].to_pylist()

    def test_forgets_everyone(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"), dictionary("bob"))
        store.forget("ann", "bob")
        assert store.users() == []
        store.put(dictionary("ann", 1))
        assert same(store["ann"], dictionary("ann", 1))

    @pytest.mark.parametrize("killed_before", ["_delete", "erase", "_sweep", "_rewrite", "_index"])
    def test_is_finished_by_the_next_writer(
        self, store: SteeringStore, monkeypatch: pytest.MonkeyPatch, killed_before: str
    ) -> None:
        store.put(dictionary("ann"), dictionary("mallory-4711", 4))
        store["mallory-4711"]
        with monkeypatch.context() as patch:
            patch.setattr(EntryTable, killed_before, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                store.forget("mallory-4711")
        assert store.users() == ["ann"]
        assert store.get("mallory-4711") is None
        assert files_with(store, b"mallory")
        SteeringStore(store.uri).add(dictionary("bob"))
        assert not files_with(store, b"mallory")
        assert store.users() == ["ann", "bob"]
        assert [event.event for event in store.audit("mallory-4711")] == ["forgotten"]
        assert store.population().kinds["response"].count == 6

    def test_expires_by_the_age_of_what_was_written(self, store: SteeringStore) -> None:
        store.put(dictionary("ann", 2))
        assert store.expire(timedelta(hours=1)) == 0
        assert store.expire(timedelta(hours=-1)) == 2
        assert store.users() == []
        assert not files_with(store, b"request 1 of ann")

    def test_expires_by_the_age_of_samples(self, store: SteeringStore) -> None:
        store.put(dictionary("ann", 5), dictionary("bob", 2), dictionary("cid", 3, start=7))
        assert store.expire(before=1003) == 5
        assert store.users() == ["ann", "cid"]
        assert samples(store["ann"]) == ["s3", "s4"]
        assert same(store["cid"], dictionary("cid", 3, start=7))
        assert not files_with(store, b"request 2 of ann")
        assert files_with(store, b"request 3 of ann")
        assert [(e.event, e.count) for e in store.audit("bob")] == [("built", 2), ("expired", 2)]
        assert ("expired", 3) in [(e.event, e.count) for e in store.audit("ann")]

    def test_expiry_needs_one_rule(self, store: SteeringStore) -> None:
        for rules in ({}, {"older_than": timedelta(1), "before": 3}):
            with pytest.raises(TrimtabError, match="expected either older_than"):
                store.expire(**rules)


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

    def test_a_hot_read_writes_nothing(self, store: SteeringStore) -> None:
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
        assert Population.from_json(POINTS, one.to_json()).to_json() == one.to_json()
        assert one.minus(one).to_json() == {}


class TestUpkeep:
    def test_small_writes_do_not_pile_up(self, store: SteeringStore) -> None:
        for n in range(40):
            store.put(dictionary(f"user{n}", 1, seed=n))
        table = lance(store)
        assert table.stats()["fragment_stats"]["num_fragments"] < 20
        assert all(same(store[f"user{n}"], dictionary(f"user{n}", 1, seed=n)) for n in range(40))

    def test_users_are_found_by_an_index(self, store: SteeringStore) -> None:
        store.put(*(dictionary(f"user{n}", 500, seed=n) for n in range(9)))
        (index,) = lance(store).list_indices()
        assert (index.columns, index.index_type) == (["owner"], "BTree")
        assert index.num_unindexed_rows == 0
        owner = Layout.read(lance(store).schema, "").owner("user3")
        plan = lance(store).search().where(f"owner = '{owner}'").explain_plan()
        assert "ScalarIndexQuery" in plan
        assert same(store["user3"], dictionary("user3", 500, seed=3))

    def test_dead_rows_are_taken_off_the_disk(self, store: SteeringStore) -> None:
        store.put(dictionary("ann", 1000))
        once = size_on_disk(store)
        for seed in (1, 2):
            store.put(dictionary("ann", 1000, seed=seed))
        assert size_on_disk(store) > 2.5 * once
        store.compact()
        assert size_on_disk(store) < 1.5 * once
        assert same(store["ann"], dictionary("ann", 1000, seed=2))

    def test_what_killed_writers_left_is_swept_up(
        self, store: SteeringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put(dictionary("ann", 4), dictionary("bob", 2))
        with monkeypatch.context() as patch:
            patch.setattr(EntryTable, "_delete", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                store.drop("ann", ["s1", "s2"])
        assert samples(store["ann"]) == ["s0", "s3"]
        assert len(lance(store).to_arrow()) == 6 + 3 + 2  # ann's old head and the old state too
        store.compact()
        assert len(lance(store).to_arrow()) == 4 + 2 + 1
        assert samples(store["ann"]) == ["s0", "s3"]

    def test_that_happens_by_itself(self, store: SteeringStore) -> None:
        store.put(dictionary("ann", 1000))
        once = size_on_disk(store)
        for seed in range(1, 12):
            store.put(dictionary("ann", 1000, seed=seed))
        assert size_on_disk(store) < 8 * once
        assert same(store["ann"], dictionary("ann", 1000, seed=11))


class TestBadPlaces:
    def test_a_folder_with_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(TrimtabError, match=r"not a steering store: .* found notes.txt"):
            SteeringStore(tmp_path)
        with pytest.raises(TrimtabError, match=r"not a steering store: .* found a file"):
            SteeringStore(tmp_path / "notes.txt")

    def test_a_store_of_another_version(
        self, store: SteeringStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("trimtab.steering.store.layout.FORMAT", "trimtab-store-0")
            store.put(dictionary())
        with pytest.raises(TrimtabError, match=r"not a steering store of this version \(trimtab-s"):
            SteeringStore(store.uri)

    def test_another_table_of_that_name(self, tmp_path: Path) -> None:
        import lancedb

        lancedb.connect(tmp_path).create_table("entries", [{"x": 1}])
        with pytest.raises(TrimtabError, match="not a steering store of this version"):
            SteeringStore(tmp_path)

    @pytest.mark.parametrize("folder", ["_versions", "data"])
    def test_a_broken_one(self, store: SteeringStore, folder: str) -> None:
        store.put(dictionary("ann"))
        for path in (Path(store.uri) / "entries.lance" / folder).iterdir():
            path.write_bytes(path.read_bytes()[:20])
        with pytest.raises(TrimtabError, match="cannot be (opened|read): ") as caught:
            SteeringStore(store.uri)["ann"]
        assert "\n" not in str(caught.value)

    def test_one_whose_maker_was_killed_is_empty(self, tmp_path: Path) -> None:
        (tmp_path / "users" / "entries.lance" / "_transactions").mkdir(parents=True)
        store = SteeringStore(tmp_path / "users")
        assert store.get("ann") is None
        store.put(dictionary("ann"))
        assert same(SteeringStore(store.uri)["ann"], dictionary("ann"))

    def test_a_locked_one_can_be_read(self, store: SteeringStore) -> None:
        store.put(dictionary("ann"))
        with FileLock(Path(store.uri) / "lock"):
            hasty = SteeringStore(store.uri, patience=0.01)
            assert same(hasty["ann"], dictionary("ann"))
            for action in (
                lambda: hasty.put(dictionary("bob")),
                lambda: hasty.forget("ann"),
                lambda: hasty.expire(before=5),
                hasty.compact,
            ):
                with pytest.raises(TrimtabError, match="another process is writing to the store"):
                    action()
        hasty.put(dictionary("bob"))
        assert store.users() == ["ann", "bob"]

    def test_one_that_cannot_be_reached(self) -> None:
        with pytest.raises(TrimtabError, match="cannot be opened"):
            SteeringStore("nowhere://users")


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_any_uri_is_a_place(scheme: str, tmp_path: Path) -> None:
    store = SteeringStore(f"{scheme}://{tmp_path}/users")
    assert store.get("ann") is None
    store.put(dictionary("ann"), dictionary("bob"))
    store.add(dictionary("ann", 1, start=9))
    assert samples(store["ann"]) == ["s0", "s1", "s2", "s9"]
    store.forget("ann")
    assert store.users() == ["bob"]
    if scheme == "file":
        reopened = SteeringStore(store.uri)
        assert same(reopened["bob"], dictionary("bob"))
        assert [event.event for event in reopened.audit("ann")] == ["forgotten"]


def test_importing_the_package_does_not_load_lance() -> None:
    code = (
        "import sys, trimtab.steering as s; s.SteeringDictionary; print('lancedb' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


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


def test_every_version_is_the_state_after_some_write(store: SteeringStore) -> None:
    store.put(dictionary("bob", 2, fill=5))
    states = [{"bob": ([5.0] * 2)}]

    def wrote(**users: list[float] | None) -> None:
        after = states[-1] | users
        states.append({name: fills for name, fills in after.items() if fills is not None})

    for fill in range(20):  # past where small files are joined
        store.put(dictionary("ann", 4, fill=fill), dictionary("cid", 1, fill=fill))
        wrote(ann=[fill] * 4, cid=[fill])
    store.add(dictionary("ann", 1, fill=9, start=3), dictionary("bob", 1, fill=3, start=7))
    wrote(ann=[19, 19, 19, 9], bob=[5, 5, 3])
    store.drop("ann", ["s0", "s1"])
    wrote(ann=[19, 9])

    reader = EntryTable(store.uri, None, 0)
    layout = reader.layout
    assert layout is not None
    seen = []
    for version in sorted(v["version"] for v in lance(store).list_versions())[1:]:
        reader._table.checkout(version)
        users = reader.users(map(layout.owner, ("ann", "bob", "cid")))
        fills = {
            rows.user_id: layout.dictionary("", rows.entries).vectors[:, 0, 0].tolist()
            for rows in users.values()
        }
        assert reader.user_ids() == sorted(fills)
        total = reader.state().population.kinds["response"].total
        assert total.unique().tolist() == [sum(sum(own) for own in fills.values())]
        if fills not in seen:
            seen.append(fills)
    assert seen == states


def test_a_reader_whose_version_is_erased_reads_the_newest(store: SteeringStore) -> None:
    store.put(dictionary("ann"), dictionary("bob"))
    late = SteeringStore(store.uri, refresh=3600, hot_bytes=0)
    assert len(late["bob"]) == 3
    store.put(dictionary("bob", 2))
    store.forget("ann")
    assert same(late["bob"], dictionary("bob", 2))
    assert late.users() == ["bob"]


class Process:
    """Python in another process; it has read its imports and waits for ``go``."""

    PREFIX = """
        import sys
        import torch
        import lancedb
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

        uri = sys.argv[1]
        print("ready", flush=True)
        sys.stdin.readline()
    """

    def __init__(self, store: SteeringStore, code: str) -> None:
        program = textwrap.dedent(self.PREFIX) + textwrap.dedent(code)
        self.popen = subprocess.Popen(
            [sys.executable, "-c", program, store.uri],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def go(self) -> None:
        assert self.popen.stdin and self.popen.stdout
        assert self.popen.stdout.readline() == "ready\n", self.popen.stderr.read()
        self.popen.stdin.write("go\n")
        self.popen.stdin.flush()

    def finish(self) -> str:
        out, err = self.popen.communicate()
        assert self.popen.returncode == 0, err
        return out


@pytest.fixture
def process(store: SteeringStore) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(code: str) -> Process:
        started.append(Process(store, code))
        return started[-1]

    yield start
    for each in started:
        each.popen.kill()
        each.popen.communicate()


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
            print(len(seen))
        """)
        for _ in range(2)
    ]
    for reader in readers:
        reader.go()
    for version in range(1, 13):
        store.put(dictionary("ann", 6, fill=version))
        if version == 6:
            store.forget("old")  # takes the versions that are being read off the disk
        if version == 9:
            store.compact()
    for reader in readers:
        assert int(reader.finish()) >= 1
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
                print("start", fill, flush=True)
                # Every third time only one entry differs, every seventh somebody is forgotten.
                store.put(dictionary("ann", 40, fill), dictionary("bob", 2, fill))
                if fill % 3 == 0:
                    store.drop("bob", ["s1"])
                if fill % 7 == 0:
                    store.forget("bob")
                print("end", fill, flush=True)
        """)
        for _ in range(6)
    ]
    ended = 0
    for writer in writers:
        writer.go()
        assert writer.popen.stdout
        lines = [writer.popen.stdout.readline() for _ in range(chance.randint(1, 12))]
        threading.Event().wait(chance.random() * 0.05)
        writer.popen.send_signal(signal.SIGKILL)
        # Not communicate(), which passes over what readline() has buffered.
        lines += writer.popen.stdout.read().splitlines()
        writer.popen.wait()
        begun = max([int(x.split()[1]) for x in lines if x.startswith("start")])
        ended = max([ended] + [int(x.split()[1]) for x in lines if x.startswith("end")])

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
    store.put(dictionary("ann", 1))
    store.compact()
    rows = lance(store).to_arrow()
    live = sum(len(own) for own in store.values())
    assert len(rows) == live + len(store) + 1  # entries, heads and the state: nothing is left over
