import json

import pytest
from pydantic import ValidationError

from trimtab.envs.shop.records import Product, Purchase, Review, ShoppingTask

PRODUCT = {"parent_asin": "B000000001", "title": "Mug"}
REVIEW = {"rating": 5.0, "text": "nice", "timestamp": 1_600_000_000_000}


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (None, None),
        ("None", None),
        ("", None),
        ("\u2014", None),
        (12.5, 12.5),
        (12, 12.0),
        ("12.5", 12.5),
        ("$1,299.00", 1299.0),
        ("from 9.99", 9.99),
        ("call us", None),
        (float("nan"), None),
        ({"was": 3}, None),
    ],
)
def test_price_is_a_number_or_none(price, expected):
    assert Product(**PRODUCT, price=price).price == expected


@pytest.mark.parametrize(
    ("features", "expected"),
    [(None, []), ([], []), ("one", ["one"]), (["a", None, 3], ["a", "3"]), ("None", [])],
)
def test_lists_may_be_odd(features, expected):
    product = Product(**PRODUCT, features=features, description=features)
    assert product.features == product.description == expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (None, {}),
        ({"Brand": "X"}, {"Brand": "X"}),
        ('{"Brand": "X"}', {"Brand": "X"}),
        ("two inches", {"details": "two inches"}),
        (["a"], {"details": ["a"]}),
    ],
)
def test_details_are_a_dict(details, expected):
    assert Product(**PRODUCT, details=details).details == expected


def test_what_may_be_missing_is():
    product = Product(**PRODUCT)
    assert (product.store, product.average_rating, product.rating_number) == (None, None, None)
    assert Product(**PRODUCT, rating_number="1,024", average_rating="4.5").rating_number == 1024


def test_extra_fields_are_kept_and_written():
    record = {"product_info": {**PRODUCT, "bought_together": None}, "review": {**REVIEW, "hi": 1}}
    purchase = Purchase.model_validate(record)
    written = json.loads(purchase.model_dump_json())
    assert written["product_info"]["bought_together"] is None
    assert written["review"]["hi"] == 1


def test_a_timestamp_is_kept_as_it_is():
    assert Review(**{**REVIEW, "timestamp": 1_600_000_000}).timestamp == 1_600_000_000
    purchase = Purchase(product_info=PRODUCT, review=REVIEW, timestamp=7)
    assert purchase.timestamp == 1_600_000_000_000


@pytest.mark.parametrize(
    ("model", "record"),
    [
        (Product, {"title": "Mug"}),
        (Product, {"parent_asin": "", "title": "Mug"}),
        (Product, {"parent_asin": "B000000001"}),
        (Review, {**REVIEW, "rating": "five"}),
        (Review, {**REVIEW, "rating": float("nan")}),
        (Review, {**REVIEW, "text": None}),
        (Review, {**REVIEW, "timestamp": None}),
        (Review, {**REVIEW, "timestamp": "yesterday"}),
        (Purchase, {"product_info": PRODUCT}),
        (
            ShoppingTask,
            {
                "user_id": "u",
                "task": "t",
                "type": "buy",
                "timestamp": 1,
                "target": {"product_info": PRODUCT, "review": REVIEW},
            },
        ),
    ],
)
def test_what_is_needed_is_required(model, record):
    with pytest.raises(ValidationError):
        model.model_validate(record)


def test_records_do_not_change():
    with pytest.raises(ValidationError):
        Product(**PRODUCT).title = "Cup"
