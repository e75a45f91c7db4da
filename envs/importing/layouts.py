"""Which field of a log says what: the Amazon layouts, and mappings by name."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import TrimtabError

REVIEW_FIELDS = ("user", "product", "rating", "time", "text", "summary")
PRODUCT_FIELDS = (
    "product",
    "title",
    "category",
    "categories",
    "store",
    "price",
    "features",
    "description",
    "details",
    "average_rating",
    "rating_number",
)
_NEEDED_OF_REVIEWS = ("user", "product", "rating", "time")
_NEEDED_OF_PRODUCTS = ("product", "title")

Names = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Layout:
    """The names that a log has for what trimtab needs; of several, the first that has a value.

    Attributes:
        name: Of the layout.
        reviews: Names in the reviews' file by `REVIEW_FIELDS`; product fields too where reviews
            carry them.
        products: Names in the products' file by `PRODUCT_FIELDS`.
    """

    name: str
    reviews: Names = field(default_factory=dict)
    products: Names = field(default_factory=dict)

    def fits(self, record: Collection[str], *, of_products: bool = False) -> bool:
        """Whether a record has what is needed under the names of this layout."""
        names = self.products if of_products else self.reviews
        needed = _NEEDED_OF_PRODUCTS if of_products else _NEEDED_OF_REVIEWS
        return all(any(name in record for name in names.get(part, ())) for part in needed)


AMAZON_2018 = Layout(
    "amazon-2018",
    reviews={
        "user": ("reviewerID",),
        "product": ("asin",),
        "rating": ("overall",),
        "time": ("unixReviewTime", "reviewTime"),
        "text": ("reviewText",),
        "summary": ("summary",),
    },
    products={
        "product": ("asin",),
        "title": ("title",),
        "category": ("main_cat",),
        "categories": ("category", "categories"),  # the latter in the release of 2014
        "store": ("brand",),
        "price": ("price",),
        "features": ("feature",),
        "description": ("description",),
        "details": ("details",),
    },
)
AMAZON_2023 = Layout(
    "amazon-2023",
    reviews={
        "user": ("user_id",),
        "product": ("parent_asin", "asin"),
        "rating": ("rating",),
        "time": ("timestamp", "sort_timestamp"),
        "text": ("text",),
        "summary": ("title",),
    },
    products={
        "product": ("parent_asin",),
        "title": ("title",),
        "category": ("main_category",),
        "categories": ("categories",),
        "store": ("store",),
        "price": ("price",),
        "features": ("features",),
        "description": ("description",),
        "details": ("details",),
        "average_rating": ("average_rating",),
        "rating_number": ("rating_number",),
    },
)
LAYOUTS = (AMAZON_2018, AMAZON_2023)


def find_layout(
    record: Mapping[str, Any],
    mapping: Mapping[str, str] | None = None,
    *,
    of_products: bool = False,
    source: str = "the log",
) -> Layout:
    """The layout of a file, from its first record and what the user says of it.

    Args:
        record: The first record (of CSV, by column).
        mapping: Names by field, which stand above those of a known layout.
        of_products: Whether it is a file of products.
        source: What to call the file.

    Raises:
        TrimtabError: The mapping names an unknown field or a name that the record lacks, or
            something that is needed has no name.
    """
    mapping = mapping or {}
    known_fields = PRODUCT_FIELDS if of_products else (*REVIEW_FIELDS, *PRODUCT_FIELDS)
    for part, name in mapping.items():
        if part not in known_fields:
            raise TrimtabError(
                f"expected a mapping of {', '.join(dict.fromkeys(known_fields))}; got {part!r}"
            )
        if name not in record:
            raise TrimtabError(
                f"{source}: no field {name!r}; its first record has {_shown(record)}"
            )
    base = next((known for known in LAYOUTS if known.fits(record, of_products=of_products)), None)
    names = dict((base.products if of_products else base.reviews) if base else {})
    names.update({part: (name,) for part, name in mapping.items()})
    side: dict[str, Any] = {"products" if of_products else "reviews": names}
    made = replace(base or Layout("mapped"), **side)
    if not made.fits(record, of_products=of_products):
        needed = _NEEDED_OF_PRODUCTS if of_products else _NEEDED_OF_REVIEWS
        unnamed = [part for part in needed if part not in names]
        option = "--product-map" if of_products else "--map"
        raise TrimtabError(
            f"{source}: of no known layout; its first record has {_shown(record)}; say which of "
            f"them is {', '.join(unnamed)}, such as {option} {unnamed[0]}=NAME"
        )
    return made


def read_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """``["user=customer_id"]`` as ``{"user": "customer_id"}``.

    Raises:
        TrimtabError: One is not ``FIELD=NAME``, or a field is given twice.
    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        part, equals, name = pair.partition("=")
        if not (part and equals and name):
            raise TrimtabError(
                f"expected a mapping FIELD=NAME, such as user=customer; got {pair!r}"
            )
        if part in mapping:
            raise TrimtabError(f"the field {part!r} is mapped twice; give it one name")
        mapping[part] = name
    return mapping


def _shown(record: Collection[str]) -> str:
    names = [repr(name) for name in record]
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
