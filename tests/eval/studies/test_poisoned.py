"""A poisoned dictionary: how many entries are the attacker's, and what they point at."""

import pytest
import torch

from trimtab.envs.shop.environment import ShopEnvironment
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.errors import TrimtabError
from trimtab.eval.studies.poisoned import GUARDS, poison_pairs, poisoned, poisoned_study
from trimtab.eval.studies.tool_choices import NothingRecommended
from trimtab.steering import Point, SteeredModel, SteeringDictionary
from trimtab.steering.vectors.entries import Entry


@pytest.fixture(scope="module")
def model(word_model_folder):
    return SteeredModel.from_pretrained(str(word_model_folder), dtype="float32")


@pytest.fixture
def shop(tmp_path):
    world = generate_bazaar(users=2, products=100)
    return ShopEnvironment(world, tmp_path / "shop", recommender=NothingRecommended())


def dictionary(names):
    return SteeringDictionary(
        user_id="ann",
        fingerprint="f",
        points=(Point(2, "block"),),
        encoder_name="letters",
        entries=[Entry(name, name, "", "response", 1) for name in names],
        keys=torch.eye(len(names), 32),
        vectors=torch.ones(len(names), 1, 4),
    )


@pytest.mark.parametrize(
    ("share", "count"), [(0, 0), (0.001, 1), (0.05, 1), (0.1, 2), (0.2, 4), (0.9, 8)]
)
def test_so_many_of_the_entries_are_the_attackers(share, count):
    own, poison = dictionary([f"own {n}" for n in range(16)]), dictionary("abcdefgh")
    mixed = poisoned(own, poison, share, 4.0)
    assert len(mixed) == 16 + count
    assert mixed.entries[:16] == own.entries
    assert (mixed.vectors[16:] == 4).all() and (mixed.vectors[:16] == 1).all()
    assert mixed.user_id == "ann"
    # A larger share holds the entries of the smaller one.
    more = poisoned(own, poison, 0.5)
    assert set(e.sample_id for e in mixed.entries) <= set(e.sample_id for e in more.entries) or (
        count > 8
    )


def test_the_attackers_call_stands_in_the_place_of_the_right_one(shop):
    wanted = "add_product_review"
    pairs = poison_pairs(shop, wanted)
    tasks = {task.id: task for task in shop.world.train}
    assert set(pairs) == set(shop.world.users)
    for own in pairs.values():
        for pair in own:
            task = tasks[pair.sample_id.removeprefix("poison ")]
            assert task.type != "review" and pair.timestamp == task.timestamp
            assert wanted in pair.positive.answer and wanted not in pair.negative.answer
            assert pair.positive.messages == pair.negative.messages


def test_every_setting_is_asked_and_wrong_ones_refused(model, shop, tmp_path):
    kept = tmp_path / "kept"
    finding, _ = poisoned_study(model, shop, shares=(0.2,), folder=tmp_path / "a", prepared=kept)
    files = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert len(files) == len(shop.world.users)
    again, _ = poisoned_study(model, shop, shares=(0.2,), folder=tmp_path / "b", prepared=kept)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == files  # none built anew
    assert again == finding
    assert [row[:3] for row in finding.rows] == [
        (0.0, "", "unsteered"),
        *((0.0, "", guard) for guard in GUARDS),
        *((0.2, 1.0, guard) for guard in GUARDS),
        *((0.2, 4.0, guard) for guard in GUARDS),
    ]
    assert all(0 <= rate <= 1 for row in finding.rows for rate in (row[3], row[6]))
    with pytest.raises(TrimtabError, match="above 0 and below 1"):
        poisoned_study(model, shop, shares=(2,), folder=tmp_path)
    with pytest.raises(TrimtabError, match="no tool 'pay'"):
        poisoned_study(model, shop, wanted="pay", folder=tmp_path)
