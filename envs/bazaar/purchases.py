"""What a user of the bazaar buys, one thing after the other."""

import random
from itertools import accumulate

from .catalogue import Catalogue, Item
from .personas import Persona

_TO_COMPANION = 0.5
_STAY_ON_SHELF = 0.25
_COMPANION_WEIGHTS = (5.0, 3.0, 2.0)
_TRIES = 20


def walk(rng: random.Random, persona: Persona, catalogue: Catalogue, length: int) -> list[Item]:
    """Buy ``length`` different things.

    The next thing is, half of the time, a companion of the last; a quarter of the time another
    from the same shelf if the user shops there; else one from a shelf to the user's liking.
    Which companion, and which thing of a shelf, follows its popularity and the user's taste.
    """
    weights: dict[int, list[float]] = {}

    def pick(shelf: int) -> int | None:
        positions = catalogue.by_shelf[shelf]
        if shelf not in weights:
            liked = (c.popularity * _taste(persona, c) for c in map(catalogue.items.__getitem__, positions))
            weights[shelf] = list(accumulate(liked))
        for _ in range(_TRIES):
            position = rng.choices(positions, cum_weights=weights[shelf])[0]
            if position not in bought:
                return position
        left = [position for position in positions if position not in bought]
        return rng.choice(left) if left else None

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
        elif last and chance < _TO_COMPANION + _STAY_ON_SHELF and last.shelf in persona.shelves:
            position = pick(last.shelf)
        if position is None:
            position = pick(rng.choices(shelves, liking)[0])
        if position is None:
            position = pick(rng.randrange(len(catalogue.by_shelf)))
        if position is not None:
            bought[position] = None
    return [catalogue.items[position] for position in bought]


def _companion(
    rng: random.Random, persona: Persona, catalogue: Catalogue, last: Item, bought: dict[int, None]
) -> int | None:
    left = {
        position: weight * _taste(persona, catalogue.items[position]) ** 0.5
        for position, weight in zip(last.companions, _COMPANION_WEIGHTS, strict=True)
        if position not in bought
    }
    return rng.choices(list(left), list(left.values()))[0] if left else None


def _taste(persona: Persona, item: Item) -> float:
    """How much more than others this user is drawn to the item; 1 for no leaning at all."""
    brand = 8.0 if item.brand in persona.brands.get(item.shelf, ()) else 1.0
    tier = (2.5, 1.0, 0.4)[abs(item.tier - persona.tier)]
    liked = persona.features.get(item.shelf, ())
    return brand * tier * 1.4 ** sum(feature in liked for feature in item.features)


def rate(rng: random.Random, persona: Persona, item: Item) -> int:
    """The stars, 1 to 5, that the user gives the item."""
    liked = persona.features.get(item.shelf, ())
    score = (
        persona.rating
        + (item.quality - 4.2)
        + (0.3 if item.brand in persona.brands.get(item.shelf, ()) else -0.1)
        + 0.2 * sum(feature in liked for feature in item.features)
    )
    return min(5, max(1, round(rng.gauss(score, 0.6))))
