"""People who write: their past samples, and the later ones to test on; and choosing among them."""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ...errors import TrimtabError


@dataclass(frozen=True)
class TextSample:
    """One thing that a user was asked to write, or to label, and what came of it.

    Attributes:
        id: Unique among the user's samples.
        input: The whole user message, the benchmark's instruction included; "" where the
            benchmark tells only what the user wrote.
        output: What the user wrote; of a test, the gold, "" where it is not known.
        timestamp: When: the date as a number (20170131), or, in data without dates, the place
            in the order of the samples. A test's is later than all of its user's history.
    """

    id: str
    input: str
    output: str
    timestamp: int = 0


@dataclass(frozen=True)
class TextUser:
    """A user's past, oldest first, and the later samples to test on, oldest first."""

    id: str
    history: tuple[TextSample, ...]
    tests: tuple[TextSample, ...]


@dataclass(frozen=True)
class TextDataset:
    """Users of one task.

    Attributes:
        name: Where it comes from.
        users: In the order of the data.
        about: Counts, and what was left out and why, for a person to read; see ``described``.
    """

    name: str
    users: tuple[TextUser, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """What tells this data from other data: 16 hexadecimal digits of all ids and texts."""
        digest = hashlib.sha256()
        for user in self.users:
            rows = [[s.id, s.input, s.output, s.timestamp] for s in (*user.history, *user.tests)]
            digest.update(json.dumps([user.id, len(user.history), rows]).encode())
        return digest.hexdigest()[:16]

    @property
    def samples(self) -> int:
        """How many history samples there are in all."""
        return sum(len(user.history) for user in self.users)

    @property
    def tests(self) -> int:
        """How many test samples there are in all."""
        return sum(len(user.tests) for user in self.users)

    def described(self) -> str:
        """One line: how many there are of what, and what was left out."""
        line = f"{self.name}: {len(self.users)} users, {self.samples} past samples, {self.tests} "
        line += "tests"
        left_out = [f"{count} {what}" for what, count in self.about.get("left_out", {}).items()]
        return f"{line}; left out: {', '.join(left_out)}" if left_out else line


def select_users(
    dataset: TextDataset, count: int | None, *, minimum_history: int, seed: int
) -> TextDataset:
    """Choose users with enough of a past, at random.

    Args:
        dataset: All users.
        count: At most this many; None takes all that have enough.
        minimum_history: How many past samples a user must have.
        seed: Of the choice. A smaller ``count`` chooses among those of a larger one.

    Returns:
        The users, in the order of the data.

    Raises:
        TrimtabError: ``count`` below 1, or no user has enough.
    """
    if count is not None and count < 1:
        raise TrimtabError(f"expected at least 1 user, got {count}")
    able = [place for place, user in enumerate(dataset.users) if _enough(user, minimum_history)]
    if not able:
        most = max((len(user.history) for user in dataset.users), default=0)
        raise TrimtabError(
            f"{dataset.name}: no user has a test and {minimum_history} past samples or more (the "
            f"most is {most}); ask for a shorter history"
        )
    drawn = list(able)
    random.Random(f"users/{seed}").shuffle(drawn)
    chosen = sorted(drawn[:count])
    selection = {
        "asked": count,
        "minimum_history": minimum_history,
        "seed": seed,
        "users": len(dataset.users),
        "able": len(able),
        "chosen": len(chosen),
    }
    return replace(
        dataset,
        users=tuple(dataset.users[place] for place in chosen),
        about={**dataset.about, "selection": selection},
    )


def latest_history(dataset: TextDataset, count: int | None) -> TextDataset:
    """The same users with at most so many of their latest past samples; None keeps all.

    Raises:
        TrimtabError: ``count`` below 1.
    """
    if count is None:
        return dataset
    if count < 1:
        raise TrimtabError(f"expected at least 1 past sample of a user, got {count}")
    users = tuple(replace(user, history=user.history[-count:]) for user in dataset.users)
    return replace(dataset, users=users)


def _enough(user: TextUser, minimum_history: int) -> bool:
    return bool(user.tests) and len(user.history) >= minimum_history
