import random
import re

import pytest

from trimtab.envs.importing.cleaning import words_of
from trimtab.envs.importing.requests import (
    InferredManner,
    recommend_request,
    review_request,
    search_request,
)
from trimtab.envs.shop.records import Product, Purchase, Review

PLAIN = InferredManner("Medium", "", "", lower_case=False, excited=False)
TITLES = [
    ("Logitech K380 Multi-Device Bluetooth Keyboard – Windows, Mac", "Logitech"),
    ("Lamp", None),
    ("Lamp", "Lamp"),
    ("Gift Card", None),
    ("Starbucks Gift Card", "Starbucks"),
    ("A Gift Card", "Gift Card"),
    ("12oz Insulated Tumbler with Lid, Vacuum Cup for Coffee", "Yeti"),
    ("Some Socks, Wool If Possible", None),
    ("64GB 128GB", "SanDisk"),
    ("Something in Lamps", None),
    ("日本茶", None),
    ("!!!", None),
]


def product(title, store=None, category="Lamps", **more):
    return Product(
        parent_asin="B00TARGET0", title=title, store=store, main_category=category, **more
    )


@pytest.mark.parametrize(("title", "store"), TITLES)
@pytest.mark.parametrize("category", ["Lamps", "Lamp", None])
def test_a_search_never_has_the_title_as_it_stands(title, store, category):
    wanted = product(title, store, category, price=19.99, average_rating=4.7)
    said = {search_request(wanted, PLAIN, (), random.Random(seed)) for seed in range(40)}
    own = words_of(title)
    for text in said:
        assert not own or f" {' '.join(own)} " not in f" {' '.join(words_of(text))} "
        assert "B00TARGET0" not in text
        assert "4.7" not in text


def test_a_search_names_the_kind_and_a_word_more():
    wanted = product("Logitech K380 Multi-Device Bluetooth Keyboard – Windows, Mac", "Logitech")
    said = [search_request(wanted, PLAIN, (), random.Random(seed)) for seed in range(40)]
    assert all("a bluetooth keyboard" in text for text in said)
    details = {re.search(r", (\S+) if possible", text).group(1) for text in said}
    assert details == {"multi-device", "windows", "mac"}
    assert 5 < sum("from Logitech" in text for text in said) < 35


def test_a_brand_is_named_where_nothing_else_tells_and_never_if_it_was_bought():
    wanted = product("Starbucks Gift Card", "Starbucks", "Gift Cards")
    for seed in range(20):
        assert "from Starbucks" in search_request(wanted, PLAIN, (), random.Random(seed))
        known = search_request(wanted, PLAIN, {"Starbucks"}, random.Random(seed))
        assert "starbucks" not in known.lower()


@pytest.mark.parametrize(("price", "limit"), [(4.99, 5), (5, 10), (19.99, 20), (120, 150)])
def test_a_limit_is_round_and_above_the_price(price, limit):
    wanted = product("Desk Lamp (Oak)", price=price)
    said = [search_request(wanted, PLAIN, (), random.Random(seed)) for seed in range(20)]
    limits = {found for text in said for found in re.findall(r"under \$(\d+)", text)}
    assert limits == {str(limit)}


def test_a_recommendation_names_no_more_than_the_category():
    wanted = product("Brass Desk Lamp (Oak)", "Glow", "Lighting")
    for seed in range(20):
        said = set(words_of(recommend_request(wanted, PLAIN, random.Random(seed))))
        assert not said & {"brass", "desk", "lamp", "oak", "glow"}


@pytest.mark.parametrize(
    ("rating", "verdicts"),
    [
        (1, {"I regret buying it", "it was a disappointment"}),
        (3, {"it is all right", "it is so-so"}),
        (5, {"I love it", "I am very happy with it"}),
    ],
)
def test_a_review_names_the_product_and_how_it_was_liked(rating, verdicts):
    bought = Purchase(
        product_info=product("Brass Desk Lamp " * 10),
        review=Review(rating=rating, text="secret words", timestamp=1),
    )
    told = set()
    for seed in range(20):
        text = review_request(bought, PLAIN, random.Random(seed))
        assert "the Brass Desk Lamp Brass" in text
        assert "secret" not in text
        assert len(text) < 180
        told |= {verdict for verdict in verdicts if verdict in text}
    assert told == verdicts


def bought(*texts):
    return [
        Purchase(product_info=product("Lamp"), review=Review(rating=5, text=text, timestamp=number))
        for number, text in enumerate(texts)
    ]


def test_a_manner_is_how_the_reviews_are_written():
    loud = InferredManner.of(bought("Great!", "Love it!", "Fine"), random.Random(0))
    assert (loud.wordiness, loud.excited, loud.lower_case) == ("Low", True, False)
    quiet = InferredManner.of(bought("so " * 60 + "it goes", "and on " * 40), random.Random(0))
    assert (quiet.wordiness, quiet.excited, quiet.lower_case) == ("High", False, True)
    assert loud.say("find it").endswith("!")
    assert InferredManner("Low", "hi", "thanks", True, True).say("find it") == "hi, find it, thanks"
