"""One sample answered under one method, and a run's folder read as such records.

The runner, reports, comparisons and exports know these two shapes alone.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import TrimtabError
from ..metrics import METRICS
from .old_records import as_record, current_names, is_old

UNPERSONALIZED = ("zero-shot", "unsteered")
"""Names of the method that knows nothing of the user; the first that a run has is its baseline."""

_CONTROLS = ("other", "population")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One sample answered under one method.

    Attributes:
        method: The method's name.
        sample_id: The sample.
        user_id: Whose sample it is.
        kind: Its type within the task (search, recommend, ...); empty where all are alike.
        prompt: The messages as sent, each with ``role`` and ``content``.
        output: What the model answered.
        gold: What it should have answered; empty where that is not known.
        scores: By metric; None could not be scored.
        history: How many earlier samples the user has.
        picked: The dictionary entries that steered it: ``sample_id``, ``key``, ``answer``,
            ``similarity``, ``weight`` and ``norms``, as far as they are known.
        prompt_tokens: In all requests of the sample.
        completion_tokens: In all answers.
        seconds: That the model spent on the answer. Its latency where ``detail["batch"]`` is 1;
            else its share of the passes that it was in.
        cut: History samples or tokens that were cut to fit the context.
        error: What of the machinery failed; empty where nothing did. Such a record has no scores
            and is not counted as wrong.
        detail: The task's own: an episode, error classes, decode options, what is needed to replay;
            and the ``traceback`` of a failure of code.
    """

    method: str
    sample_id: str
    user_id: str
    kind: str = ""
    prompt: list[dict[str, Any]] = field(default_factory=list)
    output: str = ""
    gold: str = ""
    scores: dict[str, float | None] = field(default_factory=dict)
    history: int = 0
    picked: list[dict[str, Any]] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cut: int = 0
    error: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def repeat(self) -> int:
        """Which of several draws of one sample this is, from 0."""
        return int(self.detail.get("repeat", 0))

    @property
    def drawn_from(self) -> str:
        """The sample's id without the number of the repeat: that of all its draws."""
        return self.sample_id.removesuffix(f"#{self.repeat}") if self.repeat else self.sample_id

    def to_json(self) -> dict[str, Any]:
        """Plain data, one line of ``results.jsonl``."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Record:
        """What ``to_json`` made.

        Raises:
            TrimtabError: It is not such a record.
        """
        unknown = sorted(set(plain) - set(_TYPES))
        missing = sorted({"method", "sample_id", "user_id"} - set(plain))
        if unknown or missing:
            fault = f"it has no {missing[0]!r}" if missing else f"{unknown[0]!r} is no field of one"
            raise TrimtabError(f"not the record of an answered sample: {fault}")
        for name, value in plain.items():
            if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
                raise TrimtabError(
                    f"not the record of an answered sample: {name!r} is a {type(value).__name__}"
                )
        for name, score in plain.get("scores", {}).items():
            number = isinstance(score, int | float) and math.isfinite(score)
            if score is not None and not number:
                raise TrimtabError(
                    f"not the record of an answered sample: the score {name!r} is {score!r}"
                )
        return cls(**plain)


_SHAPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "list": (list,),
    "dict": (dict,),
}
_TYPES = {f.name: _SHAPES[str(f.type).partition("[")[0]] for f in fields(Record)}


@dataclass(frozen=True)
class Run:
    """A run's folder, read.

    Attributes:
        path: The folder.
        configuration: What ``run.json`` holds.
        records: One a method and sample, in the order in which they first came.
    """

    path: Path
    configuration: dict[str, Any]
    records: tuple[Record, ...]

    @property
    def task(self) -> str:
        """What was evaluated."""
        return str(self.configuration.get("task", ""))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores, the main one first.

        A benchmark's own score is left out where it is the same as ours in every record.
        """
        named = self.configuration.get("metrics", ())
        scored = (name for record in self.records for name in record.scores)
        twins = {m.of_benchmark: m.name for m in METRICS.values() if m.of_benchmark}
        return tuple(
            name
            for name in dict.fromkeys([*named, *scored])
            if name not in twins
            or any(r.scores.get(name) != r.scores.get(twins[name]) for r in self.records)
        )

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods' names in the order of the configuration, only those with records."""
        named = self.configuration.get("methods") or ()
        there = dict.fromkeys(record.method for record in self.records)
        return tuple(dict.fromkeys([*(name for name in named if name in there), *there]))

    @property
    def baseline(self) -> str:
        """The method that the others are compared with; empty in a run without records."""
        named = (self.configuration.get("baseline"), *UNPERSONALIZED, *self.methods)
        return next((name for name in named if name in self.methods), "")

    @cached_property
    def of(self) -> dict[str, dict[str, Record]]:
        """Records by method, then by sample."""
        by_method: dict[str, dict[str, Record]] = {method: {} for method in self.methods}
        for record in self.records:
            by_method[record.method][record.sample_id] = record
        return by_method

    def controls(self, method: str) -> tuple[str, ...]:
        """The methods that steer just as ``method`` does, but not by the user's own dictionary."""
        return tuple(n for c in _CONTROLS if (n := f"{method}-{c}") in self.methods)


def read_run(folder: Path | str) -> Run:
    """Read a run's folder, finished or not; nothing in it is changed.

    Args:
        folder: Of ``trimtab eval`` or of ``trimtab run``.

    Returns:
        The run. A later line of the same method and sample stands for an earlier one, and the torn
        last line of a run that was killed is left out.

    Raises:
        TrimtabError: It is not a run's folder, or a line of it is no record.
    """
    folder = Path(folder)
    try:
        configuration = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        results = folder / "results.jsonl"
        lines = results.read_bytes() if results.exists() else b""
    except (FileNotFoundError, NotADirectoryError):
        raise TrimtabError(
            f"{folder} is no run's folder: it has no run.json; give the folder that "
            "`trimtab eval --out` or `trimtab run --out` wrote"
        ) from None
    except (ValueError, OSError) as error:
        raise TrimtabError(f"cannot read the run in {folder}: {error}") from error
    if not isinstance(configuration, dict):
        raise TrimtabError(f"{folder / 'run.json'}: expected an object, the run's configuration")
    records: dict[tuple[str, str], Record] = {}
    old = 0
    for number, line in enumerate(lines[: lines.rfind(b"\n") + 1].splitlines(), 1):
        try:
            plain = json.loads(line)
            old += isinstance(plain, dict) and is_old(plain)
            record = _record(plain)
        except (ValueError, TrimtabError) as error:
            raise TrimtabError(f"{results}, line {number}: {error}; remove that line") from error
        records[record.method, record.sample_id] = record
    if old:
        _log.warning(
            "%s was written by an earlier trimtab; it can be read for one more release, and is not "
            "resumed",
            folder,
        )
    return Run(folder, current_names(configuration), tuple(records.values()))


def _record(plain: Any) -> Record:
    if not isinstance(plain, dict):
        raise TrimtabError(f"expected an object, got {type(plain).__name__}")
    return Record.from_json(as_record(plain) if is_old(plain) else plain)
