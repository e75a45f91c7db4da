"""A shopping world: products, users' histories and tasks, and what of them may be seen when."""

import difflib
import hashlib
import json
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from ...errors import TrimtabError
from .records import (
    SPLITS,
    TASK_TYPES,
    FileRecord,
    Product,
    Purchase,
    ShoppingTask,
    Split,
    TaskType,
)

T = TypeVar("T")


@dataclass(frozen=True)
class _Timeline(Generic[T]):
    """Items in the order of the times at which they are known."""

    times: Sequence[int]
    items: Sequence[T]

    @classmethod
    def of(cls, timed: Iterable[tuple[int, T]]) -> "_Timeline[T]":
        ordered = sorted(timed, key=lambda pair: pair[0])
        return cls([time for time, _ in ordered], [item for _, item in ordered])

    def before(self, time: int) -> list[T]:
        return list(self.items[: bisect_left(self.times, time)])


@dataclass(frozen=True)
class World:
    """Products by ASIN, histories and profiles by user, and the tasks of both splits.

    A world is a value: nothing in it is changed once it is made. Histories are put in the order
    of time. An agent may see of a user only what ``history`` and ``past_tasks`` return for the
    time of its task; ``histories``, ``train`` and ``test`` are for building and for scoring.

    Raises:
        TrimtabError: Two tasks have the same id.
    """

    products: Mapping[str, Product]
    histories: Mapping[str, Sequence[Purchase]]
    profiles: Mapping[str, Mapping[str, Any]]
    train: Sequence[ShoppingTask]
    test: Sequence[ShoppingTask]
    name: str = "world"

    def __post_init__(self) -> None:
        """Put histories in order, refuse tasks that could not be told apart."""
        ordered = {
            user: sorted(purchases, key=lambda purchase: purchase.timestamp)
            for user, purchases in self.histories.items()
        }
        object.__setattr__(self, "histories", ordered)
        counts = Counter(task.id for task in [*self.train, *self.test])
        task_id, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
        if count > 1:
            raise TrimtabError(
                f"{self.name}: {count} tasks have the id {task_id!r}; give each task its own id"
            )

    @cached_property
    def users(self) -> list[str]:
        """Every user who has a history, a profile or a task, in sorted order."""
        having_tasks = {task.user_id for task in [*self.train, *self.test]}
        return sorted({*self.histories, *self.profiles, *having_tasks})

    def tasks(self, split: Split) -> Sequence[ShoppingTask]:
        """The tasks of ``"train"`` or of ``"test"``."""
        if split not in SPLITS:
            raise TrimtabError(f"expected a split, {' or '.join(SPLITS)}; got {split!r}")
        return self.train if split == "train" else self.test

    def history(self, user_id: str, before: int) -> list[Purchase]:
        """The user's purchases whose time strictly precedes ``before``, oldest first."""
        self._check_user(user_id)
        timeline = self._purchases.get(user_id)
        return timeline.before(before) if timeline else []

    def past_tasks(self, user_id: str, before: int) -> list[ShoppingTask]:
        """The user's training tasks that strictly precede ``before``, oldest first.

        A task counts as past once its target's review is written too: a task asked before that
        time and resolved after it is not returned.
        """
        self._check_user(user_id)
        timeline = self._past_tasks.get(user_id)
        return timeline.before(before) if timeline else []

    def profile(self, user_id: str) -> Mapping[str, Any]:
        """The user's profile, empty where there is none."""
        self._check_user(user_id)
        return self.profiles.get(user_id, {})

    def select_tasks(
        self,
        split: Split,
        n: int | None,
        seed: int,
        types: Collection[TaskType] | None = None,
    ) -> list[ShoppingTask]:
        """Pick ``n`` tasks (``None``: all), spread over as many users as there are.

        Users are shuffled with ``seed`` and take turns, so that their numbers of tasks differ by
        at most one as long as each has tasks left; a user's own tasks come shuffled, their types
        in turn. The tasks for a smaller ``n`` are the first of those for a larger one.

        Raises:
            TrimtabError: ``n`` is below 1 or above the number of tasks, or a type is unknown.
        """
        wanted = TASK_TYPES if types is None else tuple(t for t in TASK_TYPES if t in types)
        if types is not None and (not wanted or not set(types) <= set(TASK_TYPES)):
            raise TrimtabError(
                f"expected task types among {', '.join(TASK_TYPES)}; got {sorted(types)}"
            )
        rng = random.Random(seed)
        by_user: dict[str, list[ShoppingTask]] = {}
        for task in self.tasks(split):
            if task.type in wanted:
                by_user.setdefault(task.user_id, []).append(task)
        users = sorted(by_user)
        rng.shuffle(users)
        queues = []
        for turn, user in enumerate(users):
            start = turn % len(wanted)
            rotated = wanted[start:] + wanted[:start]
            tasks = rng.sample(by_user[user], k=len(by_user[user]))
            queues.append(_take_turns([[t for t in tasks if t.type == kind] for kind in rotated]))
        ordered = _take_turns(queues)
        if n is None:
            return ordered
        if not 1 <= n <= len(ordered):
            raise TrimtabError(
                f"expected between 1 and {len(ordered)} {split} tasks of the types "
                f"{', '.join(wanted)} in {self.name}; got {n}"
            )
        return ordered[:n]

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that depend on the content alone, not on the name or the order of users."""
        digest = hashlib.blake2b(digest_size=16)
        # Purchases share their products, so each product object is written once.
        written: dict[int, bytes] = {}

        def add(record: FileRecord) -> None:
            digest.update(record.model_dump_json().encode())

        def add_purchase(purchase: Purchase) -> None:
            product = purchase.product_info
            if id(product) not in written:
                text = product.model_dump_json().encode()
                written[id(product)] = hashlib.blake2b(text, digest_size=16).digest()
            digest.update(written[id(product)])
            digest.update(purchase.model_dump_json(exclude={"product_info"}).encode())

        for asin in sorted(self.products):
            digest.update(asin.encode())
            add(self.products[asin])
        for user in sorted(self.histories):
            digest.update(f"\nhistory {user} ".encode())
            for purchase in self.histories[user]:
                add_purchase(purchase)
        for user in sorted(self.profiles):
            digest.update(f"\nprofile {user} ".encode())
            digest.update(json.dumps(self.profiles[user], sort_keys=True).encode())
        for split in SPLITS:
            digest.update(f"\n{split} ".encode())
            for task in self.tasks(split):
                digest.update(task.model_dump_json(exclude={"target"}).encode())
                add_purchase(task.target)
        return digest.hexdigest()

    @cached_property
    def _purchases(self) -> dict[str, _Timeline[Purchase]]:
        return {
            user: _Timeline([purchase.timestamp for purchase in purchases], purchases)
            for user, purchases in self.histories.items()
        }

    @cached_property
    def _past_tasks(self) -> dict[str, _Timeline[ShoppingTask]]:
        by_user: dict[str, list[tuple[int, ShoppingTask]]] = {}
        for task in self.train:
            known = max(task.timestamp, task.target.timestamp)
            by_user.setdefault(task.user_id, []).append((known, task))
        return {user: _Timeline.of(timed) for user, timed in by_user.items()}

    @cached_property
    def _known_users(self) -> frozenset[str]:
        return frozenset(self.users)

    def _check_user(self, user_id: str) -> None:
        if user_id in self._known_users:
            return
        nearest = difflib.get_close_matches(user_id, self.users, n=1, cutoff=0.0)
        hint = f"the nearest is {nearest[0]!r}" if nearest else "the world has no users"
        raise TrimtabError(f"no user {user_id!r} in {self.name}; {hint}")


def _take_turns(queues: Sequence[Sequence[T]]) -> list[T]:
    """The first of each queue, then the second of each, and so on."""
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
