"""What was read of a log, cleaned and kept on disk, so that memory does not grow with the log."""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..shop.records import Product, Purchase, Review
from .cleaning import (
    clean_details,
    clean_id,
    clean_number,
    clean_price,
    clean_text,
    clean_texts,
    clean_time,
    first_value,
    words_of,
)
from .layouts import Names

# Rows go in as they come, and what is there twice is found in one go by a sorted index: a million
# look-ups in a table that does not fit in memory take as many reads of the disk.
_ONCE = """
    CREATE INDEX by_user ON reviews (user, time, product);
    CREATE INDEX by_hash ON reviews (hash) WHERE hash IS NOT NULL;
"""
_TWICE = (
    (
        "reviews that are there twice (same user, product and time)",
        "DELETE FROM reviews WHERE rowid NOT IN "
        "(SELECT MIN(rowid) FROM reviews GROUP BY user, time, product)",
    ),
    (
        "copies of a review at another product (same user, time and words)",
        "DELETE FROM reviews WHERE hash IS NOT NULL AND rowid NOT IN "
        "(SELECT MIN(rowid) FROM reviews WHERE hash IS NOT NULL GROUP BY hash)",
    ),
)
# Fewer words than this can be the same by chance: "great", "nice gift".
_COPY_WORDS = 4
_TABLES = """
    CREATE TABLE products (id TEXT PRIMARY KEY, place INTEGER, hash BLOB, record TEXT);
    CREATE UNIQUE INDEX products_by_hash ON products (hash);
    CREATE TABLE reviews (
        user TEXT, product TEXT, time INTEGER, rating REAL, text TEXT, summary TEXT, hash BLOB
    );
"""


class UserCounts(NamedTuple):
    """A user's cleaned reviews: how many, and at how many different times."""

    user: str
    reviews: int
    times: int


