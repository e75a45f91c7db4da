"""Arms: which there are for which memory modes, and what steers whom under each."""

import pytest
import torch

from trimtab.agent.loop.memory import MODES
from trimtab.errors import TrimtabError
from trimtab.eval.shop.arms import ARMS, Arm, choose_arms, dictionaries_for


def test_the_usual_arms():
    assert (
        Arm("unsteered"),
        Arm("memory", memory="relevant"),
        Arm("steered", steering="own"),
        Arm("steered-other", steering="other"),
        Arm("steered-population", steering="population"),
    ) == ARMS


def test_every_memory_mode_is_an_arm_of_its_own():
    names = {arm.memory: arm.name for arm in choose_arms(list(MODES)) if arm.steering == "none"}
    assert names == {
        "none": "unsteered",
        "random": "memory-random",
        "last": "memory-last",
        "relevant": "memory",
        "full": "memory-full",
    }
    assert [arm.name for arm in choose_arms(["none"])] == [
        "unsteered",
        "steered",
        "steered-other",
        "steered-population",
    ]


def test_memory_and_steering_go_together_where_asked_for():
    both = [arm for arm in choose_arms(["last", "relevant"], both=True) if "+" in arm.name]
    assert both == [
        Arm("memory-last+steered", "last", "own"),
        Arm("memory+steered", "relevant", "own"),
    ]


@pytest.mark.parametrize("memory", [["all"], ["last", "last"]])
def test_what_is_no_mode_is_refused(memory):
    with pytest.raises(TrimtabError, match="none, random, last, relevant, full"):
        choose_arms(memory)


def test_each_arm_is_steered_by_whom_it_says(dictionaries):
    assert dictionaries_for(Arm("a"), dictionaries, 0) is None
    assert dictionaries_for(Arm("a", steering="own"), dictionaries, 0) is dictionaries
    borrowed = dictionaries_for(Arm("a", steering="other"), dictionaries, 0)
    assert set(borrowed) == set(dictionaries)
    assert all(found.user_id != user for user, found in borrowed.items())


def test_the_population_is_everybody_elses_mean(dictionaries):
    found = dictionaries_for(Arm("a", steering="population"), dictionaries, 0)
    for user, own in found.items():
        others = [d.vectors for name, d in dictionaries.items() if name != user]
        torch.testing.assert_close(own.vectors, torch.cat(others).mean(dim=0)[None])
        assert own.user_id == user and own.points == dictionaries[user].points
        steering = own.select(own.keys[0], before=0, strength=2.0)
        assert [picked.weight for picked in steering.picked] == [1.0]
