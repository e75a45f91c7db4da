import os
import subprocess
import sys
from collections import Counter

import pytest

from trimtab.envs.shop.world import World
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.errors import TrimtabError


@pytest.fixture
def make_world():
    def make(**parts):
        empty = {"products": {}, "histories": {}, "profiles": {}, "train": [], "test": []}
        return World(**{**empty, **parts})

    return make


def test_history_is_what_strictly_precedes_in_the_order_of_time(make_world, purchase):
    bought = [purchase("C", 30), purchase("A", 10), purchase("B", 20), purchase("D", 20)]
    world = make_world(histories={"ann": bought})
    assert [p.asin for p in world.history("ann", before=20)] == ["A"]
    assert [p.asin for p in world.history("ann", before=21)] == ["A", "B", "D"]
    assert world.history("ann", before=10) == []
    assert [p.asin for p in bought] == ["C", "A", "B", "D"]  # what came in is as it was


def test_what_is_handed_out_changes_nothing(make_world, purchase, task):
    world = make_world(histories={"ann": [purchase("A", 1)]}, train=[task("t", "ann", 1)])
    world.history("ann", before=9).clear()
    world.past_tasks("ann", before=9).clear()
    assert len(world.history("ann", before=9)) == len(world.past_tasks("ann", before=9)) == 1


def test_past_tasks_are_own_earlier_training_tasks_that_are_resolved(make_world, task):
    world = make_world(
        train=[
            task("late", "ann", 30),
            task("early", "ann", 10),
            task("same time", "ann", 20),
            task("other", "bob", 5),
            task("asked early, bought late", "ann", 11, target_time=25),
        ],
        test=[task("test", "ann", 1)],
    )
    assert [t.id for t in world.past_tasks("ann", before=20)] == ["early"]
    assert [t.id for t in world.past_tasks("ann", before=26)] == [
        "early",
        "same time",
        "asked early, bought late",
    ]


def test_nothing_of_a_test_task_is_visible_at_its_time(bazaar):
    for task in bazaar.test:
        seen = bazaar.history(task.user_id, before=task.timestamp)
        past = bazaar.past_tasks(task.user_id, before=task.timestamp)
        assert seen
        assert past
        assert task.target.asin not in {p.asin for p in seen}
        assert task.target.asin not in {t.target.asin for t in past}
        assert task.target.review.text not in {p.review.text for p in seen}
        assert max(p.timestamp for p in seen) < task.timestamp
        assert {t.id for t in past} <= {t.id for t in bazaar.train}


@pytest.mark.parametrize("method", ["history", "past_tasks"])
def test_an_unknown_user_is_told_the_nearest(make_world, purchase, method):
    world = make_world(histories={"annabel": [purchase("A", 1)], "bob": []}, name="corner")
    with pytest.raises(TrimtabError, match=r"no user 'anabel' in corner; the nearest is 'annabel'"):
        getattr(world, method)("anabel", before=5)
    with pytest.raises(TrimtabError, match="nearest is"):
        world.profile("zzz")
    with pytest.raises(TrimtabError, match="no users"):
        make_world().history("ann", before=1)


def test_users_with_one_thing_only_are_users(make_world, purchase, task):
    world = make_world(
        histories={"bought": [purchase("A", 1)]},
        profiles={"profiled": {"Age": "35-44"}},
        test=[task("t", "asked", 1)],
    )
    assert world.users == ["asked", "bought", "profiled"]
    assert world.history("profiled", before=9) == world.past_tasks("asked", before=9) == []
    assert world.profile("profiled") == {"Age": "35-44"}
    assert world.profile("asked") == {}


def test_tasks_that_cannot_be_told_apart_are_refused(make_world, task):
    with pytest.raises(TrimtabError, match="2 tasks have the id 'x'"):
        make_world(train=[task("x", "ann", 1)], test=[task("x", "bob", 1)])


def test_selected_tasks_are_spread_over_users_and_types(bazaar):
    chosen = bazaar.select_tasks("test", 12, seed=3)
    per_user = Counter(task.user_id for task in chosen)
    assert len(per_user) == 8
    assert max(per_user.values()) - min(per_user.values()) == 1
    assert set(Counter(task.type for task in chosen)) == {"search", "recommend", "review"}
    assert {task.id for task in chosen} <= {task.id for task in bazaar.test}
    assert len({task.id for task in chosen}) == 12


def test_selection_depends_on_the_seed_and_grows(bazaar):
    twelve = bazaar.select_tasks("test", 12, seed=3)
    assert bazaar.select_tasks("test", 20, seed=3)[:12] == twelve
    assert bazaar.select_tasks("test", 12, seed=4) != twelve
    everything = bazaar.select_tasks("test", None, seed=3)
    assert sorted(t.id for t in everything) == sorted(t.id for t in bazaar.test)


def test_selection_by_type(bazaar):
    chosen = bazaar.select_tasks("train", 9, seed=0, types=["review"])
    assert {task.type for task in chosen} == {"review"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test", "n": 0}, "expected between 1 and"),
        ({"split": "test", "n": 10_000}, "got 10000"),
        ({"split": "dev", "n": 1}, "got 'dev'"),
        ({"split": "test", "n": 1, "types": ["buy"]}, r"got \['buy'\]"),
        ({"split": "test", "n": 1, "types": []}, r"got \[\]"),
    ],
)
def test_a_selection_that_cannot_be_made_is_refused(bazaar, arguments, message):
    with pytest.raises(TrimtabError, match=message):
        bazaar.select_tasks(seed=0, **arguments)


def test_fingerprint_is_of_the_content(make_world, purchase, task):
    def world(**changes):
        parts = {
            "products": {"A": purchase("A", 0).product_info},
            "histories": {"ann": [purchase("A", 1)], "bob": []},
            "profiles": {"ann": {"Age": "35-44", "Gender": "Female"}},
            "train": [task("t", "ann", 3)],
            "name": "one",
        }
        return make_world(**{**parts, **changes})

    same = world(
        name="two",
        histories={"bob": [], "ann": [purchase("A", 1)]},
        profiles={"ann": {"Gender": "Female", "Age": "35-44"}},
    )
    assert same.fingerprint == world().fingerprint
    others = [
        world(products={"A": purchase("A", 0, price=3).product_info}),
        world(histories={"ann": [purchase("A", 2)], "bob": []}),
        world(histories={"ann": [purchase("A", 1, text="good")], "bob": []}),
        world(histories={"ann": [purchase("A", 1, store="X")], "bob": []}),
        world(profiles={}),
        world(train=[task("t", "ann", 3, kind="review")]),
        world(train=[], test=[task("t", "ann", 3)]),
    ]
    assert len({w.fingerprint for w in [world(), *others]}) == len(others) + 1


def test_the_same_seed_is_the_same_world_in_every_process(bazaar):
    code = (
        "from trimtab.envs.worlds.bazaar import generate_bazaar;"
        "print(generate_bazaar(users=8, products=200).fingerprint)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {bazaar.fingerprint}
    assert generate_bazaar(users=8, products=200, seed=1).fingerprint not in found
