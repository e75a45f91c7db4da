"""Interactions wait in the store until they are learned from: once, and never after forgetting."""

import sys
import time
from typing import Any

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.store.access import UnknownUser
from trimtab.steering.store.interactions import Waiting
from trimtab.steering.store.outcomes import Counted
from trimtab.steering.store.schema import COUNTED
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of


def built(user_id: str, *sample_ids: str, size: int = 8) -> SteeringDictionary:
    """What a server would build of these interactions."""
    return SteeringDictionary(
        user_id=user_id,
        fingerprint="f" * 16,
        points=points_of([17], ["mid"]),
        encoder_name="e",
        entries=[Entry(each, f"key of {each}", "answer", "response", 7) for each in sample_ids],
        keys=torch.ones(len(sample_ids), 4),
        vectors=torch.ones(len(sample_ids), 1, size),
    )


def samples(store: SteeringStore, user_id: str = "ann") -> list[str]:
    own = store.get(user_id)
    return [] if own is None else [entry.sample_id for entry in own.entries]


def waiting(store: SteeringStore) -> list[str]:
    return [each.interaction_id for each in store.interactions.waiting()]


def test_wait_in_order_with_what_they_were(store: SteeringStore) -> None:
    assert store.interactions.waiting() == []
    first: dict[str, Any] = {"request": "ä lamp", "chosen": ["a", 1], "rejected": None}
    assert store.interactions.keep("ann", "i1", first)
    assert store.interactions.keep("bob", "i1", {"request": "b"})
    assert store.interactions.keep("ann", "i2", {})
    elsewhere = SteeringStore(store.uri)
    assert elsewhere.interactions.waiting() == [
        Waiting("ann", "i1", first),
        Waiting("bob", "i1", {"request": "b"}),
        Waiting("ann", "i2", {}),
    ]
    assert len(elsewhere.interactions.waiting(limit=2)) == 2


def test_the_same_id_twice_is_once(store: SteeringStore) -> None:
    keep = store.interactions.keep
    assert keep("ann", "i1", {"n": 1}) and not keep("ann", "i1", {"n": 2})
    assert [each.content for each in store.interactions.waiting()] == [{"n": 1}]
    assert store.interactions.learned(built("ann", "i1"), ["i1"]) == 1
    assert waiting(store) == [] and samples(store) == ["i1"]
    assert not keep("ann", "i1", {"n": 3}) and waiting(store) == []
    store.drop("ann", ["i1"])
    assert keep("ann", "i1", {"n": 4})


def test_are_learned_from_once_by_whoever_is_first(store: SteeringStore) -> None:
    other = SteeringStore(store.uri)
    for each in ("i1", "i2", "i3"):
        store.interactions.keep("ann", each, {})
    assert other.interactions.learned(built("ann", "i2"), ["i2"]) == 1
    assert store.interactions.learned(built("ann", "i1", "i2"), ["i1", "i2"]) == 1
    assert samples(store) == samples(other) == ["i2", "i1"] and waiting(store) == ["i3"]
    assert store.population().kinds["response"].count == 2
    events = [(e.event, e.count) for e in store.audit("ann") if e.event != "read"]
    assert events == [("added", 1), ("added", 1)]


def test_what_was_dropped_or_forgotten_meanwhile_does_not_come_back(store: SteeringStore) -> None:
    store.put(built("zoe", "z1"), built("ann", "i0"))
    for user_id, each in (("ann", "i1"), ("ann", "i2"), ("bob", "i1")):
        store.interactions.keep(user_id, each, {})
    store.drop("ann", ["i1"])
    assert waiting(store) == ["i2", "i1"]
    store.forget("bob")
    assert store.interactions.learned(built("ann", "i1", "i2"), ["i1", "i2"]) == 1
    assert store.interactions.learned(built("bob", "i1"), ["i1"]) == 0
    assert samples(store) == ["i0", "i2"] and store.users() == ["ann", "zoe"]
    assert store.user("bob") is None and waiting(store) == []


def test_what_nothing_comes_of_leaves_nothing(store: SteeringStore) -> None:
    for each in ("i1", "i2"):
        store.interactions.keep("ann", each, {})
    assert store.interactions.learned(built("ann"), ["i1"]) == 0
    assert waiting(store) == ["i2"]
    assert store.interactions.give_up("ann", ["i2", "i3"]) == 1
    assert waiting(store) == [] and store.user("ann") is None
    assert store.interactions.give_up("ann", ["i2"]) == 0
    store.switch("bob", enabled=False)
    store.interactions.keep("bob", "i1", {})
    store.interactions.give_up("bob", ["i1"])
    assert not store.user("bob").switches.enabled


def test_what_came_of_a_users_answers_outlives_what_nothing_comes_of(store: SteeringStore) -> None:
    counts = dict.fromkeys(COUNTED, 1)
    store.outcomes.add([Counted("ann", "held out", sys.maxsize, counts)])
    store.interactions.keep("ann", "i1", {})
    store.interactions.give_up("ann", ["i1"])
    assert store.outcomes.all() == [("held out", counts)]
    store.forget("ann")
    assert store.outcomes.all() == []


def test_what_was_said_before_a_user_was_forgotten_is_not_kept(store: SteeringStore) -> None:
    before = time.time_ns() // 1_000_000
    store.interactions.keep("ann", "i1", {}, since=before)
    store.forget("ann")
    with pytest.raises(UnknownUser, match="forgotten"):
        store.interactions.keep("ann", "i2", {}, since=before)
    assert store.user("ann") is None
    assert store.interactions.keep("ann", "i2", {}, since=sys.maxsize)


def test_survive_a_change_of_the_users_secret(store: SteeringStore) -> None:
    store.put(built("ann", "i0", "i1"))
    store.interactions.keep("ann", "i2", {"n": 2})
    store.drop("ann", ["i0"])
    assert store.interactions.waiting() == [Waiting("ann", "i2", {"n": 2})]
    assert not store.interactions.keep("ann", "i2", {})
    assert store.interactions.learned(built("ann", "i2"), ["i2"]) == 1


def test_entries_that_do_not_fit_leave_them_waiting(store: SteeringStore) -> None:
    store.put(built("ann", "i0"))
    store.interactions.keep("ann", "i1", {})
    with pytest.raises(TrimtabError, match="hidden size is 5"):
        store.interactions.learned(built("ann", "i1", size=5), ["i1"])
    assert waiting(store) == ["i1"] and samples(store) == ["i0"]


@pytest.mark.parametrize(
    ("interaction_id", "content", "said"),
    [
        ("", {}, "expected an id for the interaction, got ''"),
        (7, {}, "expected an id for the interaction, got 7"),
        ("i1", {"x": {1}}, "'i1': expected plain JSON values"),
        ("i1", {"x": float("inf")}, "'i1': expected plain JSON values"),
        ("i1", {"x": "\ud800"}, "'i1': expected plain JSON values"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    store: SteeringStore, interaction_id: Any, content: Any, said: str
) -> None:
    with pytest.raises(TrimtabError, match=said):
        store.interactions.keep("ann", interaction_id, content)
    assert store.user("ann") is None
