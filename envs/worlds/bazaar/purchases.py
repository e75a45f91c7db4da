"""What a user of the bazaar buys, one thing after the other."""

import random
from collections.abc import Collection, Sequence

from .catalogue import Catalogue
from .items import CatalogueItem
from .personas import Persona

_TO_COMPANION = 0.55
_STAY = 0.2
_OTHER_BRAND = 0.4
_LOYALTY = 0.95
_COMPANION_WEIGHTS = (5.0, 3.0, 2.0)


def walk(
    rng: random.Random, persona: Persona, catalogue: Catalogue, length: int
) -> list[CatalogueItem]:
    """Buy ``length`` different things.

    The next thing is, nearly half of the time, a companion of the last; a fifth of the time
    another from the same shelf if the user shops there; else one from a shelf to the user's liking.
    Which companion, and which thing of a shelf, follows its popularity and the user's taste.
    """
    shelves = list(persona.shelves)
    liking = list(persona.shelves.values())
    bought: dict[int, None] = {}
    position: int | None = None
    while len(bought) < length:
        chance = rng.random()
        last = catalogue.items[position] if position is not None else None
        position = None
        if last and chance < _TO_COMPANION:
            position = _companion(rng, persona, catalogue, last, bought)
        if position is None:
            stay = last and last.shelf in persona.shelves and chance < _TO_COMPANION + _STAY
            shelf = last.shelf if last and stay else rng.choices(shelves, liking)[0]
            position = _pick(rng, persona, catalogue, catalogue.by_shelf[shelf], bought)
        if position is None:
            position = _pick(rng, persona, catalogue, range(len(catalogue.items)), bought)
        if position is None:
            break
        bought[position] = None
    return [catalogue.items[position] for position in bought]


def _companion(
    rng: random.Random,
    persona: Persona,
    catalogue: Catalogue,
    last: CatalogueItem,
    bought: Collection[int],
) -> int | None:
    """A companion of the last thing; none if all are bought, or if its brand does not please."""
    left = {
        position: weight
        * _taste(persona, catalogue.items[position])
        * (10.0 if _is_favourite(persona, catalogue.items[position]) else 1.0)
        for position, weight in zip(last.companions, _COMPANION_WEIGHTS, strict=True)
        if position not in bought
    }
    if not left:
        return None
    chosen = rng.choices(list(left), list(left.values()))[0]
    pleases = _is_favourite(persona, catalogue.items[chosen]) or rng.random() < _OTHER_BRAND
    return chosen if pleases else None


def _pick(
    rng: random.Random,
    persona: Persona,
    catalogue: Catalogue,
    positions: Sequence[int],
    bought: Collection[int],
) -> int | None:
    """One of the positions that is not bought yet, mostly of a favourite brand; None if none."""
    left = [position for position in positions if position not in bought]
    if rng.random() < _LOYALTY:
        items = catalogue.items
        left = [p for p in left if _is_favourite(persona, items[p])] or left
    weights = [
        catalogue.items[position].popularity * _taste(persona, catalogue.items[position])
        for position in left
    ]
    return rng.choices(left, weights)[0] if left else None


def _is_favourite(persona: Persona, item: CatalogueItem) -> bool:
    return item.brand in persona.brands.get(item.shelf, ())


def _taste(persona: Persona, item: CatalogueItem) -> float:
    """How much more than others this user is drawn to the item, brands apart."""
    if item.shelf not in persona.shelves:
        return 0.1
    liked = persona.features[item.shelf]
    tier = (2.0, 1.0, 0.5)[abs(item.tier - persona.tier)]
    return tier * 1.4 ** sum(feature in liked for feature in item.features)


def rate(rng: random.Random, persona: Persona, item: CatalogueItem) -> int:
    """The stars, 1 to 5, that the user gives the item."""
    liked = persona.features.get(item.shelf, ())
    score = (
        persona.rating
        + (item.quality - 4.2)
        + (0.3 if _is_favourite(persona, item) else -0.1)
        + 0.2 * sum(feature in liked for feature in item.features)
    )
    return min(5, max(1, round(rng.gauss(score, 0.6))))
