"""Scoring function calls: are these the right ones, and what is wrong with those that are not.

In the manner of BFCL's checker of syntax trees (``ast_checker``): a call is right if it names the
right tool, gives every argument that is asked for and no other, and each has one of the acceptable
values in the right type. Strings are compared without case, white space and the marks ``,./-_*^``.
Parallel calls may come in any order. Here every fault of a call is told, not the first one alone.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...agent.calling.calls import ToolCall
from ...envs.bfcl.cases import CallCase, ExpectedCall
from ...tools.schema import shown, validator
from ...tools.toolkit import Toolkit

METRICS = ("accuracy", "exact", "valid", "tool")
"""Right as BFCL counts it, right to the letter, all calls fit their schemas, the right tools."""

FaultKind = Literal["missing", "wrong type", "not in enum", "wrong value", "hallucinated"]
FAULTS: tuple[FaultKind, ...] = (
    *("missing", "wrong type", "not in enum", "wrong value", "hallucinated"),
)
"""What can be wrong with an argument."""

Problem = Literal["", "no call", "wrong tool", "wrong count", "unwanted call"]
PROBLEMS: tuple[Problem, ...] = ("no call", "wrong tool", "wrong count", "unwanted call")
"""What can be wrong with an answer's calls, before any argument is looked at."""

_IGNORED = re.compile(r"[ ,./\-_*^]")
_PYTHON: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True)
class Fault:
    """What is wrong with one argument.

    Attributes:
        kind: The class of the error.
        tool: Of which tool.
        argument: Which argument.
        expected: What would have been right, for a reader.
        got: What came.
    """

    kind: FaultKind
    tool: str
    argument: str
    expected: str
    got: str


@dataclass(frozen=True)
class CallScore:
    """How an answer's calls compare with the right ones.

    Attributes:
        problem: What is wrong with the calls as such; empty where nothing is.
        faults: What is wrong with arguments of calls that name a right tool.
        right_tools: Whether just the right tools were called, each as often as it should be.
    """

    problem: Problem
    faults: tuple[Fault, ...]
    right_tools: bool

    @property
    def correct(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem and not self.faults


def score_calls(calls: Sequence[ToolCall], case: CallCase, *, exact: bool = False) -> CallScore:
    """Compare an answer's calls with a case's.

    Args:
        calls: What the answer holds.
        case: What was asked, and what is right.
        exact: Compare values as they are: strings letter by letter, types as in the schema.

    Example:
        >>> tools = Toolkit([])
        >>> case = CallCase("1", "simple", (), tools, "no call")
        >>> score_calls([ToolCall("search")], case).problem
        'unwanted call'
    """
    if case.wanted == "no call":
        return CallScore("unwanted call" if calls else "", (), not calls)
    if not calls:
        return CallScore("no call", (), False)
    if case.wanted == "any call":
        return CallScore("", (), True)
    wanted = Counter(call.name for call in case.expected)
    right_tools = Counter(call.name for call in calls) == wanted
    problem: Problem = "" if right_tools else "wrong tool"
    if len(calls) != len(case.expected):
        problem = "wrong count"
    faults = tuple(_least_faults(calls, case.expected, case.tools, exact))
    return CallScore(problem, faults, right_tools)


def schema_valid(calls: Sequence[ToolCall], tools: Toolkit) -> bool | None:
    """Whether every call names a tool and fits its schema; None where there is no call."""
    if not calls:
        return None
    return all(tools.validate(call.name, call.arguments) is None for call in calls)


def _least_faults(
    calls: Sequence[ToolCall], expected: Sequence[ExpectedCall], tools: Toolkit, exact: bool
) -> Iterator[Fault]:
    """The faults when each call is taken for the expected one that makes them fewest."""
    from scipy.optimize import linear_sum_assignment

    for name in dict.fromkeys(call.name for call in expected):
        given = [call for call in calls if call.name == name]
        right = [call for call in expected if call.name == name]
        schema = tools.spec(name).parameters
        faults = [[list(_faults(one, other, schema, exact)) for other in right] for one in given]
        if faults:
            costs = [[len(found) for found in row] for row in faults]
            for one, other in zip(*linear_sum_assignment(costs), strict=True):
                yield from faults[one][other]


def _faults(
    call: ToolCall, expected: ExpectedCall, schema: Mapping[str, Any], exact: bool
) -> Iterator[Fault]:
    properties = schema.get("properties", {})
    for name in dict.fromkeys([*schema.get("required", ()), *expected.arguments]):
        acceptable = expected.arguments.get(name, ())
        required = name in schema.get("required", ())
        if name not in call.arguments and (required or "" not in acceptable):
            yield Fault("missing", call.name, name, _listed(acceptable), "nothing")
    for name, value in call.arguments.items():
        if name not in properties or name not in expected.arguments:
            wanted = "no such argument" if name not in properties else "to be left out"
            yield Fault("hallucinated", call.name, name, wanted, shown(value))
            continue
        acceptable = expected.arguments[name]
        kind = _value_fault(value, acceptable, properties[name], exact)
        if kind:
            yield Fault(kind, call.name, name, _listed(acceptable), shown(value))


def _value_fault(
    value: Any, acceptable: Sequence[Any], schema: Mapping[str, Any], exact: bool
) -> FaultKind | None:
    typed = _has_type(value, schema.get("type")) or any(
        # Where what is right is not of the declared type, its own type counts.
        type(value) is type(right) and right != ""
        for right in acceptable
    )
    if typed and any(same_value(value, right, exact) for right in acceptable):
        return None
    broken = {error.validator for error in validator(schema).iter_errors(value)}
    if not typed or "type" in broken:
        return "wrong type"
    return "not in enum" if "enum" in broken else "wrong value"


def _has_type(value: Any, wanted: Any) -> bool:
    """Whether a value is of a JSON type in Python's sense, in which 5.0 is no integer."""
    names = [wanted] if isinstance(wanted, str) else wanted
    return names is None or any(isinstance(value, _PYTHON.get(name, ())) for name in names)


def same_value(value: Any, right: Any, exact: bool) -> bool:
    """Whether a value is the right one."""
    if isinstance(value, str) and isinstance(right, str):
        return value == right if exact else _plain(value) == _plain(right)
    if isinstance(value, bool) or isinstance(right, bool):
        return value is right
    if isinstance(value, list) and isinstance(right, list):
        return len(value) == len(right) and all(
            same_value(one, other, exact) for one, other in zip(value, right, strict=True)
        )
    if isinstance(value, dict) and isinstance(right, dict):
        return set(value) <= set(right) and all(
            any(same_value(value[name], one, exact) for one in _members(right[name]))
            if name in value
            else "" in _members(right[name])
            for name in right
        )
    return bool(value == right)


def _members(acceptable: Any) -> Sequence[Any]:
    """The acceptable values of an object's member, which stand in a list."""
    return acceptable if isinstance(acceptable, list) else [acceptable]


def _plain(text: str) -> str:
    """What is left of a string for comparison, as BFCL has it."""
    return _IGNORED.sub("", text).lower().replace("'", '"')


def _listed(acceptable: Sequence[Any]) -> str:
    texts = [json.dumps(value, ensure_ascii=False) for value in acceptable if value != ""]
    return " or ".join(texts)[:200] or "a value"
