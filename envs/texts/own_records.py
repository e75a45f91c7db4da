"""A file of people's own records: what was asked, what the user wrote, and when, a record a line.

JSON lines or CSV, plain or gzip, of ``{user, output, input, time, id, split}``, of which the first
two are needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ...errors import TrimtabError
from ..files.ids import AN_ID, as_id
from ..files.lamp_files import file_looks_like, folder_looks_like
from ..files.reading import Line, read_records
from ..importing.cleaning import MILLISECONDS_FROM, clean_number, clean_time
from ..shop.records import SPLITS

EXAMPLE = '{"user": "ann", "input": "Reply: coming?", "output": "on my way!", "time": "2024-05-01"}'
"""A record."""
EXPECTED = f"expected .jsonl, .csv or .tsv with a record a line, such as {EXAMPLE}"

# A number above this is no time in milliseconds: it would be after the year 5000.
_TOO_LATE = 100_000_000_000_000


@dataclass(frozen=True)
class OwnRecord:
    """One record, checked.

    Attributes:
        line: The line that it begins at.
        user: Who wrote.
        input: What was asked; "" where that is not known.
        output: What the user wrote.
        id: Of the record; ``line-<line>`` where it has none.
        time: In milliseconds since 1970; None where there is none.
        unit: What the time is given in; "" where there is none.
        split: ``train`` or ``test``; "" where it is not said.
    """

    line: int
    user: str
    input: str
    output: str
    id: str
    time: int | None
    unit: str
    split: str


def read_own_records(path: Path) -> list[OwnRecord]:
    """The records of a file: each sound, and all with times of one kind and splits, or none.

    Args:
        path: ``.jsonl``, ``.csv`` or ``.tsv``, plain or gzip.

    Raises:
        TrimtabError: The file is missing, empty or a benchmark's, a record is broken, or two of
            one user have the same id; one line.
    """
    if path.is_dir():
        own = sorted(file for end in ("jsonl", "csv", "tsv") for file in path.glob(f"*.{end}*"))
        hint = f"; give one of its files, such as {own[0]}" if own else folder_looks_like(path)
        raise TrimtabError(f"{path}: expected a file, got a folder{hint}")
    if not path.exists():
        raise TrimtabError(f"there is no file {path}; {EXPECTED}")
    records: list[OwnRecord] = []
    try:
        for line in read_records(path):
            records.append(_record(path, line))
    except TrimtabError as error:
        # What fails at once may be no file of records at all.
        hint = "" if records else file_looks_like(path)
        raise TrimtabError(f"{error}{hint}") from None
    if not records:
        raise TrimtabError(f"{path}: no records; {EXPECTED}")
    _check_alike(path, records, "time", lambda record: record.unit)
    _check_alike(path, records, "split", lambda record: "one" if record.split else "")
    _check_ids(path, records)
    return records


def _record(path: Path, line: Line) -> OwnRecord:
    if line.record is None:
        raise TrimtabError(f"{path}: line {line.number}: {line.fault}")
    fields = _Fields(f"{path}: line {line.number}", line.record)
    user, output = fields.name("user", needed=True), fields.text("output", needed=True)
    time, unit = fields.time()
    return OwnRecord(
        line=line.number,
        user=user,
        input=fields.text("input"),
        output=output,
        id=fields.name("id") or f"line-{line.number}",
        time=time,
        unit=unit,
        split=fields.split(),
    )


@dataclass(frozen=True)
class _Fields:
    """The fields of one record; an empty text and a JSON null say nothing."""

    where: str
    record: Mapping[str, Any]

    def text(self, name: str, *, needed: bool = False) -> str:
        value = self._value(name, needed)
        if not isinstance(value, str | None):
            self._refuse(name, "a text")
        return value if value and value.strip() else ""

    def name(self, name: str, *, needed: bool = False) -> str:
        value = self._value(name, needed)
        if value is None or (isinstance(value, str) and not value.strip()):
            if needed:
                self._refuse(name, "who wrote the text")
            return ""
        found = as_id(value)
        if found is None:
            self._refuse(name, AN_ID)
        return found

    def time(self) -> tuple[int | None, str]:
        """Milliseconds since 1970, and what they were given in."""
        value = self._value("time")
        if value is None or (isinstance(value, str) and not value.strip()):
            return None, ""
        time = clean_time(value)
        if time is None or time >= _TOO_LATE:
            self._refuse("time", "seconds or milliseconds since 1970, or a date like 2024-05-01")
        number = clean_number(value)
        if number is None:
            return time, "a date"
        return time, "milliseconds" if number >= MILLISECONDS_FROM else "seconds"

    def split(self) -> str:
        found = self.text("split").strip()
        if found and found not in SPLITS:
            self._refuse("split", " or ".join(map(repr, SPLITS)))
        return found

    def _value(self, name: str, needed: bool = False) -> Any:
        if needed and name not in self.record:
            has = ", ".join(map(repr, list(self.record)[:20])) or "no fields"
            raise TrimtabError(f"{self.where}, field {name}: is missing; the record has {has}")
        return self.record.get(name)

    def _refuse(self, name: str, expected: str) -> NoReturn:
        came = repr(self.record[name])
        came = came if len(came) <= 40 else f"{came[:40]}..."
        raise TrimtabError(f"{self.where}, field {name}: expected {expected}, got {came}")


def _check_alike(
    path: Path, records: Sequence[OwnRecord], name: str, said: Callable[[OwnRecord], str]
) -> None:
    """Refuse a field that only some records have, or have in another unit."""
    first = records[0]
    for record in records:
        if said(record) != said(first):
            expected, came = said(first) or "none", said(record) or "none"
            raise TrimtabError(
                f"{path}: line {record.line}, field {name}: expected {expected} as in line "
                f"{first.line}, got {came}; all records need it alike, or none"
            )


def _check_ids(path: Path, records: Sequence[OwnRecord]) -> None:
    lines: dict[tuple[str, str], int] = {}
    for record in records:
        before = lines.setdefault((record.user, record.id), record.line)
        if before != record.line:
            raise TrimtabError(
                f"{path}: line {record.line}, field id: expected one that user {record.user!r} has "
                f"not yet, got {record.id!r}, which line {before} has"
            )
