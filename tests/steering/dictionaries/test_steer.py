"""Whose vectors are added for whom, against sums written out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering import (
    Point,
    SteeringDictionary,
    SteeringSettings,
    SteeringStore,
    load_dictionaries,
    steer_by,
)
from trimtab.steering.dictionaries.derangement import derangement
from trimtab.steering.dictionaries.dictionary import Entry

MID, MLP, BLOCK = Point(2, "mid"), Point(2, "mlp"), Point(3, "block")
SETTINGS = SteeringSettings(sites=("mlp",), depths=(0.5,), contrast="response")
QUERY = torch.tensor([1.0, 0.0])


class Encoder:
    """Embeds every text alike, and counts how often it is asked."""

    name = "e"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Any) -> torch.Tensor:
        self.asked += texts
        return QUERY.repeat(len(texts), 1)


class Model:
    """What is needed of a model: four layers and an encoder."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    def layer_at(self, depth: float) -> int:
        return min(int(depth * 4), 3)


@pytest.fixture
def model() -> Model:
    return Model()


def made(user: str, *numbers: float, points: tuple[Point, ...] = (MLP,), **more: Any) -> Any:
    """A dictionary with an entry for each number, its vectors full of it."""
    kinds = more.pop("kinds", ["response"] * len(numbers))
    return SteeringDictionary(
        user_id=user,
        fingerprint="f",
        points=points,
        encoder_name=more.pop("encoder", "e"),
        entries=[
            Entry(f"{user}-{n}", "key", "answer", kind, more.get("timestamp", n))
            for n, kind in enumerate(kinds)
        ],
        keys=QUERY.repeat(len(numbers), 1),
        vectors=torch.tensor(numbers)[:, None, None].repeat(1, len(points), 3),
        keys_from=more.get("keys", "input"),
    )


def number(steering: Any, point: Point = MLP) -> float:
    """The number that a steering's vector is full of."""
    vector = steering.vectors.values[point]
    assert torch.equal(vector, vector[:1].expand(3))
    return float(vector[0])


@pytest.fixture
def three() -> dict[str, SteeringDictionary]:
    return {"ann": made("ann", 100.0), "bob": made("bob", 1.0), "cid": made("cid", 2.0)}


Arms = Callable[..., dict[str, float]]


@pytest.fixture
def arms(model: Model) -> Arms:
    """What steers ann under her own arm and the two controls."""

    def of(dictionaries: Any, settings: SteeringSettings) -> dict[str, float]:
        return {
            whose: number(steer_by(dictionaries, settings, whose, model=model)("ann", QUERY))  # type: ignore[arg-type]
            for whose in ("own", "other", "population")
        }

    return of


def test_in_one_part_each_arm_has_its_own_vectors(three: Any, arms: Arms) -> None:
    lent = {"bob": 1.0, "cid": 2.0}[derangement(three, 0)["ann"]]
    assert arms(three, SETTINGS) == {"own": 100.0, "other": lent, "population": 1.5}


def test_no_control_in_two_parts_holds_the_users_own(three: Any, arms: Arms) -> None:
    alone = replace(SETTINGS, collective=1.0)
    assert arms(three, alone) == {"own": 1.5, "other": 1.5, "population": 1.5}
    lent = {"bob": 1.0, "cid": 2.0}[derangement(three, 0)["ann"]]
    both = replace(SETTINGS, collective=2.0, personal=0.5)
    assert arms(three, both) == {
        "own": 2 * 1.5 + 0.5 * (100 - 1.5),
        "other": 2 * 1.5 + 0.5 * (lent - 1.5),
        "population": 2 * 1.5,
    }


def test_a_store_gives_what_a_mapping_gives(three: Any, arms: Arms, tmp_path: Path) -> None:
    store = SteeringStore(tmp_path / "store")
    store.put(*three.values())
    for settings in (SETTINGS, replace(SETTINGS, collective=2.0, personal=0.5)):
        assert arms(store, settings) == arms(three, settings)


