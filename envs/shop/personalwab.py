"""A world as a folder in PersonalWAB's format: read, checked record by record, and written.

The folder holds ``all_products_part_*.json`` ``{asin: product}``, ``user_history_part_*.json``
``{user_id: [{product_info, review}]}``, ``user_profiles.json`` ``{user_id: {user_profile: {}}}``
and ``user_instructions.json`` ``{train: [task], test: [task]}``. See Cai et al., "Large Language
Models Empowered Personalized Web Agents" (arXiv 2410.17236).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from ...errors import TrimtabError
from ...files import replacing
from ..files.ids import AN_ID, as_id
from ..files.reading import read_json
from .records import SPLITS, FileRecord, Product, Purchase, ShoppingTask, Split
from .world import World


class _ProfileEntry(FileRecord):
    user_profile: dict[str, Any]


class _Instructions(FileRecord):
    train: list[ShoppingTask]
    test: list[ShoppingTask]


@dataclass(frozen=True)
class FileKind:
    """One kind of file: its name, what it holds, and what to call the records in it.

    ``record`` has a format string for each step of the way to a record. ``by_id`` says that what
    it holds is by the ids of users or products.
    """

    stem: str
    split_in_parts: bool
    adapter: TypeAdapter[Any]
    record: tuple[str, ...]
    by_id: bool = False

    @property
    def pattern(self) -> str:
        """What its files are called."""
        return f"{self.stem}_part_*.json" if self.split_in_parts else f"{self.stem}.json"

    def describe(self, path: Path, error: ErrorDetails) -> str:
        """One line: the file, the record, the field, what was expected and what came."""
        place = error["loc"]
        named = [name.format(part) for name, part in zip(self.record, place, strict=False)]
        field = ".".join(str(part) for part in place[len(self.record) :])
        where = ", ".join([*named, f"field {field}"] if field else named)
        message = error["msg"].replace("Input should be", "expected")
        if error["type"] == "missing":
            message = "is missing"
        elif error["type"] != "json_invalid":
            message = f"{message}, got {_short(error['input'])}"
        line = ": ".join(part for part in (str(path), where, message) if part)
        return re.sub(r"\s+", " ", line)


PRODUCTS = FileKind(
    "all_products", True, TypeAdapter(dict[str, Product]), ("product {!r}",), by_id=True
)
HISTORIES = FileKind(
    "user_history",
    True,
    TypeAdapter(dict[str, list[Purchase]]),
    ("user {!r}", "purchase [{}]"),
    by_id=True,
)
PROFILES = FileKind(
    "user_profiles", False, TypeAdapter(dict[str, _ProfileEntry]), ("user {!r}",), by_id=True
)
INSTRUCTIONS = FileKind(
    "user_instructions", False, TypeAdapter(_Instructions), ("split {!r}", "task [{}]")
)
FILE_KINDS = (PRODUCTS, HISTORIES, PROFILES, INSTRUCTIONS)


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def world_files(folder: Path | str) -> dict[str, list[Path]]:
    """The folder's files by the stem of their kind, parts in the order of their numbers.

    Raises:
        TrimtabError: The folder or one of the kinds is not there.
    """
    folder = Path(folder)
    expected = ", ".join(kind.pattern for kind in FILE_KINDS)
    if not folder.is_dir():
        raise TrimtabError(f"no folder {folder}; a world is a folder with {expected}")
    files: dict[str, list[Path]] = {}
    for kind in FILE_KINDS:
        paths = sorted(folder.glob(kind.pattern), key=_part_number)
        whole = folder / f"{kind.stem}.json"
        files[kind.stem] = paths or ([whole] if whole.is_file() else [])
        if not files[kind.stem]:
            raise TrimtabError(f"{folder}: no {kind.pattern}; a world folder has {expected}")
    return files


def _part_number(path: Path) -> tuple[int, str]:
    digits = re.search(r"_part_(\d+)$", path.stem)
    return (int(digits.group(1)) if digits else 0, path.name)


def read_file(path: Path, kind: FileKind, problems: list[str] | None = None) -> Any:
    """The validated content of one file.

    With ``problems`` given, broken records are described there and left out of what is returned
    (an unreadable file is returned as ``None``); without it the first one is raised.

    Raises:
        TrimtabError: The file cannot be read, or a record is broken and ``problems`` is None.
    """
    data = read_json(path)
    try:
        content = kind.adapter.validate_json(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        if problems is None:
            raise TrimtabError(kind.describe(path, details[0])) from None
        problems.extend(kind.describe(path, detail) for detail in details)
        broken = {detail["loc"][: len(kind.record)] for detail in details}
        if any(len(place) < len(kind.record) for place in broken):
            return None
        content = kind.adapter.validate_python(_without(from_json(data), broken))
    return _with_ids(content, path, kind, problems) if kind.by_id else content


def _with_ids(
    content: Mapping[str, Any], path: Path, kind: FileKind, problems: list[str] | None
) -> dict[str, Any]:
    """The same by ids as the rest of the world has them; what is no id, or not the only one, goes.

    Raises:
        TrimtabError: There is such a one, and ``problems`` is None.
    """
    named: dict[str, Any] = {}
    for key, record in content.items():
        name = as_id(key)
        if name is not None and name not in named:
            named[name] = record
            continue
        what = f"expected {AN_ID} for an id" if name is None else f"is there twice, as {name!r} too"
        problem = f"{path}: {kind.record[0].format(key)}: {what}"
        if problems is None:
            raise TrimtabError(problem)
        problems.append(problem)
    return named


def _without(content: Any, broken: set[tuple[int | str, ...]]) -> Any:
    """The parsed JSON without the records at the given places, all of the same depth."""
    by_holder: dict[tuple[int | str, ...], set[int | str]] = {}
    for place in broken:
        by_holder.setdefault(place[:-1], set()).add(place[-1])
    for holder_place, bad in by_holder.items():
        holder = content
        for part in holder_place:
            holder = holder[part]
        if isinstance(holder, list):
            holder[:] = [record for index, record in enumerate(holder) if index not in bad]
        else:
            for key in bad:
                del holder[key]
    return content


def load_world(folder: Path | str) -> World:
    """Read a world from a folder in PersonalWAB's format.

    Args:
        folder: Where the files are; its name becomes the world's.

    Raises:
        TrimtabError: A file is missing or broken; one line that names file, record and field.
    """
    folder = Path(folder)
    paths = world_files(folder)
    products: dict[str, Product] = {}
    for path in paths[PRODUCTS.stem]:
        products.update(read_file(path, PRODUCTS))
    histories: dict[str, list[Purchase]] = {}
    for path in paths[HISTORIES.stem]:
        for user, purchases in read_file(path, HISTORIES).items():
            histories.setdefault(user, []).extend(purchases)
    profiles = read_file(paths[PROFILES.stem][0], PROFILES)
    instructions = read_file(paths[INSTRUCTIONS.stem][0], INSTRUCTIONS)
    return World(
        products=products,
        histories=histories,
        profiles={user: entry.user_profile for user, entry in profiles.items()},
        train=with_ids(instructions.train, "train"),
        test=with_ids(instructions.test, "test"),
        name=folder.resolve().name,
    )


def with_ids(tasks: Sequence[ShoppingTask], split: Split) -> list[ShoppingTask]:
    """The tasks, those without an id named ``<split>-<index>``."""
    return [
        task if task.id else task.model_copy(update={"id": f"{split}-{index}"})
        for index, task in enumerate(tasks)
    ]


def save_world(
    world: World, folder: Path | str, *, products_per_part: int = 20_000, users_per_part: int = 500
) -> None:
    """Write a world as a folder in PersonalWAB's format, each file whole or not at all.

    Args:
        world: What to write. Task ids are written where they are not ``<split>-<index>``.
        folder: Made if absent; older parts of a world in it are replaced.
        products_per_part: How many products one file holds at most.
        users_per_part: How many users' histories one file holds at most.
    """
    folder = Path(folder)
    _write_parts(folder, PRODUCTS, world.products, products_per_part)
    _write_parts(folder, HISTORIES, world.histories, users_per_part)
    entries = {user: {"user_profile": profile} for user, profile in world.profiles.items()}
    _write(folder / PROFILES.pattern, entries)
    tasks = {
        split: [
            task.model_dump(exclude={"id"} if task.id == f"{split}-{index}" else None)
            for index, task in enumerate(world.tasks(split))
        ]
        for split in SPLITS
    }
    _write(folder / INSTRUCTIONS.pattern, tasks)


def _write_parts(folder: Path, kind: FileKind, content: Mapping[str, Any], size: int) -> None:
    keys = list(content)
    written = set()
    for number, start in enumerate(range(0, max(len(keys), 1), size), start=1):
        path = folder / f"{kind.stem}_part_{number}.json"
        _write(path, {key: content[key] for key in keys[start : start + size]})
        written.add(path)
    for stale in set(folder.glob(kind.pattern)) - written:
        stale.unlink()


def _write(path: Path, content: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(to_json(content))
