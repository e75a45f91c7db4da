"""The Berkeley Function Calling Leaderboard (BFCL, versions 3 and 4), read as cases to answer.

A folder holds one file of JSON lines a category, ``BFCL_v4_<category>.json``, and in
``possible_answer`` a file of the same name with what is right. Parameter types are Python's
(``dict``, ``float``, ``tuple``, ``any``); they become JSON Schema.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...errors import TrimtabError
from ...tools.spec import ToolSpec
from ...tools.toolkit import Toolkit
from ..files.ids import AN_ID, as_id
from ..files.lamp_files import file_looks_like
from ..files.reading import read_records

Wanted = Literal["calls", "no call", "any call"]
"""What is right: the expected calls, calling nothing, or calling something whatever it is."""

_ANSWERS = "possible_answer"
_FILE = re.compile(r"(?:BFCL_v\d+_)?(?P<category>\w+)\.jsonl?")
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_SUBSCHEMAS = ("items", "additionalProperties")
_OTHER_LANGUAGES = ("java", "javascript")


@dataclass(frozen=True)
class ExpectedCall:
    """A right call.

    Attributes:
        name: The tool.
        arguments: The acceptable values of each argument; ``""`` among them means that it may be
            left out. An acceptable object has the acceptable values of each member in turn.
            Arguments that are not named must not be given.
    """

    name: str
    arguments: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class CallCase:
    """One conversation that tools are to be called for.

    Attributes:
        id: The case's.
        category: Such as ``simple_python``.
        messages: The conversation, OpenAI-style.
        tools: What may be called.
        wanted: What is right.
        expected: The right calls, in any order.
    """

    id: str
    category: str
    messages: tuple[dict[str, Any], ...]
    tools: Toolkit = field(compare=False)
    wanted: Wanted = "calls"
    expected: tuple[ExpectedCall, ...] = ()


@dataclass(frozen=True)
class CallCases:
    """A benchmark's cases.

    Attributes:
        cases: In the order of the files.
        left_out: Why files were not read, by name.
        fingerprint: Of all that the cases say.
    """

    cases: tuple[CallCase, ...]
    left_out: Mapping[str, str]
    fingerprint: str

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that there are cases of."""
        return tuple(dict.fromkeys(case.category for case in self.cases))

    def chosen(
        self, categories: Sequence[str] = (), count: int | None = None, seed: int = 0
    ) -> CallCases:
        """Only some of the cases, in their order.

        Args:
            categories: Only cases of these; none is all.
            count: So many, drawn at random; None is all.
            seed: Of the draw.

        Raises:
            TrimtabError: A category that there are no cases of, or fewer cases than asked for.
        """
        unknown = sorted(set(categories) - set(self.categories))
        if unknown:
            raise TrimtabError(
                f"expected categories among {', '.join(self.categories)}; got {unknown[0]}"
            )
        cases = [case for case in self.cases if not categories or case.category in categories]
        if count is not None:
            if not 1 <= count <= len(cases):
                raise TrimtabError(f"expected from 1 to {len(cases)} cases, got {count}")
            drawn = set(random.Random(seed).sample(range(len(cases)), count))
            cases = [case for place, case in enumerate(cases) if place in drawn]
        return replace(self, cases=tuple(cases))


def load_bfcl(path: Path | str) -> CallCases:
    """Read a folder of the benchmark, or one of its files.

    Args:
        path: Either. A file's answers are looked for in ``possible_answer`` beside it. Categories
            with ``irrelevance`` in their name need none: nothing is to be called there.

    Returns:
        The cases. Files of several turns, or in other languages' types, are left out, and the
        result says so.

    Raises:
        TrimtabError: There is no such file, none that can be read, or a line of one is not a case.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise TrimtabError(
            f"there is no {path}; give the folder with BFCL_v4_*.json and possible_answer/"
        )
    files = [path] if path.is_file() else sorted(path.glob("*.json*"))
    cases: list[CallCase] = []
    left_out: dict[str, str] = {}
    digest = hashlib.sha256()
    for file in files:
        reason = _unreadable(file)
        if reason:
            left_out[file.name] = reason
            continue
        cases += _cases(file)
        for part in (file, file.parent / _ANSWERS / file.name):
            digest.update(part.read_bytes() if part.exists() else b"")
    if not cases:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise TrimtabError(f"no cases to read in {path}{f' ({reasons})' if reasons else ''}")
    return CallCases(tuple(cases), left_out, digest.hexdigest()[:16])


def json_schema(parameters: Any) -> Any:
    """The benchmark's description of parameters as JSON Schema.

    Example:
        >>> json_schema({"type": "dict", "properties": {"x": {"type": "float"}}})
        {'type': 'object', 'properties': {'x': {'type': 'number'}}}
    """
    if not isinstance(parameters, Mapping):
        return parameters
    schema: dict[str, Any] = {}
    for key, value in parameters.items():
        if key == "type":
            if value != "any":
                schema["type"] = _TYPES.get(value, value)
        elif key == "properties" and isinstance(value, Mapping):
            schema["properties"] = {name: json_schema(part) for name, part in value.items()}
        elif key != "optional":  # says what `required` says, and is no keyword
            schema[key] = json_schema(value) if key in _SUBSCHEMAS else value
    return schema


def _unreadable(file: Path) -> str:
    """Why a file is left out; empty if it is not."""
    match = _FILE.fullmatch(file.name)
    if not match:
        return "not a file of cases"
    if match["category"].rpartition("_")[2] in _OTHER_LANGUAGES:
        return "parameter types of another language"
    first = next(iter(_lines(file)), None)
    if first is None or "function" not in first or "question" not in first:
        return "its cases bring no functions"
    return ""


def _cases(file: Path) -> Iterator[CallCase]:
    category = str(_FILE.fullmatch(file.name)["category"])  # type: ignore[index]
    answers_file = file.parent / _ANSWERS / file.name
    wanted: Wanted = "calls"
    if not answers_file.exists():
        if "relevance" not in category:
            raise TrimtabError(f"{file} has no answers: expected {answers_file}")
        wanted = "no call" if "irrelevance" in category else "any call"
    answers = (
        {as_id(line.get("id")): line for line in _lines(answers_file)} if wanted == "calls" else {}
    )
    for number, line in enumerate(_lines(file), 1):
        try:
            name = as_id(line["id"])
            if name is None:
                raise TrimtabError(f"expected an id, {AN_ID}, got {line['id']!r}")
            expected = tuple(
                ExpectedCall(tool, arguments)
                for call in (answers[name]["ground_truth"] if wanted == "calls" else ())
                for tool, arguments in call.items()
            )
            [turn] = line["question"]
            tools = [_tool(function) for function in line["function"]]
            yield CallCase(name, category, tuple(turn), Toolkit(tools), wanted, expected)
        except (KeyError, TypeError, ValueError, AttributeError, TrimtabError) as error:
            fault = f"{error} is missing" if isinstance(error, KeyError) else error
            raise TrimtabError(f"{file.name}, line {number} is no case: {fault}") from error


def _tool(function: Mapping[str, Any]) -> ToolSpec:
    return ToolSpec(
        function["name"], function.get("description", ""), json_schema(function["parameters"])
    )


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        for line in read_records(file):
            if line.record is None:
                raise TrimtabError(f"{file.name}, line {line.number}: {line.fault}")
            yield line.record
    except TrimtabError as error:
        raise TrimtabError(f"{error}{file_looks_like(file)}") from error
