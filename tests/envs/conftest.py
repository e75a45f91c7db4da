"""A test-size bazaar, the same written to a folder, and hand-made worlds."""

from pathlib import Path

import pytest

from trimtab.envs.shop.personalwab import save_world
from trimtab.envs.shop.records import Product, Purchase, Review, ShoppingTask
from trimtab.envs.shop.world import World
from trimtab.envs.worlds.bazaar import generate_bazaar


@pytest.fixture(scope="session")
def bazaar() -> World:
    return generate_bazaar(users=8, products=200)


@pytest.fixture
def folder(bazaar, tmp_path) -> Path:
    save_world(bazaar, tmp_path / "bazaar")
    return tmp_path / "bazaar"


@pytest.fixture
def purchase():
    def make(asin, time, text="fine", **product):
        return Purchase(
            product_info=Product(parent_asin=asin, title=f"The {asin}", **product),
            review=Review(rating=4, text=text, timestamp=time),
        )

    return make


@pytest.fixture
def task(purchase):
    def make(task_id, user, time, kind="search", asin="A", target_time=None):
        target = purchase(asin, time if target_time is None else target_time)
        return ShoppingTask(
            id=task_id,
            user_id=user,
            task=f"words of {task_id}",
            type=kind,
            timestamp=time,
            target=target,
        )

    return make
