"""A demonstration's dictionaries: the same as an evaluation's, those asked for first."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch

from trimtab.envs.shop.environment import ShopEnvironment
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.eval.shop.dictionaries import shop_dictionaries
from trimtab.eval.studies.tool_choices import NothingRecommended
from trimtab.serve.opening import open_service
from trimtab.serve.page.building import Building
from trimtab.serve.page.episodes import Episodes
from trimtab.steering.dictionaries.settings import SteeringSettings

SETTINGS = SteeringSettings(sites=("block",), depths=(0.5,), strength=4.0)


@pytest.fixture
def shop(tmp_path: Any) -> ShopEnvironment:
    world = generate_bazaar(users=3, products=100)
    return ShopEnvironment(world, tmp_path / "shop", recommender=NothingRecommended())


@pytest.fixture
def service(shop_model: Any, tmp_path: Any, trimtab_home: Any) -> Iterator[Any]:
    opened = open_service(shop_model, tmp_path / "users.db", settings=SETTINGS, name="tiny")
    yield opened
    opened.close()


def until_ready(building: Building, user: str) -> None:
    for _ in range(6000):
        if building.want(user).ready:
            return
        time.sleep(0.01)
    raise AssertionError(f"the dictionary of {user} was not built")


def test_a_dictionary_is_what_an_evaluation_builds(service: Any, shop: Any, tmp_path: Any) -> None:
    first, second, _ = shop.world.users
    building = Building(service, shop, [first])
    until_ready(building, first)
    assert building.ready(first) and not building.ready(second)
    wanted = shop_dictionaries(service.model, shop, [first], SETTINGS, folder=tmp_path / "kept")
    found = service.store[first]
    assert [e.sample_id for e in found.entries] == [e.sample_id for e in wanted[first].entries]
    scale = wanted[first].vectors.abs().max()
    assert torch.allclose(found.vectors, wanted[first].vectors, atol=float(scale) * 2e-3)
    assert torch.allclose(found.keys, wanted[first].keys, atol=2e-3)
    building.close()
    # What is in the store is not built again, and what a person has forgotten does not come back.
    service.store.forget(first)
    assert building.want(first).ready
    assert first not in service.store


def test_who_is_asked_for_last_is_built_first(service: Any, shop: Any) -> None:
    one, two, three = shop.world.users
    with service.model.lock:
        building = Building(service, shop, [one, two])
        assert not building.want(three).ready
    while not building.ready(two):
        time.sleep(0.01)
    assert building.ready(one) and building.ready(three)
    building.close()


def test_the_page_is_told_how_far_a_dictionary_is(service: Any, shop: Any, serving: Any) -> None:
    building = Building(service, shop)
    episodes = Episodes(shop, service.model.encoder.similarity, building)
    user = shop.world.users[0]
    with serving(service, episodes=episodes) as url, httpx.Client(base_url=url) as http:
        listed = {one["id"]: one["ready"] for one in http.get("/page/about").json()["users"]}
        assert listed[user] is False
        state: dict[str, Any] = {"ready": False}
        while not state["ready"]:
            state = http.get(f"/page/users/{user}/building").json()
            assert 0 <= state["done"] <= state["of"]
        assert state["done"] == state["of"] > 0
        about = http.get("/page/about").json()["users"]
        assert about[0] == {**about[0], "id": user, "ready": True}
        # A user of whom nothing is known waits for nothing.
        assert http.get("/page/users/nobody/building").json()["ready"] is True
