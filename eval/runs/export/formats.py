"""The formats that a run can be exported to, and the one call that does it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import TrimtabError
from ....files import encodable, replacing
from ..record import Record, Run
from .tables import write_csv, write_parquet

if TYPE_CHECKING:
    from ....envs.shop.world import World

FORMATS = {
    "csv": "all records as one table",
    "parquet": "all records as one table",
    "lamp": "LaMP's submission, a file a method",
    "personalwab": "PersonalWAB's results, a file a method",
    "inspect": "Inspect's logs, a file a method",
}

_TABLES: dict[str, Callable[[Run, Iterable[Record], Path], None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
}


def export_run(
    run: Run,
    to: str,
    out: Path | None = None,
    *,
    methods: Sequence[str] = (),
    world: Callable[[], World] | None = None,
) -> list[Path]:
    """Write a run in another format; every file whole or not at all.

    Args:
        run: From ``read_run``.
        to: One of ``FORMATS``.
        out: For a table the file, for the others a folder; None is beside the run's own files.
        methods: Only these; empty is all.
        world: Opens the world that was played, for ``personalwab``.

    Returns:
        What was written.

    Raises:
        TrimtabError: An unknown format or method, a run without records or of another task, or a
            file that cannot be written.
    """
    if to not in FORMATS:
        raise TrimtabError(f"no format {to!r}; expected one of {', '.join(FORMATS)}")
    if not run.records:
        raise TrimtabError(f"the run in {run.path} has no results yet; let at least one end")
    unknown = [method for method in methods if method not in run.methods]
    if unknown:
        raise TrimtabError(
            f"no method {unknown[0]!r} in {run.path}; it has {', '.join(run.methods)}"
        )
    chosen = [method for method in run.methods if not methods or method in methods]
    try:
        if to in _TABLES:
            path = out or run.path / f"records.{to}"
            _TABLES[to](run, [r for r in run.records if r.method in chosen], path)
            return [path]
        # All are made before the first is written: a method that cannot be exported leaves none.
        opened = cache(world) if world is not None else None
        made = [_made(run, to, method, opened) for method in chosen]
        if len({name for name, _ in made}) < len(made):
            raise TrimtabError(
                f"two of the methods {', '.join(chosen)} would be one file; export one at a time "
                "with --method"
            )
        folder = out or run.path / to
        return [_write(folder / name, content) for name, content in made]
    except OSError as error:
        raise TrimtabError(
            f"cannot write {error.filename or out or run.path}: {error.strerror or error}"
        ) from error


def _made(
    run: Run, to: str, method: str, world: Callable[[], World] | None
) -> tuple[str, dict[str, Any] | list[Any]]:
    """A method's file: its name and what is in it."""
    if to == "lamp":
        from .lamp import lamp_submission

        return _named(method), lamp_submission(run, method)
    if to == "inspect":
        from .inspect_log import inspect_log, inspect_name

        return inspect_name(run, method), inspect_log(run, method)
    from .personalwab import personalwab_file

    if world is None:
        raise TrimtabError("PersonalWAB's results are numbered by its tasks; give the world")
    return _named(method), personalwab_file(run, method, world())


def _named(method: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9._+=-]+', '_', method).strip('_.')}.json"


def _write(path: Path, content: dict[str, Any] | list[Any]) -> Path:
    with replacing(path) as temporary:
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
        temporary.write_text(encodable(text) + "\n", encoding="utf-8")
    return path
