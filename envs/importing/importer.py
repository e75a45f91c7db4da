"""Review logs to a world's folder: read, clean, split, derive tasks, write."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import TrimtabError
from ..files.reading import read_records
from ..shop.records import SPLITS, TASK_TYPES, Split, TaskType
from .layouts import find_layout
from .splitting import SEGMENTS, Shares
from .staging import Staging, UserCounts, staging
from .writing import WorldWriter, whole_folder

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and how much there is."""

# A file of which more than this share of the lines holds no record is not what it should be.
_UNREADABLE = 0.5
_LINES_TO_JUDGE_BY = 20


@dataclass(frozen=True)
class ImportReport:
    """What an import read, dropped and wrote.

    Attributes:
        folder: The world's folder.
        layout: The reviews' layout.
        read: Records read, by ``products`` and ``reviews``.
        dropped: Records dropped, by reason.
        mended: Values dropped out of records that were kept, by reason.
        left_out: Users left out, by reason.
        products: Written.
        users: Written.
        purchases: Written.
        tasks: Written, by split, then by type.
        no_task: Tasks that were not derived, by reason.
    """

    folder: Path
    layout: str
    read: Mapping[str, int]
    dropped: Mapping[str, int]
    mended: Mapping[str, int]
    left_out: Mapping[str, int]
    products: int
    users: int
    purchases: int
    tasks: Mapping[Split, Mapping[TaskType, int]]
    no_task: Mapping[str, int]

    def lines(self) -> Iterator[str]:
        """The report for a person to read, a line at a time."""
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(self.read.items()))
        yield f"read {counts} ({self.layout})"
        for heading, reasons in (
            ("dropped", self.dropped),
            ("dropped of what was kept", self.mended),
            ("left out", self.left_out),
            ("no task from", self.no_task),
        ):
            for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
                yield f"{heading}: {count:,} {reason}"
        yield (
            f"{self.folder}: {self.products:,} products, {self.users:,} users, "
            f"{self.purchases:,} purchases"
        )
        for split, by_type in self.tasks.items():
            told = ", ".join(f"{count:,} {kind}" for kind, count in by_type.items())
            yield f"{split}: {sum(by_type.values()):,} tasks ({told})"