class Staging:
    """Cleaned products and reviews of a log on disk, and what was dropped on the way.

    Products go in first, so that a product that is there twice under two ids is one.

    Attributes:
        read: How many records were read, by ``products`` and ``reviews``.
        dropped: How many of them were dropped, by reason.
        mended: How many values were dropped out of records that were kept, by reason.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.executescript(_TABLES)
        self.read: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self._same_as: dict[str, str] = {}
        self._known: set[str] = set()

    def add_product(self, record: Mapping[str, Any], names: Names) -> None:
        """Clean one product and keep it, unless it lacks something or is there already."""
        self.read["products"] += 1
        reason = self._stage_product(record, names)
        if reason:
            self.dropped[reason] += 1

    def _stage_product(self, record: Mapping[str, Any], names: Names) -> str | None:
        def raw(part: str) -> Any:
            return first_value(record, names.get(part, ()))

        product_id = clean_id(raw("product"))
        if product_id is None:
            return "products without an id"
        if product_id in self._known or product_id in self._same_as:
            return "products that are there twice (same id)"
        title = clean_text(raw("title"))
        if not title:
            return "products without a title, or with page code for one"
        price = clean_price(raw("price"))
        if price is None and raw("price") is not None:
            self.mended["prices that are none"] += 1
        categories = clean_texts(raw("categories"))
        rating_number = clean_number(raw("rating_number"))
        product = Product(
            parent_asin=product_id,
            title=title,
            main_category=clean_text(raw("category")) or next(iter(categories), None),
            average_rating=clean_number(raw("average_rating")),
            rating_number=None if rating_number is None else int(rating_number),
            price=price,
            store=clean_text(raw("store")) or None,
            features=clean_texts(raw("features")),
            description=clean_texts(raw("description")),
            details=clean_details(raw("details")),
            categories=categories,  # type: ignore[call-arg]  # extra fields are kept
        )
        text = product.model_dump_json(exclude={"parent_asin"})
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        row = (product_id, len(self._known), digest, product.model_dump_json())
        added = self._connection.execute("INSERT OR IGNORE INTO products VALUES (?, ?, ?, ?)", row)
        if not added.rowcount:
            [first] = self._connection.execute("SELECT id FROM products WHERE hash = ?", (digest,))
            self._same_as[product_id] = first[0]
            return "products that are there twice (same in all but the id)"
        self._known.add(product_id)
        return None

    def add_review(self, record: Mapping[str, Any], names: Names) -> None:
        """Clean one review and keep it, unless it lacks something or is there already.

        Where the names have a product's title, a product that is not known yet is taken from the
        review's own record.
        """
        self.read["reviews"] += 1
        reason = self._stage_review(record, names)
        if reason:
            self.dropped[reason] += 1

    def _stage_review(self, record: Mapping[str, Any], names: Names) -> str | None:
        def raw(part: str) -> Any:
            return first_value(record, names.get(part, ()))

        user, product = clean_id(raw("user")), clean_id(raw("product"))
        if user is None or product is None:
            return "reviews without a user or a product"
        rating, time = clean_number(raw("rating")), clean_time(raw("time"))
        if rating is None:
            return "reviews without a rating"
        if time is None:
            return "reviews without a time, or with one that cannot be read"
        product = self._same_as.get(product, product)
        if product not in self._known:
            if "title" not in names:
                return "reviews of products that the products' file lacks"
            reason = self._stage_product(record, names)
            product = self._same_as.get(product, product)
            if product not in self._known:
                return f"reviews of {reason}"
        text, summary = clean_text(raw("text")), clean_text(raw("summary"))
        written = words_of(text)
        digest = None
        if len(written) >= _COPY_WORDS:
            same = f"{user}\n{time}\n{' '.join(written)}".encode()
            digest = hashlib.blake2b(same, digest_size=16).digest()
        row = (user, product, time, rating, text, summary, digest)
        self._connection.execute("INSERT INTO reviews VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return None

    def settle(self) -> None:
        """Drop the reviews that are there twice, the later of them; to be done when all are in."""
        self._connection.executescript(_ONCE)
        for reason, statement in _TWICE:
            count = self._connection.execute(statement).rowcount
            if count:
                self.dropped[reason] += count

    def users(self) -> list[UserCounts]:
        """Every user's counts, in the order of their ids."""
        counted = self._connection.execute(
            "SELECT user, COUNT(*), COUNT(DISTINCT time) FROM reviews GROUP BY user ORDER BY user"
        )
        return [UserCounts(*row) for row in counted]

    def purchases(self, user: str) -> list[Purchase]:
        """A user's purchases, oldest first; those of one time in the order of their ids."""
        rows = self._connection.execute(
            "SELECT record, time, rating, text, summary FROM reviews JOIN products "
            "ON products.id = reviews.product WHERE user = ? ORDER BY time, product",
            (user,),
        )
        return [
            Purchase(
                product_info=Product.model_validate_json(record),
                review=_review(rating, text, time, summary),
            )
            for record, time, rating, text, summary in rows
        ]

    def products(self, ids: Iterable[str] | None = None) -> Iterator[Product]:
        """The products with these ids, or all, in the order in which they were added."""
        wanted = None if ids is None else set(ids)
        rows = self._connection.execute("SELECT id, record FROM products ORDER BY place")
        for product_id, record in rows:
            if wanted is None or product_id in wanted:
                yield Product.model_validate_json(record)

    def prices(self) -> dict[str, list[float]]:
        """All prices by main category, in rising order."""
        by_category: dict[str, list[float]] = {}
        for [record] in self._connection.execute("SELECT record FROM products"):
            product = json.loads(record)
            if product["price"] is not None:
                by_category.setdefault(product["main_category"] or "", []).append(product["price"])
        return {category: sorted(prices) for category, prices in by_category.items()}


def _review(rating: float, text: str, time: int, summary: str) -> Review:
    more: dict[str, Any] = {"title": summary} if summary else {}
    return Review(rating=rating, text=text, timestamp=time, **more)


@contextmanager
def staging(folder: Path) -> Iterator[Staging]:
    """A new staging area in a folder, which is left without it."""
    path = folder / "staging.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -64000"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("BEGIN")
        yield Staging(connection)
    path.unlink()