def test_the_population_of_context_entries_steers(arms: Arms) -> None:
    kinds = ["context", "response"]
    users = {
        "ann": made("ann", 100.0, 200.0, kinds=kinds),
        "bob": made("bob", 1.0, 50.0, kinds=kinds),
        "cid": made("cid", 2.0, 60.0, kinds=kinds),
    }
    found = arms(users, replace(SETTINGS, contrast="context"))
    assert found["own"] == 100.0 and found["population"] == 1.5
    assert found["other"] in (1.0, 2.0)
    parts = arms(users, replace(SETTINGS, contrast="any", collective=1.0, personal=1.0))
    assert parts["own"] == 55 + 100 - 1.5
    assert parts["population"] == 55


def test_a_kind_that_nobody_has_is_refused(three: Any, model: Model) -> None:
    for whose in ("own", "other", "population"):
        with pytest.raises(TrimtabError, match="'context' contrast alone, and nobody has one"):
            steer_by(three, replace(SETTINGS, contrast="context"), whose, model=model)  # type: ignore[arg-type]


def test_only_the_settings_points_are_steered(model: Model) -> None:
    users = {"ann": made("ann", 3.0, points=(MID, MLP, BLOCK))}
    steering = steer_by(users, SETTINGS, model=model)("ann", QUERY)
    assert steering and steering.vectors.points == (MLP,)
    own = steer_by(users, model=model)("ann", QUERY)
    assert own and set(own.vectors.points) == {MID, MLP, BLOCK}
    with pytest.raises(TrimtabError, match=r"'ann' holds no vectors at \[\(2, 'attn'\)\]"):
        steer_by(users, replace(SETTINGS, sites=("attn",)), model=model)
    with pytest.raises(TrimtabError, match="pass model="):
        steer_by(users, SETTINGS)


def test_other_keys_and_encoders_are_refused(model: Model) -> None:
    with pytest.raises(TrimtabError, match="keys made of input.answer"):
        steer_by({"ann": made("ann", 1.0, keys="input+answer")}, SETTINGS, model=model)
    with pytest.raises(TrimtabError, match="load the model with the dictionary's encoder"):
        steer_by({"ann": made("ann", 1.0, encoder="x")}, SETTINGS, model=model)


def test_all_settings_reach_the_steering(three: Any, model: Model) -> None:
    settings = replace(SETTINGS, strength=3.0, positions=7, cap=0.5, max_norm=9.0)
    for whose in ("own", "other", "population"):
        steering = steer_by(three, settings, whose, model=model)("ann", QUERY)  # type: ignore[arg-type]
        assert steering is not None
        assert (steering.strength, steering.positions) == (3.0, 7)
        assert (steering.cap, steering.max_norm) == (0.5, 9.0)
        assert steering.fingerprint == "f"


def test_time_hides_the_users_own_entries_and_nobody_elses(model: Model) -> None:
    users = {name: made(name, 1.0, 5.0) for name in ("ann", "bob")}
    own = steer_by(users, SETTINGS, model=model)
    assert number(own("ann", QUERY, 1)) == 1.0
    assert own("ann", QUERY, 0) is None
    assert number(steer_by(users, SETTINGS, "other", model=model)("ann", QUERY, 0)) == 3.0


def test_who_has_nothing_is_not_steered(three: Any, model: Model) -> None:
    for whose in ("own", "other", "population"):
        assert steer_by(three, SETTINGS, whose, model=model)("zoe", QUERY) is None  # type: ignore[arg-type]


def test_a_number_is_the_user_of_that_name(model: Model) -> None:
    steer = steer_by({"7": made("7", 4.0)}, SETTINGS, model=model)
    assert number(steer(7, QUERY)) == 4.0  # type: ignore[arg-type]
    for wrong in (7.0, True, None, "", ["7"]):
        with pytest.raises(TrimtabError, match="text or a whole number"):
            steer(wrong, QUERY)  # type: ignore[arg-type]
    with pytest.raises(TrimtabError, match="got 7; use '7'"):
        steer_by({7: made("7", 4.0)}, SETTINGS, model=model)  # type: ignore[dict-item]


