"""A run's folder: what was asked, every result as it comes, and in the end the summary.

    run.json        the configuration, where a run with another one is refused, and what made it:
                    versions, machine and date, under "provenance"
    vectors.json    by steered method a digest of the vectors that it adds
    results.jsonl   one record a line, appended as results come
    summary.json    written whole when the run ends

A process that is killed in the middle of a line loses that line alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import TrimtabError
from ...files import is_temporary, replacing
from .old_records import current_names
from .provenance import provenance

PROVENANCE = "provenance"
"""Where ``run.json`` says what made the run; no part of the configuration."""

_SHOWN_DIFFERENCES = 3
_OWN_FILES = {".lock", "run.json", "vectors.json", "results.jsonl", "summary.json"}


class RunFolder:
    """An open run folder; see ``run_folder``."""

    def __init__(self, path: Path, records: list[dict[str, Any]]) -> None:
        self.path = path
        self.records = records

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one result; it is on its way to the disk when this returns."""
        # Escaped, since a model can write what no encoding holds, such as half a surrogate pair.
        line = json.dumps(record, allow_nan=False) + "\n"
        with (self.path / "results.jsonl").open("a", encoding="ascii") as file:
            file.write(line)
        self.records.append(dict(record))

    def hold_to_vectors(self, digests: Mapping[str, str]) -> None:
        """Keep what each method's vectors are, or see that they are those of the run's records.

        The configuration says what vectors are made from. The same may make others: with another
        release, or on another machine.

        Args:
            digests: By the method's name in the run; those that are not named are left as they are.

        Raises:
            TrimtabError: A method's vectors are others than before.
        """
        path = self.path / "vectors.json"
        there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        other = [name for name, digest in digests.items() if there.get(name, digest) != digest]
        if other and self.records:
            raise TrimtabError(
                f"the run in {self.path} was begun with other vectors of {other[0]} than those "
                "there are now; give another folder, or the dictionaries that it was begun with"
            )
        if {**there, **digests} != there:
            _write_json(path, {**there, **digests})

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, whole or not at all."""
        _write_json(self.path / "summary.json", summary)


@contextmanager
def run_folder(path: Path | str, configuration: Mapping[str, Any]) -> Iterator[RunFolder]:
    """Open a folder for a run: a new one, or one to resume.

    Args:
        path: The folder.
        configuration: Plain data that decides the results.

    Yields:
        The folder, with the records that are there already.

    Raises:
        TrimtabError: It holds a run of another configuration, another process is writing to it,
            or it is not a run's folder.
    """
    import filelock

    path = Path(path)
    _make(path)
    lock = filelock.FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise TrimtabError(
            f"another process is writing to {path}; wait for it, or give another folder"
        ) from None
    try:
        # Under the lock nobody else is writing: what is half written is of a killed process.
        for item in path.iterdir():
            if is_temporary(item, _OWN_FILES):
                item.unlink(missing_ok=True)
        records = _read_records(path / "results.jsonl")
        others = {item.name for item in path.iterdir()} - _OWN_FILES
        _keep_configuration(path, configuration, begun=bool(records or others))
        yield RunFolder(path, records)
    finally:
        lock.release()


def _make(path: Path) -> None:
    """Make the folder, or see that the one that is there is a run's."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        there = {item.name for item in path.iterdir() if not is_temporary(item, _OWN_FILES)} - {
            ".lock"
        }
    except OSError as error:
        raise TrimtabError(f"cannot use {path} as a run's folder: {error.strerror}") from error
    if there and "run.json" not in there:
        raise TrimtabError(
            f"{path} is no run's folder, it holds {sorted(there)[0]!r}; give an empty or a new "
            "folder"
        )


def _keep_configuration(path: Path, configuration: Mapping[str, Any], *, begun: bool) -> None:
    """Write the configuration, or see that the one that a run was begun with is the same.

    A run that has kept nothing yet, as it failed before that, leaves its place to another.
    """
    # As JSON reads it, so that a tuple equals the list that it was written as.
    wanted = json.loads(json.dumps(configuration))
    wanted.pop(PROVENANCE, None)
    made = {**wanted, PROVENANCE: provenance()}
    try:
        there = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        _write_json(path / "run.json", made)
        return
    except (ValueError, OSError) as error:
        raise TrimtabError(f"cannot read {path / 'run.json'}: {error}") from error
    if isinstance(there, dict):
        there = current_names({k: value for k, value in there.items() if k != PROVENANCE})
    differences = _differences(there, wanted)
    if differences and not begun:
        _write_json(path / "run.json", made)
    elif differences:
        more = len(differences) - _SHOWN_DIFFERENCES
        shown = "; ".join(differences[:_SHOWN_DIFFERENCES]) + (f"; {more} more" if more > 0 else "")
        raise TrimtabError(
            f"the run in {path} was made with another configuration ({shown}); give another "
            "folder, or the same configuration to resume it"
        )


def _differences(there: Any, wanted: Any, name: str = "") -> list[str]:
    """What differs, each as ``name: was A, now B``."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        return [
            difference
            for key in sorted({*there, *wanted})
            for difference in _differences(
                there.get(key), wanted.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if there == wanted else [f"{name}: was {_brief(there)}, now {_brief(wanted)}"]


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _read_records(path: Path) -> list[dict[str, Any]]:
    """The whole lines; the torn end of a killed run's last line is cut off."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("rb+") as file:
            file.truncate(len(whole))
    records = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise TrimtabError(f"{path}: line {number} is not a record; remove that line")
        records.append(record)
    return records


def _write_json(path: Path, value: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n",
            encoding="utf-8",
        )
