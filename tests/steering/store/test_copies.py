"""What a user is told of what is kept, and how often an entry was used."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import torch

from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.dictionaries.switches import Switches
from trimtab.steering.store.access import UnknownUser
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.vectors.entries import Entry, Picked
from trimtab.steering.vectors.steering_vectors import points_of

ENTRIES = [Entry(f"s{n}", f"key {n}", f"answer {n}", "response", 100 + n) for n in range(3)]


def own(user_id: str = "ann") -> SteeringDictionary:
    return SteeringDictionary(
        user_id=user_id, fingerprint="f" * 16, points=points_of([17], ["mid"]), encoder_name="e",
        entries=ENTRIES, keys=torch.eye(3), vectors=torch.ones(3, 1, 8),
    )  # fmt: skip


def picks(*numbers: int) -> list[Picked]:
    return [Picked(ENTRIES[n], 0.5, 1 / len(numbers)) for n in numbers]


def test_entries_are_listed_with_their_uses(store: SteeringStore) -> None:
    assert store.kept("ann") == []
    store.used("ann", picks(0))  # before there is a store
    store.put(own(), own("bob"))
    start = datetime.now(UTC)
    store.used("ann", picks(0, 2))
    store.used("ann", picks(2))
    found = store.kept("ann")
    assert [(each.sample_id, each.key, each.answer, each.timestamp) for each in found] == [
        (entry.sample_id, entry.key, entry.answer, entry.timestamp) for entry in ENTRIES
    ]
    assert [each.uses for each in found] == [1, 0, 2]
    assert found[1].last_used is None
    assert abs(found[2].last_used - start) < timedelta(minutes=5)
    assert abs(found[0].built - start) < timedelta(minutes=5)
    store.used("ann", picks(0, 1))
    assert [each.uses for each in store.kept("ann")] == [2, 1, 2]
    assert [each.uses for each in store.kept("bob")] == [0, 0, 0]
    assert [e.event for e in store.audit("ann")] == ["built", "listed", "listed"]


def test_uses_of_what_is_gone_are_not_kept(store: SteeringStore) -> None:
    store.put(own(), own("bob"))
    store.used("ann", picks(0, 1))
    store.used("bob", picks(0))
    elsewhere = SteeringStore(store.uri)
    elsewhere.drop("ann", ["s0"])
    elsewhere.forget("bob")
    assert [(each.sample_id, each.uses) for each in store.kept("ann")] == [("s1", 1), ("s2", 0)]
    store.put(own("bob"))
    assert [each.uses for each in store.kept("bob")] == [0, 0, 0]


def test_uses_are_written_when_the_store_is_closed(store: SteeringStore) -> None:
    store.put(own())
    with SteeringStore(store.uri) as reader:
        reader.used("ann", picks(1))
    assert [each.uses for each in store.kept("ann")] == [0, 1, 0]


def test_a_copy_holds_everything(store: SteeringStore) -> None:
    store.put(own())
    store.switch("ann", strength=0.5)
    store.put_intervention("ann", "perfit", {"a": torch.ones(2)}, {"rank": 2})
    store.interactions.keep("ann", "i1", {"request": "x"})
    store.used("ann", picks(1))
    copy = store.copy_of("ann")
    assert copy.user_id == "ann" and copy.switches == Switches(True, 0.5)
    assert [each.uses for each in copy.entries] == [0, 1, 0]
    assert torch.equal(copy.dictionary.vectors, own().vectors)
    assert copy.interventions["perfit"].tensors["a"].tolist() == [1, 1]
    assert copy.waiting == {"i1": {"request": "x"}}
    assert [event.event for event in copy.events] == ["built", "switched", "added"]
    assert [event.event for event in store.audit("ann")][-1] == "copied"
    plain = json.loads(json.dumps(copy.to_dict(), allow_nan=False))
    assert plain["vectors"] == own().vectors.tolist() and plain["points"] == [[17, "mid"]]
    assert plain["interventions"]["perfit"] == {"meta": {"rank": 2}, "tensors": {"a": [1, 1]}}
    assert datetime.fromisoformat(plain["events"][0]["at"]) == copy.events[0].at


def test_a_user_without_a_dictionary_has_a_copy_too(store: SteeringStore) -> None:
    store.put(own("bob"))
    with pytest.raises(UnknownUser):
        store.copy_of("ann")
    store.switch("ann", enabled=False)
    copy = store.copy_of("ann")
    assert copy.dictionary is None and copy.entries == [] and not copy.switches.enabled
    assert "vectors" not in copy.to_dict()
