"""Records of a file, one at a time: JSON lines or CSV, plain or gzip, in UTF-8 or UTF-16."""

import ast
import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, AnyStr, BinaryIO, NamedTuple, cast

from pydantic_core import from_json

from ...errors import TrimtabError

JsonObject = dict[str, Any]

_CSV_ENDINGS = (".csv", ".tsv", ".txt")
_GZIP = b"\x1f\x8b"
_SEPARATORS = ",;\t|"
# The longest field of a CSV file, in characters; a longer one is an unclosed quote.
_LONGEST_FIELD = 10_000_000
# The longest first line of a CSV file, in characters; a longer one names no columns.
_LONGEST_HEADER = 100_000
# The longest line of JSON, in bytes; more is no record, and would be held in memory at once.
_LONGEST_LINE = 32_000_000
# The longest line that may be a Python literal, in bytes: a tree of its syntax takes far more.
_LONGEST_LITERAL = 1_000_000
# Where a list begins if it is one, in bytes.
_BEGINNING = 1024
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SHOWN = 40


class Line(NamedTuple):
    """One record, and the line that it begins at.

    ``record`` is None where the line holds none; then ``fault`` says what was expected and came.
    """

    number: int
    record: JsonObject | None
    fault: str = ""


def read_records(path: Path, on_bytes: Callable[[int], None] | None = None) -> Iterator[Line]:
    r"""The records of a file, streamed.

    A file is CSV if it is called ``.csv``, ``.tsv`` or ``.txt`` (before ``.gz``), else JSON lines.
    Lines end where ``\n`` or ``\r\n`` stands, and nowhere else. Empty lines are passed over; a
    line that holds no JSON object comes as a `Line` without one. Objects may be written as Python
    writes them, as in Amazon's release of 2014. Half of a surrogate pair becomes a question mark.

    Args:
        path: The file.
        on_bytes: Told how many bytes of the file have been read, now and then.

    Raises:
        TrimtabError: The file cannot be read, is cut off, or is no text.
    """
    with _opened(path) as (raw, content):
        read = _csv_records if _is_csv(path) else _json_records
        for line in read(content, path):
            if on_bytes and line.number % 1000 == 0:
                on_bytes(raw.tell())
            yield line
        if on_bytes:
            on_bytes(path.stat().st_size)


def read_json(path: Path) -> bytes:
    """A file that is one JSON value, as UTF-8 without a mark of the byte order.

    Half of a surrogate pair becomes a question mark. Whether it is JSON is not checked.

    Args:
        path: In UTF-8 or UTF-16, plain or gzip.

    Raises:
        TrimtabError: The file cannot be read, is cut off, or is no text.
    """
    with _opened(path) as (_, content):
        data = _as_utf8(content.read())
    if _SURROGATE.search(data):
        with suppress(ValueError):  # who parses it says why
            data = json.dumps(json.loads(data), ensure_ascii=False).encode("utf-8", "replace")
    return data


def holds_list(path: Path) -> bool:
    """Whether a file begins as a JSON list does.

    Raises:
        TrimtabError: As `read_json`.
    """
    with _opened(path) as (_, content):
        return _as_utf8(content.read(_BEGINNING), "ignore").lstrip().startswith(b"[")


def _as_utf8(data: bytes, errors: str = "strict") -> bytes:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors).encode("utf-8", "replace")
    return data.removeprefix(codecs.BOM_UTF8)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file, and what it holds; what cannot be read is told in one line."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            with cast(BinaryIO, gzip.open(raw)) if packed else raw as content:
                yield raw, content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TrimtabError(f"{path}: a broken gzip file ({error}); fetch it anew") from error
    except UnicodeDecodeError as error:
        raise TrimtabError(f"{path}: expected text in UTF-8 ({error.reason})") from error
    except OSError as error:
        raise TrimtabError(f"{path}: cannot be read ({error.strerror})") from error


def _is_csv(path: Path) -> bool:
    names = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return bool(names) and names[-1] in _CSV_ENDINGS


