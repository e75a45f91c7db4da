"""The products of the bazaar: a function of the seed and their number."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ....errors import TrimtabError
from ...shop.records import Product
from .items import CatalogueItem, with_companions
from .language import counted
from .shelves import SHELVES, Shelf

MINIMUM_PRODUCTS = 100
_PRODUCTS_PER_SHELF = 25
_PRODUCTS_PER_BRAND = 16
_MINIMUM_SHELVES = 4

_ASIN_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_COLOURS = (
    "Slate Blue",
    "Forest Green",
    "Charcoal",
    "Ivory",
    "Rust Red",
    "Sand",
    "Midnight Black",
    "Sage",
    "Mustard",
    "Plum",
    "Sky",
    "Terracotta",
)
_LINES = (
    "Ridgeline",
    "Aria",
    "Summit",
    "Nova",
    "Harbor",
    "Juniper",
    "Atlas",
    "Willow",
    "Comet",
    "Pioneer",
    "Haven",
    "Ember",
    "Cascade",
    "Lark",
    "Orbit",
    "Maple",
    "Vista",
    "Tundra",
    "Echo",
    "Solstice",
    "Anchor",
    "Breeze",
    "Cinder",
    "Delta",
    "Fable",
    "Grove",
    "Indigo",
    "Jasper",
    "Kestrel",
    "Lumen",
    "Mesa",
    "Nimbus",
    "Onyx",
    "Prairie",
    "Quartz",
    "River",
    "Sierra",
    "Thicket",
    "Union",
    "Vale",
)
_TIERS = ("budget", "mid-range", "premium")
_TIER_OF_BRAND = (0, 0, 1, 1, 1, 2, 2)
_PRICE_OF_TIER = (0.55, 1.0, 2.1)


@dataclass(frozen=True)
class Catalogue:
    """All items; ``by_shelf[i]`` are the positions of those of ``SHELVES[i]``."""

    items: tuple[CatalogueItem, ...]
    by_shelf: tuple[tuple[int, ...], ...]


def build_catalogue(products: int, seed: int) -> Catalogue:
    """Make the catalogue. Fewer than 600 products fill fewer shelves.

    Raises:
        TrimtabError: ``products`` is below 100.
    """
    if products < MINIMUM_PRODUCTS:
        raise TrimtabError(f"expected at least {MINIMUM_PRODUCTS} products; got {products}")
    rng = random.Random(f"bazaar/{seed}/{products}/catalogue")
    count = max(_MINIMUM_SHELVES, min(len(SHELVES), products // _PRODUCTS_PER_SHELF))
    asins = _asins(rng, products)
    items: list[CatalogueItem] = []
    by_shelf: list[tuple[int, ...]] = []
    for shelf in range(count):
        size = products // count + (shelf < products % count)
        ranks = rng.sample(range(size), size)
        first = len(items)
        for rank in ranks:
            # A long tail: of the purchases on a shelf of 80, the first 8 take about 40 %.
            popularity = (rank + 1.5) ** -1.2
            items.append(_item(rng, asins[len(items)], shelf, rank, size, popularity))
        by_shelf.append(tuple(range(first, len(items))))
    linked = tuple(with_companions(rng, items, by_shelf))
    return Catalogue(items=linked, by_shelf=tuple(by_shelf))


def brands_of(shelf: int, size: int) -> list[str]:
    """The brands, from cheap to dear, that share the ``size`` products of a shelf.

    There are three to seven, so that one who is loyal to a brand finds enough of it.
    """
    brands = SHELVES[shelf].brands
    count = min(len(brands), max(3, size // _PRODUCTS_PER_BRAND))
    return [brands[round(i * (len(brands) - 1) / (count - 1))] for i in range(count)]


def tier_of(shelf: int, brand: str) -> int:
    """The price tier of a brand on a shelf."""
    return _TIER_OF_BRAND[SHELVES[shelf].brands.index(brand)]


def _asins(rng: random.Random, count: int) -> list[str]:
    asins: dict[str, None] = {}
    while len(asins) < count:
        asins["B0" + "".join(rng.choices(_ASIN_LETTERS, k=8))] = None
    return list(asins)


def _item(
    rng: random.Random, asin: str, shelf_index: int, rank: int, size: int, popularity: float
) -> CatalogueItem:
    shelf = SHELVES[shelf_index]
    brand = rng.choice(brands_of(shelf_index, size))
    tier = tier_of(shelf_index, brand)
    noun = rng.choice(shelf.nouns)
    features = tuple(rng.sample(list(shelf.features), k=rng.choice((3, 3, 4))))
    material = rng.choice(shelf.materials)
    colour = rng.choice(_COLOURS)
    line = rng.choice(_LINES)
    price = max(3, round(shelf.price * _PRICE_OF_TIER[tier] * rng.uniform(0.75, 1.3))) - 0.01
    quality = min(4.9, max(3.2, rng.gauss(4.1 + 0.12 * tier, 0.3)))
    product = Product(
        parent_asin=asin,
        title=_title(rng, brand, line, noun, features, material, colour),
        main_category=shelf.department,
        average_rating=round(quality, 1),
        rating_number=round(6000 * popularity * rng.uniform(0.5, 1.5)) + 3,
        price=round(price, 2),
        store=brand,
        features=[_bullet(shelf, feature) for feature in features],
        description=_description(rng, shelf, brand, noun, material, tier),
        details={
            "Brand": brand,
            "Material": material.capitalize(),
            "Color": colour,
            "Category": shelf.name.capitalize(),
            "Best Sellers Rank": f"#{rank + 1} of {size} in {shelf.name.capitalize()}",
        },
    )
    return CatalogueItem(
        product, shelf_index, noun, brand, line, tier, features, material, popularity, quality
    )


def _title(
    rng: random.Random,
    brand: str,
    line: str,
    noun: str,
    features: Sequence[str],
    material: str,
    colour: str,
) -> str:
    first, second = (_heading(feature) for feature in features[:2])
    thing = _heading(noun)
    return rng.choice(
        (
            f"{brand} {line} {first} {thing}, {_heading(material)}, {colour}",
            f"{brand} {line} {thing} - {first}, {second}, {colour}",
            f"{brand} {thing} '{line}', {first} & {second}, {_heading(material)}",
            f"{brand} {line} {first} {second} {thing} ({colour})",
        )
    )


def _heading(words: str) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in words.split())


def _bullet(shelf: Shelf, feature: str) -> str:
    return f"{feature.upper()}: {shelf.features[feature]}."


def _description(
    rng: random.Random, shelf: Shelf, brand: str, noun: str, material: str, tier: int
) -> list[str]:
    use, other = rng.sample(shelf.uses, k=2)
    opening = rng.choice(
        (
            f"Made for {use}, and just as good for {other}.",
            f"{brand} had {use} in mind, and {other} too.",
            f"For {use}, for {other}, for every day between.",
        )
    )
    making = rng.choice(
        (
            f"The {material} is chosen to last.",
            f"In {material}, checked by hand before it leaves the workshop.",
            f"We use {material} because it ages well.",
        )
    )
    closing = (
        f"An honest {counted(noun)} at an honest price.",
        f"The sort of {noun} that you keep.",
        f"The {noun} for those who want the best that {brand} makes.",
    )[tier]
    return [f"{opening} {making}", closing]
