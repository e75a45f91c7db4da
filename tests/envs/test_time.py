"""Cheating against time: whatever the future holds, what an agent sees of its user is the same."""

import pytest

from trimtab.envs.shop.environment import ShopEnvironment, training_sequences
from trimtab.envs.shop.records import Review
from trimtab.envs.shop.reference import reference_call
from trimtab.envs.shop.request import request_text
from trimtab.envs.shop.world import World

SECRET = "the butler did it"


def betrayed(purchase, products):
    """Another product and another verdict at the same time."""
    other = next(p for p in products.values() if p.parent_asin != purchase.asin)
    told = other.model_copy(update={"title": f"{SECRET} {purchase.asin}"})
    review = Review(rating=1, text=SECRET, timestamp=purchase.timestamp)
    return purchase.model_copy(update={"product_info": told, "review": review})


def with_another_future(world, task):
    """The world with all that its user does from the task's time on rewritten."""
    user, now = task.user_id, task.timestamp
    histories = dict(world.histories)
    histories[user] = [
        p if p.timestamp < now else betrayed(p, world.products) for p in world.histories[user]
    ]
    train = [
        t
        if t.user_id != user or max(t.timestamp, t.target.timestamp) < now
        else t.model_copy(
            update={"task": SECRET, "type": "search", "target": betrayed(t.target, world.products)}
        )
        for t in world.train
    ]
    test = [
        t
        if t.user_id != user or t.id == task.id or t.timestamp < now
        else t.model_copy(update={"task": SECRET, "target": betrayed(t.target, world.products)})
        for t in world.test
    ]
    return World(world.products, histories, world.profiles, train, test, world.name)


class Nothing:
    def recommend(self, sequence, k=10):
        return []


def seen(world, task, folder):
    """All that the environment tells of a user at the time of a task."""
    shop = ShopEnvironment(world, folder, recommender=Nothing())
    user, now = task.user_id, task.timestamp
    past = world.past_tasks(user, now)
    return {
        "history": world.history(user, now),
        "recent": shop.recent_purchases(user, now, n=1000),
        "lines": shop.purchase_lines(user, now, n=1000),
        "past": [(request_text(t), reference_call(shop, t)) for t in past],
        "profile": world.profile(user),
    }


@pytest.mark.parametrize("place", [0, 11, -1])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_future_changes_nothing_that_is_seen(bazaar, tmp_path, split, place):
    task = bazaar.tasks(split)[place]
    other = with_another_future(bazaar, task)
    assert other.fingerprint != bazaar.fingerprint
    assert seen(other, task, tmp_path) == seen(bazaar, task, tmp_path)
    assert SECRET not in str(seen(other, task, tmp_path))


def test_the_cheat_shows_one_instant_later(bazaar, tmp_path):
    """The check above can fail: a cheat who looks a moment later is found out."""
    task = bazaar.test[0]
    cheat = task.model_copy(update={"timestamp": task.timestamp + 1})
    other = with_another_future(bazaar, task)
    assert SECRET in str(seen(other, cheat, tmp_path))


def test_the_target_is_in_the_history_but_not_in_the_past(bazaar):
    """As in PersonalWAB, a task's target is a purchase of the very time of the task."""
    for task in [*bazaar.train, *bazaar.test]:
        assert task.target.asin in {p.asin for p in bazaar.histories[task.user_id]}
        seen_asins = {p.asin for p in bazaar.history(task.user_id, task.timestamp)}
        assert task.target.asin not in seen_asins


def test_a_recommender_learns_nothing_of_the_time_of_test(bazaar):
    first = {t.user_id: t for t in sorted(bazaar.test, key=lambda t: -t.timestamp)}
    other = bazaar
    for task in first.values():
        other = with_another_future(other, task)
    assert training_sequences(other) == training_sequences(bazaar)