def _json_records(content: BinaryIO, path: Path) -> Iterator[Line]:
    for number, line in enumerate(_lines(content), 1):
        stripped = line.strip()
        if not stripped:
            continue
        if number == 1 and stripped.startswith(b"["):
            raise TrimtabError(f"{path}: expected one JSON object a line, got a JSON list")
        if len(line) > _LONGEST_LINE:
            fault = f"expected a line of at most {_LONGEST_LINE:,} bytes, got {_short(stripped)}"
            yield Line(number, None, fault)
            continue
        try:
            record = _object(stripped)
        except ValueError as error:
            yield Line(number, None, _broken(stripped, error))
            continue
        if isinstance(record, dict):
            yield Line(number, record)
        else:
            yield Line(number, None, f"expected a JSON object, got {_short(stripped)}")


def _lines(content: BinaryIO) -> Iterator[bytes]:
    """Lines in UTF-8, without a mark of the byte order; of one too long only the beginning."""
    first = content.readline(_LONGEST_LINE + 1)
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content.seek(0)
        text = io.TextIOWrapper(content, encoding="utf-16", newline="\n")
        for line in _cut(text.readline, text.readline(_LONGEST_LINE + 1), "\n"):
            yield line.encode("utf-8", "replace")
        text.detach()
    else:
        yield from _cut(content.readline, first.removeprefix(codecs.BOM_UTF8), b"\n")


def _cut(read: Callable[[int], AnyStr], line: AnyStr, end: AnyStr) -> Iterator[AnyStr]:
    """A first line and all that follow; of one too long only the beginning."""
    while line:
        yield line
        while len(line) > _LONGEST_LINE and not line.endswith(end):
            line = read(_LONGEST_LINE + 1)
        line = read(_LONGEST_LINE + 1)


def _object(line: bytes) -> Any:
    try:
        return from_json(line)
    except ValueError:
        record = _lenient(line)
        if record is None:
            raise
        return record


def _lenient(line: bytes) -> Any:
    """An object with half a surrogate pair in it, or as Python writes it; None for any other."""
    readers = (json.loads, ast.literal_eval) if len(line) <= _LONGEST_LITERAL else (json.loads,)
    for read in readers:
        try:
            record = read(line.decode())
            whole = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")
            return from_json(whole) if line.startswith(b"{") else None
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def _broken(line: bytes, error: ValueError) -> str:
    """Why a line is no JSON; the parser sees no other lines and calls it the first."""
    try:
        line.decode()
    except UnicodeDecodeError as undecoded:
        return f"expected text in UTF-8 ({undecoded.reason})"
    reason = str(error).replace("line 1 column", "character")
    return f"expected a JSON object, got {_short(line)} ({reason})"


def _short(line: bytes) -> str:
    text = line[: 4 * _SHOWN + 4].decode(errors="replace")
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _csv_records(content: BinaryIO, path: Path) -> Iterator[Line]:
    start = content.read(2)
    content.seek(0)
    wide = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = io.TextIOWrapper(content, encoding="utf-16" if wide else "utf-8-sig", newline="")
    header = text.readline(_LONGEST_HEADER)
    if not header.strip() or len(header) == _LONGEST_HEADER:
        raise TrimtabError(f"{path}: expected a CSV file whose first line names its columns")
    separator = max(_SEPARATORS, key=header.count)
    [columns] = csv.reader([header], delimiter=separator)
    former = csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.reader(text, delimiter=separator)
        after = 1  # the last line of the row before; a quoted field may go over several
        for row in reader:
            number, after = after + 1, reader.line_num + 1
            if len(row) == len(columns):
                yield Line(number, dict(zip(columns, row, strict=True)))
            elif row:
                fault = f"expected {len(columns)} fields as in the first line, got {len(row)}"
                yield Line(number, None, fault)
    except csv.Error as error:
        raise TrimtabError(f"{path}: line {reader.line_num + 1}: {error}") from error
    finally:
        csv.field_size_limit(former)
        text.detach()
