"""Contrast pairs of shopping tasks, on a tiny model and on the real small one."""

import copy
from pathlib import Path

import pytest
import torch

from trimtab.agent import response_pairs, tool_choice_pairs
from trimtab.agent.calling.calls import call_head
from trimtab.agent.loop.memory import remembered_lines
from trimtab.agent.shop.pairs import context_pairs, task_prompt
from trimtab.agent.shop.past_requests import past_request, past_requests
from trimtab.envs import ShopEnvironment
from trimtab.envs.shop.records import ShoppingTask
from trimtab.envs.shop.request import request_text
from trimtab.envs.shop.scoring import right_tool
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.steering import ContrastPair, SteeredModel


class Nothing:
    """A recommender that no test here asks."""

    def recommend(self, sequence: list[str], k: int = 10) -> list[str]:
        raise AssertionError("asked")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> ShopEnvironment:
    world = generate_bazaar(users=4, products=100)
    return ShopEnvironment(world, tmp_path_factory.mktemp("shop"), recommender=Nothing())


def test_every_other_tool_is_set_against_the_right_one(shop: ShopEnvironment) -> None:
    tasks = shop.world.train[:6]
    found = tool_choice_pairs(shop, tasks)
    for task in tasks:
        own = [pair for pair in found[task.user_id] if pair.sample_id == task.id]
        assert {pair.positive.answer for pair in own} == {call_head(right_tool(task.type))}
        others = set(shop.toolkit.names) - {right_tool(task.type)}
        assert {pair.negative.answer for pair in own} == {call_head(name) for name in others}
        for pair in own:
            assert pair.positive.messages == pair.negative.messages
            assert task.task in pair.positive.messages[-1]["content"]
            assert (pair.request, pair.timestamp) == (request_text(task), task.timestamp)


def test_a_head_ends_with_the_name() -> None:
    assert call_head("search") == '<tool_call>\n{"name": "search"'


def likeliest_wrong_call(
    model: SteeredModel, shop: ShopEnvironment, pair: ContrastPair, right: str
) -> str:
    """By the bare model with its own cache: each prompt runs once, each call alone."""
    names = sorted(set(shop.toolkit.names) - {right})
    prompt = model.prompt_tokens(pair.positive.messages, pair.positive.tools)
    scores = []
    with torch.inference_mode():
        begun = model.hf(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
        for name in names:
            head = model.tokenizer(call_head(name), add_special_tokens=False).input_ids
            cache = copy.deepcopy(begun.past_key_values)
            rest = model.hf(torch.tensor([head]), past_key_values=cache).logits
            logs = torch.cat([begun.logits, rest], dim=1)[0].log_softmax(-1)
            scores.append(sum(float(logs[place, token]) for place, token in enumerate(head)))
    return call_head(names[scores.index(max(scores))])


def tasks_of_every_kind(shop: ShopEnvironment, of_each: int) -> list[ShoppingTask]:
    return [
        task
        for kind in ("search", "recommend", "review")
        for task in [task for task in shop.world.train if task.type == kind][::9][:of_each]
    ]


def test_the_rejected_tool_is_the_models_own_likeliest_wrong_one(
    shop: ShopEnvironment, tiny: SteeredModel
) -> None:
    tasks = tasks_of_every_kind(shop, 4)
    found = response_pairs(tiny, shop, tasks)
    for task in tasks:
        (pair,) = [pair for pair in found[task.user_id] if pair.sample_id == task.id]
        expected = likeliest_wrong_call(tiny, shop, pair, right_tool(task.type))
        assert pair.negative.answer == expected
    times = [[pair.timestamp for pair in own] for own in found.values()]
    assert times == [sorted(own) for own in times]


@pytest.mark.model
def test_so_it_is_of_the_real_small_model(shop: ShopEnvironment, smollm2_path: str | Path) -> None:
    model = SteeredModel.from_pretrained(str(smollm2_path), dtype=torch.float32, device="cpu")
    [task, *_] = tasks_of_every_kind(shop, 1)
    [pair] = response_pairs(model, shop, [task])[task.user_id]
    assert pair.negative.answer == likeliest_wrong_call(model, shop, pair, right_tool(task.type))


class Same:
    """A model whose encoder finds all texts equal, so that the latest are the nearest."""

    class encoder:
        @staticmethod
        def encode(texts: list[str]) -> torch.Tensor:
            return torch.ones(len(texts), 1)


def test_both_sides_of_a_context_pair_force_the_right_call(shop: ShopEnvironment) -> None:
    users = [u for u in shop.world.users if len(shop.world.past_tasks(u, 10**15)) > 4][:2]
    found = context_pairs(Same(), shop, users, k=2)  # type: ignore[arg-type]
    assert list(found) == users
    tasks = {task.id: task for task in shop.world.train}
    assert all(found.values())
    for user, own in found.items():
        assert [p.timestamp for p in own] == sorted(p.timestamp for p in own)
        for pair in own:
            task = tasks[pair.sample_id]
            assert task.user_id == user and pair.contrast == "context"
            assert pair.positive.answer == pair.negative.answer == call_head(right_tool(task.type))
            past = past_requests(shop, user, task.timestamp)
            positive = pair.positive.messages[-1]["content"]
            shown = [line for line in remembered_lines(past) if line in positive]
            assert 1 <= len(shown) <= 2
            foreign = [
                line
                for other in tasks.values()
                if other.user_id != user and other.target.timestamp < task.timestamp
                for line in remembered_lines([past_request(shop, other)])
                if line in pair.negative.messages[-1]["content"]
            ]
            assert len(set(foreign)) >= len(shown)
            plain = task_prompt(shop, task)
            assert positive != plain[-1]["content"]
            assert pair.positive.messages[0] == pair.negative.messages[0] == plain[0]


def test_one_users_context_pairs_do_not_depend_on_who_else_is_asked_for(
    shop: ShopEnvironment,
) -> None:
    users = shop.world.users
    alone = context_pairs(Same(), shop, users[:1])  # type: ignore[arg-type]
    assert alone[users[0]] == context_pairs(Same(), shop, users)[users[0]]  # type: ignore[arg-type]