def test_a_control_needs_another_user(model: Model) -> None:
    one = {"ann": made("ann", 1.0)}
    with pytest.raises(TrimtabError, match="needs two users"):
        steer_by(one, SETTINGS, "other", model=model)
    with pytest.raises(TrimtabError, match="at least two users"):
        steer_by(one, SETTINGS, "population", model=model)
    with pytest.raises(TrimtabError, match="at least two users"):
        steer_by(one, replace(SETTINGS, collective=1.0), model=model)
    with pytest.raises(TrimtabError, match="expected whose own, other, population"):
        steer_by(one, SETTINGS, "mine", model=model)  # type: ignore[arg-type]


def test_a_text_is_embedded_once(three: Any, model: Model) -> None:
    steer = steer_by(three, SETTINGS, model=model)
    for _ in range(3):
        steer("ann", "a lamp")
        steer("bob", "a lamp")
    assert model.encoder.asked == ["a lamp"]


def test_the_others_sums_follow_what_changes(three: Any, model: Model) -> None:
    steer = steer_by(three, replace(SETTINGS, collective=1.0), model=model)
    assert number(steer("ann", QUERY)) == 1.5
    three["eve"] = made("eve", 6.0)
    assert number(steer("ann", QUERY)) == 3.0
    three["eve"].drop(["eve-0"])
    assert number(steer("ann", QUERY)) == 1.5
    del three["bob"]
    assert number(steer("ann", QUERY)) == 2.0


def test_who_comes_after_the_draw_is_not_a_control(three: Any, model: Model) -> None:
    steer = steer_by(three, SETTINGS, "other", model=model)
    three["eve"] = made("eve", 6.0)
    with pytest.raises(TrimtabError, match="came after"):
        steer("eve", QUERY)


class TestAUsersSwitches:
    """Of a store, since only a store keeps them; another process is another store object."""

    @pytest.fixture
    def store(self, three: Any, tmp_path: Path) -> SteeringStore:
        store = SteeringStore(tmp_path / "store.db")
        store.put(*three.values())
        return store

    @pytest.mark.parametrize("whose", ["own", "other", "population"])
    def test_who_is_off_is_not_steered(self, store: Any, model: Model, whose: Any) -> None:
        steer = steer_by(store, SETTINGS, whose, model=model)
        elsewhere = SteeringStore(store.uri)
        assert steer("ann", QUERY) is not None
        elsewhere.switch("ann", enabled=False)
        assert steer("ann", QUERY) is None and steer("ann", QUERY, strength=3.0) is None
        assert steer("bob", QUERY) is not None
        elsewhere.switch("ann", enabled=True)
        assert steer("ann", QUERY) is not None
        elsewhere.switch("ann", strength=0)
        assert steer("ann", QUERY) is None

    @pytest.mark.parametrize("whose", ["own", "other", "population"])
    def test_a_factor_multiplies_the_strength(self, store: Any, model: Model, whose: Any) -> None:
        steer = steer_by(store, replace(SETTINGS, strength=3.0, max_norm=9.0), whose, model=model)
        before = steer("ann", QUERY)
        SteeringStore(store.uri).switch("ann", strength=0.5)
        after, asked = steer("ann", QUERY), steer("ann", QUERY, strength=4.0)
        assert before and after and asked
        assert (before.strength, after.strength, asked.strength) == (3.0, 1.5, 2.0)
        assert after.max_norm == 9.0
        assert number(after) == number(before)
        assert steer("bob", QUERY).strength == 3.0

    def test_nothing_else_is_read_for_them(self, store: Any, model: Model) -> None:
        steer = steer_by(store, SETTINGS, model=model)
        steer("bob", QUERY)
        assert [(e.event, e.count) for e in store.audit("bob")].count(("read", 1)) == 1

    def test_who_is_only_switched_has_no_dictionary(self, store: Any, model: Model) -> None:
        store.switch("zoe", enabled=False)
        assert steer_by(store, SETTINGS, model=model)("zoe", QUERY) is None

    def test_a_description_tells_them_apart(self, store: Any, model: Model) -> None:
        steer = steer_by(store, SETTINGS, model=model)
        before = steer.description()
        store.switch("ann", strength=0.5)
        assert steer.description() != before
        assert steer.description(["bob"]) == steer_by(store, SETTINGS, model=model).description(
            ["bob"]
        )
        store.switch("ann", strength=1.0)
        assert steer.description() == before