def import_reviews(
    folder: Path | str,
    reviews: Sequence[Path],
    products: Sequence[Path] = (),
    *,
    mapping: Mapping[str, str] | None = None,
    product_mapping: Mapping[str, str] | None = None,
    users: int = 1000,
    least_purchases: int = 5,
    shares: Shares | None = None,
    most_tasks: int = 24,
    all_products: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImportReport:
    """Make a folder in PersonalWAB's format from review logs, whole or not at all.

    Args:
        folder: To make; it may be there if it is empty.
        reviews: Files of reviews: JSON lines or CSV, plain or gzip.
        products: Files of products; without any, the reviews carry the products' titles.
        mapping: Names of the reviews' fields where they are of no known layout.
        product_mapping: The same for the products' fields.
        users: How many users at most, drawn by seed from those who have enough; 0 is all.
        least_purchases: How many purchases a user needs.
        shares: Of each user's purchases, for training and test.
        most_tasks: How many tasks a user has at most in each split, drawn by seed.
        all_products: Write all products, not only those that the users bought.
        seed: Of the choice of users and the wording of requests.
        progress: Told how far it is.

    Raises:
        TrimtabError: A file cannot be read, is of no known layout, or no user is left.
    """
    folder = Path(folder)
    shares = shares or Shares()
    if not reviews:
        raise TrimtabError("expected at least one file of reviews, got none")
    if users < 0 or least_purchases < SEGMENTS or most_tasks < 1:
        raise TrimtabError(
            f"expected users >= 0 (0 is all), at least {SEGMENTS} purchases and 1 task a user; "
            f"got {users}, {least_purchases} and {most_tasks}"
        )
    tell = progress or (lambda stage, done, total: None)
    with whole_folder(folder) as temporary, staging(temporary) as staged:
        for path in products:
            _stage_products(staged, path, product_mapping, tell)
        layout = ""
        for path in reviews:
            layout = _stage_reviews(staged, path, mapping, tell, with_products=bool(products))
        tell("sorting", 0, 1)
        staged.settle()
        tell("sorting", 1, 1)
        chosen, left_out = _choose(staged.users(), users, least_purchases, seed)
        if not chosen:
            reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
            raise TrimtabError(
                f"no user is left to make tasks of ({reasons or 'no reviews'}; "
                f"{sum(staged.dropped.values())} records were dropped); give a longer log or ask "
                "for fewer purchases"
            )
        writer = WorldWriter(temporary, staged, shares, most_tasks, seed)
        for done, user in enumerate(chosen):
            tell("users", done, len(chosen))
            writer.add(user)
        tell("users", len(chosen), len(chosen))
        written = writer.finish(all_products=all_products)
        return ImportReport(
            folder,
            layout,
            dict(staged.read),
            dict(staged.dropped),
            dict(staged.mended),
            left_out,
            written,
            len(chosen),
            writer.purchases,
            {split: {kind: writer.tasks[split, kind] for kind in TASK_TYPES} for split in SPLITS},
            {reason: count for reason, count in writer.no_task.items() if count},
        )


def _stage_products(
    staged: Staging, path: Path, mapping: Mapping[str, str] | None, tell: Progress
) -> None:
    layout = None
    for record in _records(staged, path, tell):
        if layout is None:
            layout = find_layout(record, mapping, of_products=True, source=str(path))
        staged.add_product(record, layout.products)


def _stage_reviews(
    staged: Staging,
    path: Path,
    mapping: Mapping[str, str] | None,
    tell: Progress,
    *,
    with_products: bool,
) -> str:
    """The name of the layout that the file has."""
    layout = None
    for record in _records(staged, path, tell):
        if layout is None:
            layout = find_layout(record, mapping, source=str(path))
            if not with_products and "title" not in layout.reviews:
                raise TrimtabError(
                    f"{path}: reviews alone do not tell what the products are; give the "
                    "products' file with --products, or map the field that has the product's "
                    "title, --map title=NAME"
                )
        staged.add_review(record, layout.reviews)
    return layout.name if layout else ""


def _records(staged: Staging, path: Path, tell: Progress) -> Iterator[Mapping[str, Any]]:
    """A file's records; what holds none is counted as dropped, too much of it is refused."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise TrimtabError(f"{path}: cannot be read ({error.strerror})") from error
    good = bad = 0
    first_bad = 0
    for number, record, _ in read_records(path, lambda done: tell(path.name, done, size)):
        if record is None:
            bad += 1
            first_bad = first_bad or number
            staged.dropped["lines that hold no record"] += 1
        else:
            good += 1
            yield record
        if bad > _UNREADABLE * (good + bad) and good + bad >= _LINES_TO_JUDGE_BY:
            break
    if not good and not bad:
        raise TrimtabError(f"{path} is empty; expected JSON objects, one a line, or CSV")
    if bad > _UNREADABLE * (good + bad):
        raise TrimtabError(
            f"{path}: expected JSON objects, one a line, or CSV called .csv; "
            f"{bad} of {good + bad} lines hold no record (the first is line {first_bad})"
        )


def _choose(
    counted: Sequence[UserCounts], limit: int, least: int, seed: int
) -> tuple[list[str], dict[str, int]]:
    """The users to keep, in the order of their ids, and how many are left out why."""
    left_out: Counter[str] = Counter()
    able = []
    for user, purchases, times in counted:
        if purchases < least:
            left_out[f"users with fewer than {least} purchases"] += 1
        elif times < SEGMENTS:
            left_out[f"users with fewer than {SEGMENTS} different times of purchase"] += 1
        else:
            able.append(user)
    if limit and len(able) > limit:
        left_out["users beyond the number that was asked for"] += len(able) - limit
        able = sorted(random.Random(seed).sample(able, limit))
    return able, dict(left_out)
