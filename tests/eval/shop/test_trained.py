"""Trained methods in the shop: the right tool is learned, from earlier tasks alone."""

from dataclasses import replace

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.methods.registry import get_method, parse_methods
from trimtab.eval.runner import evaluate
from trimtab.eval.shop.task import ShopTask
from trimtab.steering import SteeredModel

HOW = "learning_rate=0.01,epochs=1,epochs_p=1,positions=12"


@pytest.fixture(scope="module")
def model(word_model_folder):
    return SteeredModel.from_pretrained(str(word_model_folder), dtype="float32", device="cpu")


@pytest.fixture
def task(model, letters, shop, tmp_path):
    model.encoder = letters
    return ShopTask(model, shop, shop.world.test[:3], cache=tmp_path / "cache")


def test_the_beginning_of_the_right_call_is_learned(task, shop) -> None:
    users = task.prepare(parse_methods("zero-shot"), None)
    found = users.exchanges()
    train = [t for t in shop.world.train if t.user_id == "ann"]
    own = found["ann"]
    assert [each.id for each in own] == [t.id for t in train]
    assert all(each.answer.endswith('"') and not each.whole and each.tools for each in own)
    assert "search_product_by_query" in own[0].answer
    method = get_method("perfit", {"positions": 12})
    people, learned, held = method.apart(users)  # type: ignore[attr-defined]
    assert "ann" in people
    assert all(2 not in example.answer for example in (*learned, *held))
    # A training task that is not over before the user's first test is not learned from.
    late = train[-1].model_copy(update={"timestamp": 99})
    others = [t for t in shop.world.train if t.id != late.id]
    shop.world = replace(shop.world, train=[*others, late])
    assert [each.id for each in users.exchanges()["ann"]] == [t.id for t in train[:-1]]
    for wrong in ({"data": "elsewhere"}, {"shown": 2}):
        with pytest.raises(TrimtabError, match="is for texts"):
            users.exchanges(**wrong)


def test_it_is_played(task, tmp_path) -> None:
    methods = parse_methods(f"zero-shot,perfit({HOW},rank_c=1,rank_p=1),lora-p(epochs_p=1,rank=1)")
    run = evaluate(task, methods, tmp_path / "run")
    assert len(run.records) == 9
    assert not [
        record.detail["traceback"] for record in run.records if "traceback" in record.detail
    ]
