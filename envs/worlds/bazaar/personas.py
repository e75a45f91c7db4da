"""Who the users of the bazaar are: tastes, voice, and their own way to ask."""

import base64
import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass

from ...shop.records import TASK_TYPES, TaskType
from .catalogue import Catalogue, brands_of, tier_of
from .idioms import IDIOMS
from .requests import PLAIN, Manner
from .reviews import PET_PHRASES, TONES
from .shelves import SHELVES

_OCCUPATIONS = (
    "Teacher",
    "Nurse",
    "Software engineer",
    "Carpenter",
    "Student",
    "Accountant",
    "Chef",
    "Retired",
    "Writer",
    "Electrician",
    "Sales manager",
    "Translator",
    "Farmer",
    "Self-employed",
    "Librarian",
    "Bus driver",
)
_AGES = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
_GENDERS = ("Female", "Male", "Non-binary")
_LEVELS = ("Low", "Medium", "High")
_WAYS_PER_TYPE = 2
_LIKING = (2.5, 2.0, 2.0, 1.5, 1.0, 1.0)


@dataclass(frozen=True)
class Persona:
    """One user's hidden truth.

    ``tier`` is the price tier they shop in. ``shelves`` maps the shelves they shop on to how
    often; ``brands`` and ``features`` are the ones that they favour on each. ``sentences`` is the
    usual length of a review, ``rating`` its usual rating. ``plain`` holds
    the templates that the user asks in plainly. ``search_idioms`` and ``recommend_idioms`` are
    positions in ``IDIOMS``: what those words mean from this user.
    """

    user_id: str
    gender: str
    age: str
    occupation: str
    tier: int
    shelves: Mapping[int, float]
    brands: Mapping[int, tuple[str, ...]]
    features: Mapping[int, tuple[str, ...]]
    tone: str
    sentences: int
    rating: float
    pet_phrases: tuple[str, ...]
    manner: Manner
    plain: Mapping[TaskType, tuple[str, ...]]
    search_idioms: tuple[int, ...]
    recommend_idioms: tuple[int, ...]

    def profile(self) -> dict[str, str]:
        """The persona in PersonalWAB's profile fields: never how the user asks."""
        by_liking = sorted(self.shelves, key=lambda shelf: -self.shelves[shelf])
        brands = dict.fromkeys(brand for shelf in by_liking for brand in self.brands[shelf])
        aspects = [feature for shelf in by_liking for feature in self.features[shelf][:1]]
        return {
            "Gender": self.gender,
            "Age": self.age,
            "Occupation": self.occupation,
            "Price Sensitivity": _LEVELS[2 - self.tier],
            "Shopping Interest": ", ".join(SHELVES[s].name.capitalize() for s in by_liking),
            "Brand Preference": ", ".join(brands),
            "Diversity Preference": _LEVELS[min(2, len(self.shelves) - 4)],
            "Interaction Complexity": _LEVELS[(self.sentences - 1) // 2],
            "Tone and Style": TONES[self.tone].description,
            "Item Reference": "Names the product and what it is used for",
            "Focus Aspect": ", ".join(dict.fromkeys(aspects)),
        }


def make_persona(rng: random.Random, seed: int, index: int, catalogue: Catalogue) -> Persona:
    """Draw the persona of the user at ``index``."""
    shelves = _draw_shelves(rng, len(catalogue.by_shelf))
    tier = rng.choices((0, 1, 2), (3, 4, 2))[0]
    brands = {}
    features = {}
    for shelf in shelves:
        available = brands_of(shelf, len(catalogue.by_shelf[shelf]))
        nearest = min(abs(tier_of(shelf, brand) - tier) for brand in available)
        own_tier = [b for b in available if abs(tier_of(shelf, b) - tier) == nearest]
        favourites = [rng.choice(own_tier)]
        if rng.random() < 0.1:
            favourites.append(rng.choice(available))
        brands[shelf] = tuple(dict.fromkeys(favourites))
        features[shelf] = tuple(rng.sample(list(SHELVES[shelf].features), k=3))
    idioms = rng.sample(range(len(IDIOMS)), k=2 * _WAYS_PER_TYPE)
    tone = rng.choice(list(TONES))
    return Persona(
        user_id=_user_id(seed, index),
        gender=rng.choices(_GENDERS, (48, 48, 4))[0],
        age=rng.choice(_AGES),
        occupation=rng.choice(_OCCUPATIONS),
        tier=tier,
        shelves={shelf: weight for shelf, weight in zip(shelves, _LIKING, strict=False)},
        brands=brands,
        features=features,
        tone=tone,
        sentences=rng.randint(1, 6),
        rating=min(4.8, max(2.8, rng.gauss(TONES[tone].rating, 0.35))),
        pet_phrases=tuple(rng.sample(PET_PHRASES, k=2)),
        manner=Manner.draw(rng),
        plain={kind: tuple(rng.sample(PLAIN[kind], k=_WAYS_PER_TYPE)) for kind in TASK_TYPES},
        search_idioms=tuple(idioms[:_WAYS_PER_TYPE]),
        recommend_idioms=tuple(idioms[_WAYS_PER_TYPE:]),
    )


def _draw_shelves(rng: random.Random, count: int) -> list[int]:
    """Four to six of the first ``count`` shelves, those beside each other more often."""
    index = {SHELVES[shelf].name: shelf for shelf in range(count)}
    drawn: dict[int, None] = {rng.randrange(count): None}
    wanted = min(rng.choice((4, 5, 6)), count)
    while len(drawn) < wanted:
        beside = [index[name] for name in SHELVES[list(drawn)[-1]].near if name in index]
        candidates = beside if beside and rng.random() < 0.6 else range(count)
        drawn[rng.choice(candidates)] = None
    return list(drawn)


def _user_id(seed: int, index: int) -> str:
    """28 letters and digits that begin with "A", as PersonalWAB's user ids do."""
    digest = hashlib.sha256(f"bazaar/{seed}/user/{index}".encode()).digest()
    return "A" + base64.b32encode(digest).decode()[:27]
