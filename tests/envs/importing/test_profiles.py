import pytest

from trimtab.envs.importing.profiles import make_profile, price_sensitivity, shelf_of, variety
from trimtab.envs.shop.records import Product, Purchase, Review

PRICES = {"Lamps": [float(price) for price in range(1, 101)]}


def lamp(**more):
    return Product(**{"parent_asin": "B1", "title": "Lamp", "main_category": "Lamps", **more})


def bought(text="", rating=5, **more):
    return Purchase(product_info=lamp(**more), review=Review(rating=rating, text=text, timestamp=1))


def test_the_fields_are_the_benchmark_s():
    profile = make_profile([bought("The Glow lamp is of good quality!", store="Glow")], PRICES)
    assert profile == {
        "Gender": "Unknown",
        "Age": "Unknown",
        "Occupation": "Unknown",
        "Price Sensitivity": "Medium",
        "Shopping Interest": "Lamps",
        "Brand Preference": "Glow",
        "Diversity Preference": "High",
        "Interaction Complexity": "Low",
        "Tone and Style": "Enthusiastic, brief, lively",
        "Item Reference": "Names products and brands in reviews",
        "Focus Aspect": "Quality",
    }


@pytest.mark.parametrize(
    ("prices", "level"),
    [([10], "High"), ([50], "Medium"), ([90, 95], "Low"), ([5, 95], "Medium"), ([None], "Medium")],
)
def test_price_sensitivity_is_by_rank_in_the_category(prices, level):
    assert price_sensitivity([lamp(price=price) for price in prices], PRICES) == level


def test_a_price_without_others_to_rank_it_by_tells_nothing():
    assert price_sensitivity([lamp(price=1, main_category="Hats")], PRICES) == "Medium"


def test_the_narrowest_category_counts_and_sales_talk_does_not():
    path = ["Home", "Lighting", "No returns and no refunds on lamps"]
    assert shelf_of(lamp(categories=path)) == "Lighting"
    assert shelf_of(lamp()) == "Lamps"
    assert shelf_of(lamp(main_category=None)) == ""


@pytest.mark.parametrize(
    ("stores", "level"), [("aaaa", "Low"), ("aabb", "Medium"), ("abcd", "High"), ("abcdd", "High")]
)
def test_variety_is_the_share_of_different_shelves_and_brands(stores, level):
    assert variety([lamp(store=store) for store in stores]) == level


@pytest.mark.parametrize(
    ("rating", "tone"), [(1, "Critical"), (3, "Balanced"), (4, "Positive"), (5, "Enthusiastic")]
)
def test_tone_is_by_rating_and_by_length(rating, tone):
    profile = make_profile([bought("word " * 60, rating)], {})
    assert profile["Tone and Style"] == f"{tone}, detailed"
    assert profile["Interaction Complexity"] == "High"


def test_interests_and_focuses_come_by_count():
    history = [
        bought("cheap price", store="A"),
        bought("a price", store="B"),
        bought("easy", store="B"),
    ]
    profile = make_profile(history, {})
    assert profile["Brand Preference"] == "B, A"
    assert profile["Focus Aspect"].startswith("Price")
    assert set(profile["Focus Aspect"].split(", ")) == {"Price", "Quality", "Ease of use"}
