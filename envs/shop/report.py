"""What a world folder holds, and what is wrong with it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from ...errors import TrimtabError
from ...tools.shop.pretrained import PretrainedRecommender, find_published
from ..importing.cleaning import MILLISECONDS_FROM
from .personalwab import (
    HISTORIES,
    INSTRUCTIONS,
    PRODUCTS,
    PROFILES,
    read_file,
    with_ids,
    world_files,
)
from .records import SPLITS, TASK_TYPES, Product, Purchase, ShoppingTask, Split, TaskType
from .world import World


@dataclass(frozen=True)
class Problem:
    """One kind of thing that is wrong, how often, and where it was first seen."""

    kind: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count} {self.kind}: {', '.join(self.examples)}{more}"


@dataclass(frozen=True)
class WorldReport:
    """Counts of a world folder and its problems.

    Attributes:
        folder: Which.
        products: How many.
        users: Those with a history, a profile or a task.
        purchases: Over all users.
        profiles: How many.
        tasks: By split, then by type.
        purchases_a_user: The fewest, the median and the most, of users who have any.
        span: The times of the first and the last purchase; None without purchases.
        recommender: What is said of a published recommender in the folder; empty if there is none.
        problems: What is wrong.
    """

    folder: str
    products: int
    users: int
    purchases: int
    profiles: int
    tasks: Mapping[Split, Mapping[TaskType, int]]
    purchases_a_user: tuple[int, float, int]
    span: tuple[int, int] | None
    recommender: str
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def lines(self) -> Iterator[str]:
        """The report for a person to read, a line at a time."""
        yield (
            f"{self.folder}: {self.products} products, {self.users} users, "
            f"{self.purchases} purchases, {self.profiles} profiles"
        )
        if self.span is not None:
            fewest, middle, most = self.purchases_a_user
            first, last = (_date(time) for time in self.span)
            yield (
                f"purchases: {fewest} to {most} a user, median {middle:g}; from {first} to {last}"
            )
        for split, counts in self.tasks.items():
            by_type = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            yield f"{split}: {sum(counts.values())} tasks ({by_type})"
        trained = "none in the folder; one is trained on the histories when it is needed"
        yield f"recommender: {self.recommender or trained}"
        yield from (f"problem: {problem}" for problem in self.problems)
        if self.ok:
            yield "no problems"


def check_world(folder: Path | str) -> WorldReport:
    """Read a folder in PersonalWAB's format, and list everything that is wrong with it.

    Where `load_world` stops at the first broken record, this continues without it.

    Raises:
        TrimtabError: The folder or one of its files is not there, or cannot be read.
    """
    folder = Path(folder)
    paths = world_files(folder)
    broken: list[str] = []
    repeated_products: list[str] = []
    misnamed: list[str] = []
    products: dict[str, Product] = {}
    for path in paths[PRODUCTS.stem]:
        part = read_file(path, PRODUCTS, broken) or {}
        repeated_products += [asin for asin in part if asin in products]
        misnamed += [asin for asin, product in part.items() if product.parent_asin != asin]
        products.update(part)
    histories: dict[str, list[Purchase]] = {}
    for path in paths[HISTORIES.stem]:
        for user, purchases in (read_file(path, HISTORIES, broken) or {}).items():
            histories.setdefault(user, []).extend(purchases)
    profiles = read_file(paths[PROFILES.stem][0], PROFILES, broken) or {}
    instructions = read_file(paths[INSTRUCTIONS.stem][0], INSTRUCTIONS, broken)
    tasks: dict[Split, list[ShoppingTask]] = {
        "train": with_ids(instructions.train, "train") if instructions else [],
        "test": with_ids(instructions.test, "test") if instructions else [],
    }
    all_tasks = [task for split in SPLITS for task in tasks[split]]
    repeated_ids = _repeated(task.id for task in all_tasks)
    world = World(
        products=products,
        histories=histories,
        profiles={user: entry.user_profile for user, entry in profiles.items()},
        train=[task for task in tasks["train"] if task.id not in repeated_ids],
        test=[task for task in tasks["test"] if task.id not in repeated_ids],
        name=folder.resolve().name,
    )
    recommender, recommender_problems = _check_recommender(folder, products)
    sizes = [len(purchases) for purchases in histories.values() if purchases]
    times = [p.timestamp for purchases in histories.values() for p in purchases]
    found: list[tuple[str, list[str]]] = [
        ("broken records", broken),
        ("products that are in two files", repeated_products),
        ("products whose key is not their parent_asin", misnamed),
        ("task ids given twice", repeated_ids),
        *_world_problems(world),
        *recommender_problems,
    ]
    return WorldReport(
        folder=str(folder),
        products=len(products),
        users=len(world.users),
        purchases=sum(sizes),
        profiles=len(profiles),
        tasks={
            split: {kind: sum(task.type == kind for task in tasks[split]) for kind in TASK_TYPES}
            for split in SPLITS
        },
        purchases_a_user=(min(sizes), median(sizes), max(sizes)) if sizes else (0, 0, 0),
        span=(min(times), max(times)) if times else None,
        recommender=recommender,
        problems=tuple(
            Problem(kind, len(where), tuple(where[:3])) for kind, where in found if where
        ),
    )


def _check_recommender(
    folder: Path, products: Mapping[str, Product]
) -> tuple[str, list[tuple[str, list[str]]]]:
    """What is said of the folder's recommender, and what is wrong with it."""
    try:
        files = find_published(folder)
        if files is None:
            return "", []
        recommender = PretrainedRecommender.load(files)
    except TrimtabError as error:
        return "cannot be used", [("recommenders that cannot be used", [str(error)])]
    known = recommender.numbers
    items = recommender.network.item_emb.num_embeddings - 1
    line = (
        f"{files.checkpoint.name} of {items} items, {len(known)} of them in {files.index.name}, "
        f"{len(known.keys() & products.keys())} of those among the products"
    )
    strange = sorted(known.keys() - products.keys())
    return line, [("items that the recommender may name but the products lack", strange)]


