"""The files of a derived world, written user by user into a folder that is whole or not there."""

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import to_json

from ...errors import TrimtabError
from ..shop.personalwab import FILE_KINDS, HISTORIES, INSTRUCTIONS, PRODUCTS, PROFILES
from ..shop.records import SPLITS, Purchase, Split, TaskType
from .profiles import make_profile
from .splitting import Shares, split_purchases
from .staging import Staging
from .tasks import derive_tasks

_PRODUCTS_PER_PART = 20_000
_USERS_PER_PART = 500


class WorldWriter:
    """Writes the files of a world user by user, from what is staged.

    Args:
        folder: Where to.
        staged: The purchases and products.
        shares: Of each user's purchases, for training and test.
        most_tasks: How many tasks a user has at most in each split.
        seed: Of the wordings, and of the tasks that are kept.

    Attributes:
        purchases: How many were written.
        tasks: How many were written, by split and type.
        no_task: What was not derived, by reason.
    """

    def __init__(
        self, folder: Path, staged: Staging, shares: Shares, most_tasks: int, seed: int
    ) -> None:
        self.purchases = 0
        self.tasks: Counter[tuple[Split, TaskType]] = Counter()
        self.no_task: Counter[str] = Counter()
        self._folder = folder
        self._staged = staged
        self._shares = shares
        self._most_tasks = most_tasks
        self._seed = seed
        self._prices = staged.prices()
        self._histories: dict[str, list[Purchase]] = {}
        self._profiles: dict[str, Any] = {}
        self._bought: dict[str, None] = {}
        self._part = 0
        for split in SPLITS:
            self._lines(split).touch()

    def add(self, user: str) -> None:
        """Take one user in."""
        purchases = self._staged.purchases(user)
        segments = split_purchases(purchases, self._shares)
        if segments is None:
            raise AssertionError(f"{user} was chosen without enough times of purchase")
        rng = random.Random(f"{self._seed} {user}")
        for split, tasks in derive_tasks(user, segments, rng, self.no_task).items():
            if len(tasks) > self._most_tasks:
                self.no_task[f"{split} purchases beyond {self._most_tasks} tasks a user"] += (
                    len(tasks) - self._most_tasks
                )
                kept = set(rng.sample(range(len(tasks)), self._most_tasks))
                tasks = [task for place, task in enumerate(tasks) if place in kept]
            with self._lines(split).open("ab") as lines:
                for task in tasks:
                    lines.write(to_json(task.model_dump(exclude={"id"})) + b"\n")
                    self.tasks[split, task.type] += 1
        self._profiles[user] = {"user_profile": make_profile(segments.history, self._prices)}
        self._histories[user] = purchases
        self.purchases += len(purchases)
        self._bought.update(dict.fromkeys(purchase.asin for purchase in purchases))
        if len(self._histories) == _USERS_PER_PART:
            self._write_histories()

    def finish(self, *, all_products: bool) -> int:
        """Write what is left to write; how many products there are."""
        if self._histories:
            self._write_histories()
        _write(self._folder / PROFILES.pattern, self._profiles)
        with (self._folder / INSTRUCTIONS.pattern).open("wb") as out:
            for split in SPLITS:
                out.write(b"{" if split == SPLITS[0] else b",")
                out.write(to_json(split) + b":[")
                _join_lines(self._lines(split), out)
                out.write(b"]")
                self._lines(split).unlink()
            out.write(b"}")
        products = self._staged.products(None if all_products else self._bought)
        written = part = 0
        while some := {p.parent_asin: p for p in islice(products, _PRODUCTS_PER_PART)}:
            part += 1
            written += len(some)
            _write(self._folder / f"{PRODUCTS.stem}_part_{part}.json", some)
        return written

    def _lines(self, split: Split) -> Path:
        """Where a split's tasks are kept, one a line, until all are there."""
        return self._folder / f"{split}.jsonl"

    def _write_histories(self) -> None:
        self._part += 1
        _write(self._folder / f"{HISTORIES.stem}_part_{self._part}.json", self._histories)
        self._histories = {}


def _write(path: Path, content: Any) -> None:
    path.write_bytes(to_json(content))


def _join_lines(path: Path, out: BinaryIO) -> None:
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            out.write((b"," if number else b"") + line.rstrip(b"\n"))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block succeeds."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        expected = ", ".join(kind.pattern for kind in FILE_KINDS)
        raise TrimtabError(
            f"{folder} is there already; give a new or an empty folder for {expected}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
