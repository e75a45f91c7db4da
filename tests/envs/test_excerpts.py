"""Files in the published formats, of our own making: read in any clone, without a download."""

import re
from pathlib import Path

import pytest
import torch

from trimtab.agent.calling.calls import call_grammar
from trimtab.envs.bfcl.cases import load_bfcl
from trimtab.envs.importing.importer import import_reviews
from trimtab.envs.shop.personalwab import load_world, save_world
from trimtab.envs.texts.lamp import LAMP, load_lamp
from trimtab.envs.texts.longlamp import load_longlamp
from trimtab.envs.texts.own_texts import load_own_texts
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.errors import TrimtabError
from trimtab.tools.shop.pretrained import PretrainedRecommender, PublishedFiles
from trimtab.tools.shop.sasrec import SASRec

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(("task", "samples"), [("headlines", 5), ("lamp-7", 5)])
def test_lamp(task, samples):
    users = load_lamp(DATA / "lamp", LAMP[task]).users
    assert len(users) == 10
    for user in users:
        assert (len(user.history), len(user.tests)) == (samples, 1)
        assert user.tests[0].input.startswith(LAMP[task].question)
        assert user.tests[0].output


def test_longlamp():
    data = load_longlamp(DATA / "longlamp")
    assert [user.id for user in data.users] == [f"writer-{n}" for n in range(10)]
    assert {len(user.history) for user in data.users} == {4}
    assert not data.about["left_out"]


def test_personalwab_profiles(tmp_path):
    save_world(generate_bazaar(users=2, products=100), tmp_path)
    (tmp_path / "user_profiles.json").write_bytes(
        (DATA / "personalwab" / "user_profiles.json").read_bytes()
    )
    world = load_world(tmp_path)
    assert len(world.profiles) == 10
    assert world.profile("AMADEUPUSER003")["Age"] == "28"


def test_personalwab_s_item_numbers(tmp_path):
    torch.manual_seed(0)
    torch.save(SASRec(10).state_dict(), tmp_path / "pwab.pth")
    index = DATA / "personalwab" / "1000_ids.json"
    recommender = PretrainedRecommender.load(PublishedFiles(tmp_path / "pwab.pth", index))
    assert sorted(recommender.numbers) == [f"B0MADEUP{n:02}" for n in range(10)]
    found = recommender.recommend(["B0MADEUP03"], k=5)
    assert len(set(found)) == 5 and set(found) < set(recommender.numbers)


def test_bfcl():
    read = load_bfcl(DATA / "bfcl")
    counts = {name: sum(c.category == name for c in read.cases) for name in read.categories}
    assert counts == {"multiple": 4, "simple_python": 6}
    assert not read.left_out
    for one in read.cases:
        call_grammar(one.tools.schemas(), parallel=True, or_text=True)


def test_amazon(tmp_path):
    amazon = DATA / "amazon"
    report = import_reviews(
        tmp_path / "gifts", [amazon / "Gift_Cards_5.json"], [amazon / "meta_Gift_Cards.json"]
    )
    assert report.read == {"products": 10, "reviews": 20}
    world = load_world(tmp_path / "gifts")
    assert len(world.users) == 2
    assert {product.price for product in world.products.values()} == {10.5 + n for n in range(10)}
    text = "".join(path.read_text() for path in (tmp_path / "gifts").iterdir())
    assert "Garden & Tool" in text and not re.search(r"<(?:br|b)|&amp;", text)


@pytest.mark.parametrize(
    ("file", "task"),
    [
        ("lamp/LaMP_4_dev_questions.json", "headlines"),
        ("lamp/LaMP_7_dev_questions.json", "lamp-7"),
        ("lamp/LaMP_7_dev_outputs.json", "lamp-7"),
        ("longlamp/test.jsonl", "abstracts"),
        ("bfcl/BFCL_v4_multiple.json", "bfcl"),
        ("bfcl/possible_answer/BFCL_v4_multiple.json", "bfcl"),
    ],
)
def test_a_benchmarks_file_is_recognised_where_own_texts_are_expected(file, task):
    with pytest.raises(TrimtabError, match=rf"; this looks like .*\b{task}\)$"):
        load_own_texts(DATA / file)