class TestOneRequestsOptions:
    @pytest.fixture
    def steer(self, model: Model) -> Any:
        users = {"ann": made("ann", 1.0, 2.0, 6.0), "bob": made("bob", 8.0)}
        return steer_by(users, replace(SETTINGS, aggregate="mean"), model=model)

    def test_set_strength_and_k_and_leave_entries_out(self, steer: Any) -> None:
        assert number(steer("ann", QUERY)) == 3.0
        assert number(steer("ann", QUERY, without=["ann-0"])) == 4.0
        assert number(steer("ann", QUERY, 2, without=["ann-0"])) == 2.0
        assert len(steer("ann", QUERY, k=2).picked) == 2
        assert steer("ann", QUERY, strength=0.25).strength == 0.25
        assert steer("ann", QUERY, without=["ann-0", "ann-1", "ann-2"]) is None
        assert number(steer("ann", QUERY)) == 3.0 and steer("ann", QUERY).strength == 1.0

    def test_leave_the_lenders_entries_in(self, steer: Any) -> None:
        other = steer.control("other")
        assert number(other("bob", QUERY, without=["ann-0"])) == 3.0
        assert len(other("bob", QUERY, k=1).picked) == 1

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"strength": float("nan")}, "strength to be a finite number, got nan"),
            ({"strength": "2"}, "strength to be a finite number, got '2'"),
            ({"strength": True}, "strength to be a finite number, got True"),
            ({"k": 0}, "k to be a whole number of at least 1, got 0"),
            ({"k": 1.5}, "k to be a whole number of at least 1, got 1.5"),
            ({"without": "ann-0"}, "a list of the samples to leave out, got 'ann-0'"),
        ],
    )
    def test_out_of_range_are_refused(self, steer: Any, options: Any, said: str) -> None:
        with pytest.raises(TrimtabError, match=f"expected .*{said}"):
            steer("ann", QUERY, **options)


def test_a_description_tells_vectors_settings_and_whose_apart(three: Any, model: Model) -> None:
    steer = steer_by(three, SETTINGS, model=model)
    same = steer_by({user: own.replaced() for user, own in three.items()}, SETTINGS, model=model)
    assert steer.description() == same.description()
    others = [
        steer.control("other"),
        steer.control("population"),
        steer_by(three, replace(SETTINGS, strength=2.0), model=model),
        steer_by({**three, "cid": made("cid", 2.5)}, SETTINGS, model=model),
    ]
    found = [str(each.description()) for each in (steer, *others)]
    assert len(set(found)) == len(found)
    assert steer.description(["ann"])["dictionaries"]["number"] == 1


def test_a_digest_is_of_the_content(three: Any) -> None:
    own = three["ann"]
    assert own.digest == own.replaced().digest
    changed = [
        own.replaced(vectors=own.vectors * 1.001),
        own.replaced(keys=-own.keys),
        own.replaced(entries=[replace(own.entries[0], key="another")]),
        own.replaced(points=(MID,)),
        own.replaced(vectors=own.vectors.half()),
    ]
    assert len({own.digest, *(each.digest for each in changed)}) == 6


def test_a_file_with_another_users_dictionary_is_refused(three: Any, tmp_path: Path) -> None:
    three["ann"].save(tmp_path / "ann.safetensors")
    assert list(load_dictionaries(tmp_path, ["ann", "bob"])) == ["ann"]
    three["bob"].save(tmp_path / "ann.safetensors")
    with pytest.raises(TrimtabError, match="holds the dictionary of 'bob'"):
        load_dictionaries(tmp_path, ["ann"])
    with pytest.raises(TrimtabError, match=r"expected files like eve\.safetensors"):
        load_dictionaries(tmp_path, ["eve", "../ann"])
    with pytest.raises(TrimtabError, match="no folder"):
        load_dictionaries(tmp_path / "no", ["eve"])
