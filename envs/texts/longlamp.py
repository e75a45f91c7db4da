"""LongLaMP's abstracts: reading parquet or JSON lines, and asking for a past paper's abstract.

A record is ``{name, input, output, profile: [{id, title, abstract, ...}]}``; ``name`` is the
author. See Kumar et al., "LongLaMP: A Benchmark for Personalized Long-form Text Generation"
(arXiv 2407.11016), its configurations ``abstract_generation_user`` and ``_temporal``.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...errors import TrimtabError
from ..files.ids import Id, OptionalId
from ..files.lamp_files import folder_looks_like, looks_like
from ..files.reading import holds_list, read_json, read_records
from ..shop.records import FileRecord
from .authors import AuthorRecord, AuthorSample, LeftOut, as_date, join_users
from .dataset import TextDataset
from .keyphrases import keyphrases

_QUESTION = re.compile(
    r'\s*Generate an abstract for the title\s*"(?P<title>.*?)"\s*using the following items:', re.S
)
_SPLITS = {"test": "test", "val": "val", "valid": "val", "dev": "val", "train": "train"}
_OTHER_TASKS = re.compile(r"product_review|topic_writing|email_completion", re.IGNORECASE)
ITEMS = 5
"""How many key phrases stand in the question for a past paper, as in most published questions."""


class _ProfilePaper(FileRecord):
    id: OptionalId = ""
    title: str | None
    abstract: str | None


class LongLampRecord(FileRecord):
    """One question with the profile of the author who is asked."""

    name: Id
    input: str
    output: str | None
    profile: list[_ProfilePaper]


def ask(item: AuthorSample) -> str:
    """The question for a paper, as the benchmark would put it.

    A profile has a paper's title and abstract, not the items that a question lists. In the
    published questions a language model took them from the abstract; here they are the abstract's
    key phrases by a fixed rule (see ``keyphrases``).
    """
    items = ", ".join(keyphrases(item.output, ITEMS))
    return f'Generate an abstract for the title "{item.body}" using the following items: {items}.'


def load_longlamp(path: Path | str, *, split: str | None = None) -> TextDataset:
    """Read LongLaMP's abstracts.

    Args:
        path: A folder with ``test*`` (and ``train*``) ``.parquet``, ``.jsonl`` or ``.json`` files,
            in it or one folder below, or one such file.
        split: What to test on: default test, else val, else train. Where a train split of the
            same authors is there too, its records are part of their past.

    Raises:
        TrimtabError: Files are missing, broken, or another task's; one line.
    """
    path = Path(path)
    splits = _find(path)
    if split is not None and split not in splits:
        raise TrimtabError(f"{path}: no split {split!r}; there is {', '.join(splits)}")
    chosen = split or next(name for name in ("test", "val", "train") if name in splits)
    left_out = LeftOut()
    records = _records(splits[chosen], chosen, left_out)
    earlier: list[AuthorRecord] = []
    if chosen != "train" and "train" in splits:
        names = {record.user_id for record in records}
        train = _records(splits["train"], "train", LeftOut())
        earlier = [record for record in train if record.user_id in names]
    dataset = join_users(
        f"LongLaMP {chosen} ({path.resolve().name})", records, earlier, ask, left_out
    )
    if not dataset.users:
        raise TrimtabError(f"{path}: no author has a past paper; expected a profile with papers")
    return dataset


def _find(path: Path) -> Mapping[str, list[Path]]:
    """Files by split."""
    if path.is_file():
        return {_split_of(path): [path]}
    if not path.is_dir():
        raise TrimtabError(f"no file or folder {path}; expected LongLaMP's test*.parquet or .jsonl")
    files = [
        file
        for depth in ("", "*/", "*/*/")
        for kind in ("parquet", "jsonl", "json")
        for file in sorted(path.glob(f"{depth}*.{kind}"))
        if _named_split(file) and "questions" not in file.name and "outputs" not in file.name
    ]
    if not files:
        raise TrimtabError(
            f"{path}: no abstracts of LongLaMP; expected test*.parquet or test*.jsonl (and train*)"
            f"{folder_looks_like(path)}"
        )
    own = [file for file in files if not _OTHER_TASKS.search(str(file.relative_to(path)))] or files
    folders = {file.parent for file in own}
    kinds = sorted({str(folder) for folder in folders if "temporal" in folder.name.lower()})
    if kinds and len(kinds) < len(folders):
        raise TrimtabError(
            f"{path}: has both the user and the temporal split; give one, {kinds[0]}"
        )
    splits: dict[str, list[Path]] = {}
    for file in own:
        splits.setdefault(_split_of(file), []).append(file)
    return splits


def _named_split(path: Path) -> str | None:
    match = re.match(r"(test|val|valid|dev|train)", path.stem, re.IGNORECASE)
    return _SPLITS[match.group(1).lower()] if match else None


def _split_of(path: Path) -> str:
    return _named_split(path) or "test"


def _records(files: Sequence[Path], split: str, left_out: LeftOut) -> list[AuthorRecord]:
    rows = []
    for path in files:
        for place, content in enumerate(_rows(path)):
            row = _checked(path, place, content)
            other = "" if _QUESTION.match(row.input) else looks_like(row.input)
            if other:
                raise TrimtabError(
                    f"{path}: expected questions that begin 'Generate an abstract for the title', "
                    f"got {row.input[:60]!r} in record [{place}]{other}"
                )
            rows.append(row)
    return longlamp_records(rows, split, left_out)


def longlamp_records(
    rows: Sequence[LongLampRecord], split: str, left_out: LeftOut
) -> list[AuthorRecord]:
    """Records named ``<split>-<place>``; those that cannot be used are counted in ``left_out``."""
    records = []
    for place, row in enumerate(rows):
        question = _QUESTION.match(row.input)
        if question is None:
            left_out.add("records whose input is not the task's question")
            continue
        gold = row.output or ""
        if not gold.strip():
            left_out.add("records without a gold")
            continue
        date = as_date((row.model_extra or {}).get("date"))
        item = AuthorSample(f"{split}-{place}", question["title"].strip(), gold, date)
        records.append(AuthorRecord(row.name, row.input, item, _papers(row, left_out)))
    return records


def _papers(record: LongLampRecord, left_out: LeftOut) -> list[AuthorSample]:
    papers = []
    for place, paper in enumerate(record.profile):
        title, abstract = paper.title or "", paper.abstract or ""
        if not title.strip() or not abstract.strip():
            left_out.add("past samples without a text")
            continue
        extra = paper.model_extra or {}
        date = as_date(extra.get("date") or extra.get("year"))
        papers.append(AuthorSample(paper.id or str(place), title.strip(), abstract, date))
    return papers


def _checked(path: Path, place: int, content: Any) -> LongLampRecord:
    try:
        return LongLampRecord.model_validate(content)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in detail["loc"]) or "record"
        what = "is missing" if detail["type"] == "missing" else detail["msg"].lower()
        came = ""
        if isinstance(content, dict) and "name" not in content:
            came = looks_like(str(content.get("input", "")))
        raise TrimtabError(f"{path}: record [{place}], field {name}: {what}{came}") from None


def _rows(path: Path) -> Iterator[Any]:
    """One record after another, of whichever of the three kinds of file."""
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    if holds_list(path):
        try:
            yield from json.loads(read_json(path))
        except ValueError as error:
            raise TrimtabError(f"{path}: not JSON ({error})") from None
        return
    for line in read_records(path):
        if line.record is None:
            raise TrimtabError(f"{path}: line {line.number}: {line.fault}")
        yield line.record


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except OSError as error:
        raise TrimtabError(f"{path}: cannot be read ({error})") from None
    except pa.ArrowException as error:
        first = str(error).splitlines()[0]
        raise TrimtabError(f"{path}: is no parquet file that can be read ({first})") from None
