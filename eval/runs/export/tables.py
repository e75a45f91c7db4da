"""A run's records as one table, a row a record: CSV for spreadsheets, Parquet for data frames."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ....files import encodable, replacing, without_formula
from ..record import Record, Run

_NESTED = ("prompt", "picked", "detail")
_PLAIN = (
    "method", "sample_id", "user_id", "kind", "output", "gold", "history", "prompt_tokens",
    "completion_tokens", "seconds", "cut", "error",
)  # fmt: skip
_WHOLE = ("history", "prompt_tokens", "completion_tokens", "cut")


def table_rows(run: Run, records: Iterable[Record]) -> list[dict[str, Any]]:
    """One flat row a record.

    A metric is the column ``score_NAME``, empty where there is no score; the prompt, the picked
    entries and the detail are JSON in a column each.
    """
    return [
        {
            **{name: _text(getattr(record, name)) for name in _PLAIN},
            **{f"score_{name}": record.scores.get(name) for name in run.metrics},
            **{name: _json(getattr(record, name)) for name in _NESTED},
        }
        for record in records
    ]


def write_csv(run: Run, records: Iterable[Record], path: Path) -> None:
    """Write ``table_rows`` as CSV in UTF-8, with a header.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, as OWASP has it
    ("CSV Injection"): what a model or a user wrote is run by nobody's program. Parquet needs none.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(without_formula, _columns(run)))
        for row in table_rows(run, records):
            writer.writerow(without_formula(row[name]) for name in _columns(run))


def write_parquet(run: Run, records: Iterable[Record], path: Path) -> None:
    """Write ``table_rows`` as Parquet; scores are nullable numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _type(name, pa)) for name in _columns(run)])
    table = pa.Table.from_pylist(table_rows(run, records), schema=schema)
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def _columns(run: Run) -> list[str]:
    return [*_PLAIN, *(f"score_{name}" for name in run.metrics), *_NESTED]


def _type(column: str, pa: Any) -> Any:
    if column in _WHOLE:
        return pa.int64()
    return pa.float64() if column == "seconds" or column.startswith("score_") else pa.string()


def _text(value: Any) -> Any:
    return encodable(value) if isinstance(value, str) else value


def _json(value: Any) -> str:
    return encodable(json.dumps(value, ensure_ascii=False))
