"""Items of the bazaar's catalogue, and which of them go together."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...shop.records import Product
from .shelves import SHELVES

_COMPANIONS = 3
_SAME_BRAND = 40.0
_SAME_TIER = 3.0
_CANDIDATES = 200


@dataclass(frozen=True)
class CatalogueItem:
    """A product with what the bazaar knows of it.

    ``tier`` is 0 (budget) to 2 (premium); ``popularity`` is a weight among the items of its
    shelf; ``companions`` are the positions of the items that go with it, the best first.
    """

    product: Product
    shelf: int
    noun: str
    brand: str
    line: str
    tier: int
    features: tuple[str, ...]
    material: str
    popularity: float
    quality: float
    companions: tuple[int, ...] = ()

    @property
    def short_name(self) -> str:
        """What a buyer calls it."""
        return f"{self.brand} {self.line} {self.noun}"


def with_companions(
    rng: random.Random, items: Sequence[CatalogueItem], by_shelf: Sequence[Sequence[int]]
) -> list[CatalogueItem]:
    """The items, each with its companions: mostly popular ones of its brand and tier.

    All but the last are other kinds of thing from the item's own shelf, the last is from a shelf
    beside it where there is one. ``by_shelf[i]`` are the positions of the items of ``SHELVES[i]``.
    """
    index = {SHELVES[shelf].name: shelf for shelf in range(len(by_shelf))}
    beside = [
        [other for name in SHELVES[shelf].near if name in index for other in by_shelf[index[name]]]
        for shelf in range(len(by_shelf))
    ]
    other_kinds = {
        (shelf, noun): [other for other in by_shelf[shelf] if items[other].noun != noun]
        for shelf in range(len(by_shelf))
        for noun in SHELVES[shelf].nouns
    }
    linked = []
    for item in items:
        own = other_kinds[item.shelf, item.noun]
        companions: list[int] = []
        for place in range(_COMPANIONS):
            last = place == _COMPANIONS - 1
            candidates = (beside[item.shelf] or own) if last else own
            companions.append(_companion(rng, item, items, candidates, companions))
        linked.append(replace(item, companions=tuple(companions)))
    return linked


def _companion(
    rng: random.Random,
    item: CatalogueItem,
    items: Sequence[CatalogueItem],
    candidates: Sequence[int],
    taken: Sequence[int],
) -> int:
    # Of a large shelf only some are looked at, so that the time grows with the items alone.
    looked_at = (
        candidates if len(candidates) <= _CANDIDATES else rng.sample(candidates, _CANDIDATES)
    )
    left = [position for position in looked_at if position not in taken]
    weights = [
        items[position].popularity
        * (_SAME_BRAND if items[position].brand == item.brand else 1.0)
        * (_SAME_TIER if items[position].tier == item.tier else 1.0)
        for position in left
    ]
    return rng.choices(left, weights)[0]
