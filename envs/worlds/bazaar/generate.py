"""Users of the bazaar with all their records, one at a time; and a world of them."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ....errors import TrimtabError
from ...shop.records import SPLITS, Purchase, Review, ShoppingTask, Split, TaskType
from ...shop.world import World
from .catalogue import Catalogue, build_catalogue
from .idioms import IDIOMS
from .items import CatalogueItem
from .personas import Persona, make_persona
from .purchases import rate, walk
from .requests import ambiguous_request, plain_request
from .reviews import write_review

_DAY = 24 * 60 * 60 * 1000
_FIRST_DAY = 1_546_300_800_000  # 2019-01-01, in milliseconds
_TASKS: Mapping[Split, Mapping[TaskType, tuple[int, ...]]] = {
    "train": {"search": (5, 6), "recommend": (5, 6), "review": (2, 3, 4)},
    "test": {"search": (2, 3), "recommend": (2, 3), "review": (2,)},
}


class BazaarTask(ShoppingTask):
    """A task that says for analysis, and for that alone, how it is worded."""

    wording: Literal["plain", "ambiguous"]


@dataclass(frozen=True)
class UserRecords:
    """Everything that belongs to one user; ``persona`` is the truth that a method has to find."""

    user_id: str
    persona: Persona
    profile: dict[str, str]
    history: list[Purchase]
    train: list[ShoppingTask]
    test: list[ShoppingTask]


def generate_bazaar(
    users: int = 100,
    products: int = 2000,
    seed: int = 0,
    ambiguous: float = 0.7,
    habit: float = 0.95,
    flips: bool = False,
) -> World:
    """Make a bazaar; the same arguments make the same world, on any machine.

    Args:
        users: How many users.
        products: How many products, 100 or more.
        seed: Any integer.
        ambiguous: The share of search and recommend requests that are worded in the user's idiom.
        habit: How often such a request uses an idiom in the user's own sense; else any idiom.
        flips: Whether every user changes: from the middle of their training tasks on, the idioms
            that meant a search mean a recommendation, and back.

    Raises:
        TrimtabError: A size or a share that is out of range.
    """
    catalogue = build_catalogue(products, seed)
    records = list(stream_users(users, catalogue, seed, ambiguous, habit, flips=flips))
    return World(
        products={item.product.parent_asin: item.product for item in catalogue.items},
        histories={user.user_id: user.history for user in records},
        profiles={user.user_id: user.profile for user in records},
        train=[task for user in records for task in user.train],
        test=[task for user in records for task in user.test],
        name=f"bazaar-{users}x{products}-{seed}{'-flips' if flips else ''}",
    )


def stream_users(
    users: int,
    catalogue: Catalogue,
    seed: int = 0,
    ambiguous: float = 0.7,
    habit: float = 0.95,
    start: int = 0,
    *,
    flips: bool = False,
) -> Iterator[UserRecords]:
    """Make users ``start`` to ``users - 1`` one at a time; nothing is kept of those before.

    Each depends on the catalogue, the seed, the shares and their own number alone, so that any
    part of a large bazaar can be made anywhere. The rest is as for `generate_bazaar`.
    """
    if users < 1:
        raise TrimtabError(f"expected at least 1 user; got {users}")
    for name, share in (("ambiguous", ambiguous), ("habit", habit)):
        if not 0.0 <= share <= 1.0:
            raise TrimtabError(f"expected {name} between 0 and 1; got {share}")
    for index in range(start, users):
        yield _make_user(index, catalogue, seed, ambiguous, habit, flips)


def _make_user(
    index: int, catalogue: Catalogue, seed: int, ambiguous: float, habit: float, flips: bool
) -> UserRecords:
    rng = random.Random(f"bazaar/{seed}/user/{index}")
    persona = make_persona(rng, seed, index, catalogue)
    kinds: dict[Split, list[TaskType]] = {}
    for split in SPLITS:
        kinds[split] = [
            kind for kind, counts in _TASKS[split].items() for _ in range(rng.choice(counts))
        ]
        rng.shuffle(kinds[split])
    # Purchases without a task come first, and here and there between those of training tasks;
    # the last ones are those of the test tasks.
    before_tasks = rng.randint(5, 8)
    first_test = before_tasks + len(kinds["train"]) + rng.randint(2, 8)
    train_places = rng.sample(range(before_tasks, first_test), k=len(kinds["train"]))
    places: dict[Split, Sequence[int]] = {
        "train": sorted(train_places),
        "test": range(first_test, first_test + len(kinds["test"])),
    }
    items = walk(rng, persona, catalogue, first_test + len(kinds["test"]))
    history = _history(rng, persona, items)
    tasks: dict[Split, list[ShoppingTask]] = {}
    for split in SPLITS:
        count = len(kinds[split])
        change = count if not flips else count // 2 if split == "train" else 0
        idioms = _idioms(rng, persona, kinds[split], ambiguous, habit, change)
        tasks[split] = [
            BazaarTask(
                id=f"{split}-{index}-{number}",
                user_id=persona.user_id,
                task=_words(rng, persona, kind, idiom, items[place], history[place].review.rating),
                type=kind,
                timestamp=history[place].timestamp,
                target=history[place],
                wording="plain" if idiom is None else "ambiguous",
            )
            for number, (place, kind, idiom) in enumerate(
                zip(places[split], kinds[split], idioms, strict=True)
            )
        ]
    return UserRecords(
        user_id=persona.user_id,
        persona=persona,
        profile=persona.profile(),
        history=history,
        train=tasks["train"],
        test=tasks["test"],
    )


def _history(
    rng: random.Random, persona: Persona, items: Sequence[CatalogueItem]
) -> list[Purchase]:
    """The items as purchases with reviews, half a day to 25 days after one another."""
    time = _FIRST_DAY + rng.randrange(900 * _DAY)
    history = []
    for item in items:
        time += rng.randint(_DAY // 2, 25 * _DAY)
        rating = rate(rng, persona, item)
        text = write_review(
            rng,
            item,
            rating,
            tone=persona.tone,
            sentences=persona.sentences,
            pet_phrases=persona.pet_phrases,
            cared_about=persona.features.get(item.shelf, ()),
        )
        review = Review(rating=float(rating), text=text, timestamp=time)
        history.append(Purchase(product_info=item.product, review=review))
    return history


def _words(
    rng: random.Random,
    persona: Persona,
    kind: TaskType,
    idiom: int | None,
    item: CatalogueItem,
    rating: float,
) -> str:
    if idiom is not None:
        return ambiguous_request(rng, idiom, item, persona.manner)
    template = rng.choice(persona.plain[kind])
    verdict = round(rating) if kind == "review" else None
    return plain_request(rng, template, item, persona.manner, verdict)


def _idioms(
    rng: random.Random,
    persona: Persona,
    kinds: list[TaskType],
    ambiguous: float,
    habit: float,
    change: int,
) -> list[int | None]:
    """The idiom of each task, None where it is worded plainly.

    The user's habitual idioms for a type take turns, so that each is met in training. From the
    ``change``-th task on they mean the other type.
    """
    chosen: list[int | None] = [None] * len(kinds)
    search, recommend = persona.search_idioms, persona.recommend_idioms
    for kind, own, later in (("search", search, recommend), ("recommend", recommend, search)):
        places = [place for place, each in enumerate(kinds) if each == kind]
        # The part of a task that is left over is there by chance, so that the share is right.
        count = int(len(places) * ambiguous + rng.random())
        turn = rng.randrange(len(own))
        for place in rng.sample(places, k=min(count, len(places))):
            meant = own if place < change else later
            chosen[place] = meant[turn % len(meant)]
            turn += 1
            if rng.random() >= habit:
                chosen[place] = rng.randrange(len(IDIOMS))
    return chosen
