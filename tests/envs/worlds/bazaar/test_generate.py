import json
from collections import Counter
from itertools import pairwise

import pytest

from trimtab.envs.worlds.bazaar import build_catalogue, generate_bazaar, stream_users
from trimtab.envs.worlds.bazaar.requests import PLAIN
from trimtab.errors import TrimtabError


@pytest.fixture(scope="module")
def catalogue():
    return build_catalogue(600, seed=5)


@pytest.fixture(scope="module")
def users(catalogue):
    return list(stream_users(60, catalogue, seed=5))


def test_streaming_is_the_same_as_making_all_at_once(users):
    world = generate_bazaar(users=60, products=600, seed=5)
    for user in users:
        assert list(world.histories[user.user_id]) == user.history
        assert world.profiles[user.user_id] == user.profile
    assert world.train == [task for user in users for task in user.train]
    assert world.test == [task for user in users for task in user.test]


def test_a_user_depends_on_seed_and_number_alone(users, catalogue):
    [one] = stream_users(43, catalogue, seed=5, start=42)
    assert one == users[42]
    [far] = stream_users(1_000_000, catalogue, seed=5, start=999_999)
    assert far.user_id not in {user.user_id for user in users}
    [other] = stream_users(1, catalogue, seed=6)
    assert other.user_id != users[0].user_id


def test_tasks_are_of_all_types_and_tests_come_last(users):
    for user in users:
        assert 12 <= len(user.train) <= 16
        assert 6 <= len(user.test) <= 8
        assert 24 <= len(user.history) <= 40
        for tasks in (user.train, user.test):
            assert set(Counter(t.type for t in tasks)) == {"search", "recommend", "review"}
            assert all(one.timestamp < other.timestamp for one, other in pairwise(tasks))
        assert user.train[-1].timestamp < user.test[0].timestamp
        assert user.train[0].timestamp > user.history[4].timestamp
        assert all(1e12 < p.timestamp < 2e12 for p in user.history)
        bought = [p.asin for p in user.history]
        assert len(set(bought)) == len(bought)
        assert all(
            t.target in user.history and t.timestamp == t.target.timestamp for t in user.test
        )


def test_a_world_is_large_enough_for_its_users():
    world = generate_bazaar(users=5, products=100, seed=2)
    assert all(len(history) >= 24 for history in world.histories.values())


def test_the_share_of_ambiguous_requests_is_kept(catalogue):
    for share in (0.0, 0.3, 1.0):
        open_ended = [
            task.wording == "ambiguous"
            for user in stream_users(60, catalogue, ambiguous=share)
            for task in [*user.train, *user.test]
            if task.type != "review"
        ]
        assert sum(open_ended) / len(open_ended) == pytest.approx(share, abs=0.05)


def test_reviews_are_always_asked_for_plainly_and_name_the_product(users, catalogue):
    names = {item.product.parent_asin: item.short_name for item in catalogue.items}
    for task in (t for user in users for t in [*user.train, *user.test] if t.type == "review"):
        assert "review" in task.task.lower()
        assert task.wording == "plain"
        assert names[task.target.asin] in task.task


def test_every_habitual_idiom_is_met_in_training(catalogue):
    counts = Counter()
    for user in stream_users(40, catalogue, ambiguous=0.5, habit=1.0):
        words = {
            kind: " ".join(
                t.task.lower() for t in user.train if t.type == kind and t.wording != "plain"
            )
            for kind in ("search", "recommend")
        }
        for kind, idioms in (
            ("search", user.persona.search_idioms),
            ("recommend", user.persona.recommend_idioms),
        ):
            for idiom in idioms:
                counts[any(signature in words[kind] for signature in signatures(idiom))] += 1
    assert counts[False] <= 0.1 * counts[True]


def signatures(idiom):
    """The words of an idiom's variants around the thing."""
    from trimtab.envs.worlds.bazaar.idioms import IDIOMS

    return [
        max(part.strip(" ,:") for part in variant.lower().replace("{bare}", "{a}").split("{a}"))
        for variant in IDIOMS[idiom]
    ]


def test_idioms_mean_both_tools(catalogue):
    meanings = {}
    for user in stream_users(600, catalogue):
        for idiom in user.persona.search_idioms:
            meanings.setdefault(idiom, []).append(True)
        for idiom in user.persona.recommend_idioms:
            meanings.setdefault(idiom, []).append(False)
    assert 24 <= len(meanings) <= 40
    assert all(0.3 < sum(found) / len(found) < 0.7 for found in meanings.values())


def test_requests_name_no_brand_and_profiles_no_way_to_ask(users, catalogue):
    items = {item.product.parent_asin: item for item in catalogue.items}
    for user in users:
        for task in [*user.train, *user.test]:
            item = items[task.target.asin]
            if task.type != "review":
                assert item.brand not in task.task
            if task.wording == "ambiguous" or task.type == "search":
                assert item.noun.lower() in task.task.lower()
                assert any(feature.lower() in task.task.lower() for feature in item.features)
        told = json.dumps(user.profile).lower()
        ways = [way for ways in PLAIN.values() for way in ways]
        assert not any(way.split("{")[0] in told for way in ways)
        assert len(user.profile) == 11


def test_purchases_follow_tastes_and_each_other(users, catalogue):
    items = {item.product.parent_asin: item for item in catalogue.items}
    liked, followed, tiers = [], [], []
    for user in users:
        bought = [items[p.asin] for p in user.history]
        for item in bought:
            if item.shelf in user.persona.shelves:
                liked.append(item.brand in user.persona.brands[item.shelf])
                tiers.append(item.tier == user.persona.tier)
        followed += [
            next_item in [catalogue.items[position] for position in item.companions]
            for item, next_item in pairwise(bought)
        ]
    assert sum(liked) / len(liked) > 0.6
    assert sum(tiers) / len(tiers) > 0.5
    assert 0.35 < sum(followed) / len(followed) < 0.65


def test_reviews_are_in_the_users_voice(users):
    lengths = {}
    for user in users:
        texts = [p.review.text for p in user.history]
        phrases = [phrase.lower() for phrase in user.persona.pet_phrases]
        having = [any(phrase in text.lower() for phrase in phrases) for text in texts]
        assert sum(having) / len(having) > 0.25
        words = sum(len(text.split()) for text in texts) / len(texts)
        lengths.setdefault(user.persona.sentences, []).append(words)
        assert {p.review.rating for p in user.history} <= {1, 2, 3, 4, 5}
    means = [sum(lengths[n]) / len(lengths[n]) for n in (1, 6)]
    assert 2 * means[0] < means[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 0}, "at least 1 user; got 0"),
        ({"products": 5}, "at least 100 products; got 5"),
        ({"ambiguous": 1.5}, "ambiguous between 0 and 1; got 1.5"),
        ({"habit": -1}, "habit between 0 and 1; got -1"),
    ],
)
def test_sizes_out_of_range_are_refused(arguments, message):
    with pytest.raises(TrimtabError, match=message):
        generate_bazaar(**{"users": 2, "products": 100, **arguments})