def _world_problems(world: World) -> Iterator[tuple[str, list[str]]]:
    """What is wrong between the records of a world whose every record is well formed."""
    tasks = [*world.train, *world.test]
    yield (
        "purchases listed twice (same user, product and time)",
        _repeated(
            f"{user} {purchase.asin} {purchase.timestamp}"
            for user, purchases in world.histories.items()
            for purchase in purchases
        ),
    )
    yield (
        "tasks listed twice (same user, type, time and words)",
        _repeated(f"{task.user_id} {task.type} {task.timestamp} {task.task}" for task in tasks),
    )
    yield (
        "tasks whose target is not among the products",
        [f"{t.id} ({t.target.asin})" for t in tasks if t.target.asin not in world.products],
    )
    yield (
        "tasks whose user has bought nothing before",
        [t.id for t in tasks if not world.history(t.user_id, before=t.timestamp)],
    )
    yield (
        "tasks whose target the user has bought before, so that it is given away",
        [t.id for t in tasks if t.type != "review" and _is_given_away(world, t)],
    )
    last_train: dict[str, int] = {}
    for task in world.train:
        last_train[task.user_id] = max(task.timestamp, last_train.get(task.user_id, 0))
    yield (
        "search and recommend tasks whose words give the target's ASIN or whole title",
        [t.id for t in tasks if t.type != "review" and _is_told(t)],
    )
    yield (
        "test tasks not later than all training tasks of their user",
        [t.id for t in world.test if t.timestamp <= last_train.get(t.user_id, t.timestamp - 1)],
    )
    yield (
        "tasks later than the review of their own target",
        [t.id for t in tasks if t.timestamp > t.target.timestamp],
    )
    yield (
        "users with tasks but without a profile",
        sorted({task.user_id for task in tasks} - world.profiles.keys()),
    )
    times = [task.timestamp for task in tasks]
    times += [p.timestamp for purchases in world.histories.values() for p in purchases]
    if times and min(times) < MILLISECONDS_FROM <= max(times):
        yield "mixtures of seconds and milliseconds", [f"{min(times)} and {max(times)}"]


def _is_given_away(world: World, task: ShoppingTask) -> bool:
    seen = world.history(task.user_id, before=task.timestamp)
    return any(purchase.asin == task.target.asin for purchase in seen)


def _is_told(task: ShoppingTask) -> bool:
    product = task.target.product_info
    texts = (product.parent_asin.strip(), product.title.strip())
    given = "|".join(re.escape(text) for text in texts if text)
    return re.search(rf"(?<!\w)(?:{given})(?!\w)", task.task, re.IGNORECASE) is not None


def _date(time: int) -> str:
    """The day of a time in milliseconds, or in seconds where it is too small for those."""
    seconds = time / 1000 if time >= MILLISECONDS_FROM else time
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return str(time)


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
