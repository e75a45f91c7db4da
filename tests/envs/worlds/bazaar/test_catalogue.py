import re
from collections import Counter

import pytest

from trimtab.envs.worlds.bazaar import build_catalogue
from trimtab.envs.worlds.bazaar.catalogue import brands_of
from trimtab.envs.worlds.bazaar.shelves import SHELVES
from trimtab.errors import TrimtabError


@pytest.fixture(scope="module")
def catalogue():
    return build_catalogue(2000, seed=0)


def test_shelves_are_whole():
    names = {shelf.name for shelf in SHELVES}
    assert 20 <= len(names) == len(SHELVES) <= 25
    for shelf in SHELVES:
        assert len(shelf.features) == 8
        assert len(set(shelf.nouns)) == 5
        assert len(set(shelf.brands)) == 7
        assert set(shelf.near) <= names - {shelf.name}


def test_products_have_the_fields_of_a_shop(catalogue):
    asins = {item.product.parent_asin for item in catalogue.items}
    assert len(asins) == 2000
    assert all(re.fullmatch("B0[A-Z0-9]{8}", asin) for asin in asins)
    for item in catalogue.items:
        product = item.product
        assert item.brand in product.title
        assert item.noun.lower() in product.title.lower()
        assert product.store == item.brand
        assert product.price > 0
        assert len(product.features) == len(item.features) >= 3
        assert all(
            feature.upper() in bullet
            for feature, bullet in zip(item.features, product.features, strict=True)
        )


def test_dearer_brands_are_dearer(catalogue):
    prices = {0: [], 1: [], 2: []}
    for item in catalogue.items:
        prices[item.tier].append(item.product.price / SHELVES[item.shelf].price)
    means = [sum(prices[tier]) / len(prices[tier]) for tier in range(3)]
    assert means[0] < 0.7 < means[1] < 1.3 < means[2]


def test_popularity_has_a_long_tail(catalogue):
    for positions in catalogue.by_shelf:
        weights = sorted((catalogue.items[p].popularity for p in positions), reverse=True)
        assert sum(weights[:8]) > 0.4 * sum(weights)


def test_companions_are_other_things_mostly_of_the_same_brand(catalogue):
    same = []
    for position, item in enumerate(catalogue.items):
        assert len(set(item.companions) - {position}) == 3
        first, second, _ = (catalogue.items[companion] for companion in item.companions)
        assert first.shelf == second.shelf == item.shelf
        assert item.noun not in (first.noun, second.noun)
        same += [first.brand == item.brand, second.brand == item.brand]
    assert sum(same) / len(same) > 0.8


def test_brands_are_shared_by_some_shelves_and_fewer_on_small_ones():
    held = Counter(brand for shelf in SHELVES for brand in shelf.brands)
    assert sum(count > 1 for count in held.values()) > 20
    assert len(brands_of(0, 25)) == 3
    assert len(brands_of(0, 10_000)) == 7
    assert len(build_catalogue(200, seed=0).by_shelf) == 8


def test_too_few_products_are_refused():
    with pytest.raises(TrimtabError, match="at least 100 products; got 99"):
        build_catalogue(99, seed=0)
