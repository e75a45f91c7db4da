"""Tool calls as text: the form that models are taught, its grammar, and reading it back.

The form is that of Hermes and Qwen models::

    <tool_call>
    {"name": "search", "arguments": {"query": "lamp"}}
    </tool_call>

``call_grammar``, of the module ``grammar``, lets a model write nothing else than such a call.
``parse_call`` reads calls from free text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...tools.toolkit import ToolError
from .grammar import CALL_CLOSE, CALL_OPEN
from .grammar import call_grammar as call_grammar
from .literals import Unreadable, read_arguments, read_value


@dataclass(frozen=True)
class ToolCall:
    """A call as the model made it, not yet checked against any schema.

    Attributes:
        name: The tool's name.
        arguments: By name.
        id: What the tool's answer refers to.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = "call_0"


def format_call(call: ToolCall) -> str:
    """The call as the text that the model is taught.

    Example:
        >>> print(format_call(ToolCall("search", {"query": "lamp"})))
        <tool_call>
        {"name": "search", "arguments": {"query": "lamp"}}
        </tool_call>
    """
    made = {"name": call.name, "arguments": call.arguments}
    return f"{CALL_OPEN}\n{json.dumps(made, ensure_ascii=False)}\n{CALL_CLOSE}"


# ---- reading free text -------------------------------------------------------------------------

_NAME_KEYS = ("name", "tool", "tool_name", "function", "function_name", "action")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "params", "kwargs", "input", "tool_input",
                  "action_input")  # fmt: skip
_BESIDE_A_NAME = {"id", "type"}  # what a call without arguments may hold beside its name
_MAX_TEXT = 50_000  # characters that are looked at
_MAX_STARTS = 50  # places in one text where a call is looked for
_BLOCK = re.compile(rf"{CALL_OPEN}(.*?)(?:{CALL_CLOSE}|(?={CALL_OPEN})|\Z)", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*[^\S\n]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_CODE = re.compile(r"(?<![\w.-])([A-Za-z_][\w.-]*)\(")


def parse_call(text: str) -> ToolCall | ToolError:
    """The first tool call in a model's free text, or an error that says what was expected.

    Read are calls between ``<tool_call>`` marks, in code fences, as bare JSON or JSON-like
    objects anywhere in the text, and as code, ``search(query="lamp")``. Never raises.
    """
    calls = parse_calls(text)
    if calls:
        return calls[0]
    came = " ".join(text.split())
    came = f"{came[:100]}…" if len(came) > 100 else came
    return ToolError(
        "unparsable",
        f'expected a tool call as {CALL_OPEN}{{"name": ..., "arguments": {{...}}}}{CALL_CLOSE}, '
        f"got {came or 'an empty answer'}",
    )


def parse_calls(text: str) -> list[ToolCall]:
    """Every tool call in a model's free text, in its order; see ``parse_call``. Never raises."""
    text = text[:_MAX_TEXT]
    for pieces in (_BLOCK.findall(text), _FENCE.findall(text), [text]):
        found = [call for piece in pieces for call in _objects(piece)]
        found = found or [call for piece in pieces for call in _code(piece)]
        if found:
            return [
                ToolCall(name, arguments, f"call_{number}")
                for number, (name, arguments) in enumerate(found)
            ]
    return []


_Found = tuple[str, dict[str, Any]]


def _objects(text: str) -> Iterator[_Found]:
    """Calls written as objects, at any place in the text."""
    at = 0
    for _ in range(_MAX_STARTS):
        at = text.find("{", at)
        if at < 0:
            return
        try:
            value, end = read_value(text, at)
        except Unreadable:
            at += 1
            continue
        yield from _calls_in(value)
        at = end


def _calls_in(value: Any) -> Iterator[_Found]:
    """The calls that a value is or holds."""
    if isinstance(value, list):
        for item in value:
            yield from _calls_in(item)
    elif isinstance(value, dict):
        call = _as_call(value)
        if call:
            yield call
        else:
            yield from _calls_in(list(value.values()))


def _as_call(value: dict[str, Any]) -> _Found | None:
    name_key = next((key for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    if name_key is None or not value[name_key].strip():
        return None
    name = value[name_key].strip()
    for key in _ARGUMENT_KEYS:
        if key in value:
            arguments = _as_arguments(value[key])
            return None if arguments is None else (name, arguments)
    return None if set(value) - {name_key} - _BESIDE_A_NAME else (name, {})


def _as_arguments(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        if not value.strip():
            return {}
        try:
            value, _ = read_value(value)
        except Unreadable:
            return None
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def _code(text: str) -> Iterator[_Found]:
    """Calls written as code: all of a piece, or with at least one keyword argument."""
    at = 0
    for _ in range(_MAX_STARTS):
        start = _CODE.search(text, at)
        if not start:
            return
        at = start.end()
        try:
            if text[at : at + 1] == "{":
                value, end = read_value(text, at)
                arguments = value if isinstance(value, dict) else {}
                end = text.find(")", end) + 1 or len(text)
            else:
                arguments, end = read_arguments(text, at)
        except Unreadable:
            continue
        alone = not (text[: start.start()] + text[end:]).strip()
        if arguments or alone:
            yield start[1], arguments
            at = end
