"""Does steering still work: on the real default model, and all the way through the harness."""

import math

import pytest
import torch

from trimtab.eval.methods.registry import parse_methods
from trimtab.eval.runner import evaluate
from trimtab.eval.shop.plan import shop_methods
from trimtab.eval.shop.task import ShopTask


@pytest.mark.model
def test_own_vectors_make_the_right_tool_likelier_in_twelve_ambiguous_requests(default_model_path):
    """What an idiom means only the user's past tells; nothing is generated."""
    from trimtab.agent.shop.pairs import response_pairs
    from trimtab.agent.shop.settings import TOOL_CHOICE
    from trimtab.envs.shop.environment import ShopEnvironment
    from trimtab.envs.worlds.bazaar import generate_bazaar
    from trimtab.steering import SteeredModel, build_dictionaries
    from trimtab.steering.dictionaries.tuning import Tuner

    shop = ShopEnvironment(generate_bazaar(users=2, products=200, ambiguous=1.0, habit=1.0))
    model = SteeredModel.from_pretrained(default_model_path)
    chosen = {
        user: [t for t in shop.world.train if t.user_id == user and t.type != "review"][-13:]
        for user in shop.world.users
    }
    late = {task.id for own in chosen.values() for task in own[-6:]}
    assert len(late) == 12
    pairs = response_pairs(model, shop, [task for own in chosen.values() for task in own])
    build, held_back = (
        {u: [p for p in own if (p.sample_id in late) == wanted] for u, own in pairs.items()}
        for wanted in (False, True)
    )
    layers, sites = TOOL_CHOICE.layers(model), TOOL_CHOICE.sites
    dictionaries = build_dictionaries(model, build, layers=layers, sites=sites)
    tuner = Tuner(model, dictionaries, held_back, by="margin")
    unsteered, steered = tuner.try_settings(None), tuner.try_settings(TOOL_CHOICE)
    # 11 of 12 right tools against 5 of 12 when this was written.
    assert steered.accuracy > unsteered.accuracy + 0.25


def test_a_vector_that_is_added_is_seen_in_the_logits_of_a_whole_run(folders, tmp_path):
    """From a method's name to the model's first logits; at strength 0 all bits are the same."""
    from trimtab.eval.shop.opening import open_shop
    from trimtab.steering import SteeredModel

    shop = open_shop(str(folders / "world"))
    model = SteeredModel.from_pretrained(str(folders / "model"), dtype=torch.float32)
    tasks = shop.world.test[:2]
    seen = []

    def played(methods):
        seen.clear()
        task = ShopTask(model, shop, tasks, cache=folders / "home", max_live=2)
        named = parse_methods(methods, shop_methods("fints")[0].method.settings)
        run = evaluate(task, named, tmp_path / methods.replace("/", "-"))
        assert not any(record.error for record in run.records)
        return torch.cat(seen)[: len(tasks)]

    evaluate_once = ShopTask(model, shop, tasks, cache=folders / "home")
    evaluate_once.prepare(shop_methods()).entries(shop_methods("fints")[0].method, ["response"])
    head = model.hf.lm_head.register_forward_hook(
        lambda module, given, logits: seen.append(
            logits.detach().reshape(-1, logits.shape[-1]).clone()
        )
    )
    try:
        plain = played("zero-shot")
        still = played("fints(strength=0)")
        steered = played("fints(strength=6)")
        population = played("fints-population")
    finally:
        head.remove()
    assert torch.equal(plain, still)
    assert not torch.isclose(plain, steered).all(dim=1).any()
    assert not torch.isclose(plain, population).all(dim=1).any()
    assert math.isfinite(float(steered.sum()))
