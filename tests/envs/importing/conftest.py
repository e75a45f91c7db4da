"""A small log in the layouts of both Amazon releases, made here."""

import gzip
import json

import pytest

DAY = 86_400
WORDS = ["wool", "cotton", "linen", "silk", "velvet", "canvas"]
SHELVES = ["Scarves", "Hats"]


def product(number: int) -> dict:
    """A product as the log's own fields have it, whatever the release calls them."""
    return {
        "id": f"B{number:09d}",
        "title": f"Hill &amp; Dale {WORDS[number % 6].title()} {'Scarf' if number % 2 else 'Hat'} "
        f"(Pattern {number})",
        "shelf": SHELVES[1 - number % 2],
        "store": "Hill & Dale" if number % 3 else "Potluck",
        "price": f"${10 + number}.00",
        "about": f"<p>Made of {WORDS[number % 6]}.</p><script>var x = 1;</script>",
    }


def review(user: int, step: int) -> dict:
    return {
        "user": f"U{user:03d}",
        "product": f"B{(7 * user + 5 * step) % 60:09d}",
        "rating": 1 + (user + step) % 5,
        "text": f"Number {step} of user {user} is <b>rather</b> {WORDS[step % 6]}&#39;s best",
        "summary": "Nice",
        "time": 1_500_000_000 + (10 * step + user) * DAY,
    }


def as_2018(users=6, steps=10):
    reviews = [
        {
            "overall": float(r["rating"]),
            "reviewerID": r["user"],
            "asin": r["product"],
            "reviewText": r["text"],
            "summary": r["summary"],
            "unixReviewTime": r["time"],
        }
        for r in (review(u, s) for u in range(users) for s in range(steps))
    ]
    products = [
        {
            "asin": p["id"],
            "title": p["title"],
            "main_cat": "Clothing",
            "category": ["Clothing", p["shelf"]],
            "brand": p["store"],
            "price": p["price"],
            "feature": ["Warm", "Warm"],
            "description": [p["about"]],
            "details": {"\n Weight: \n": "3 ounces (", "ASIN: ": p["id"]},
            "also_buy": [],
        }
        for p in map(product, range(60))
    ]
    return reviews, products


def as_2023(users=6, steps=10):
    reviews = [
        {
            "rating": float(r["rating"]),
            "title": r["summary"],
            "text": r["text"],
            "asin": "variant",
            "parent_asin": r["product"],
            "user_id": r["user"],
            "timestamp": r["time"] * 1000,
        }
        for r in (review(u, s) for u in range(users) for s in range(steps))
    ]
    products = [
        {
            "main_category": "Clothing",
            "title": p["title"],
            "average_rating": 4.5,
            "rating_number": 12,
            "features": ["Warm"],
            "description": [p["about"]],
            "price": float(p["price"][1:]),
            "store": p["store"],
            "categories": ["Clothing", p["shelf"]],
            "details": {"Weight": "3 ounces"},
            "parent_asin": p["id"],
        }
        for p in map(product, range(60))
    ]
    return reviews, products


@pytest.fixture(params=[as_2018, as_2023], ids=["2018", "2023"])
def either(request):
    """Reviews and products in each of the layouts."""
    return request.param()


@pytest.fixture
def write(tmp_path):
    def write(name, records):
        path = tmp_path / name
        content = "\n".join(r if isinstance(r, str) else json.dumps(r) for r in records).encode()
        path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def log_2018():
    return as_2018()


@pytest.fixture
def log_2023():
    return as_2023()
