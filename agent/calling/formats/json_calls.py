"""Calls written as JSON objects that hold the tool's name, in any of the keys that models use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ..lenient_json import Unreadable, read_strictly, read_value

NamedArguments = tuple[str, dict[str, Any]]
"""A tool's name and the arguments of its call."""

_NAME_KEYS = ("name", "tool", "tool_name", "function", "function_name", "action")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "params", "kwargs", "input", "tool_input",
                  "action_input")  # fmt: skip
_BESIDE_A_NAME = {"id", "type"}  # what a call without arguments may hold beside its name
_BETWEEN = re.compile(r"[\s,;]*")


def read_objects(text: str, at: int, closing: str) -> tuple[list[Any], int]:
    """JSON values, one after the other, and where the last one ends.

    Values are read as strict JSON, so that ``closing`` may stand in their strings. What is not
    strict JSON is read up to ``closing``, tolerantly.

    Args:
        text: The text.
        at: Where the first one starts.
        closing: What ends the values; empty if nothing does.
    """
    values: list[Any] = []
    end = at
    while True:
        at = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]
        if text[at : at + 1] not in ("{", "["):
            return values, end
        try:
            value, end = read_strictly(text, at)
        except Unreadable:
            cut = text.find(closing, at) if closing else -1
            inside = text[:cut] if cut >= 0 else text
            try:
                value, end = read_value(inside, at)
            except Unreadable:
                return values, end
        values.append(value)


def calls_in(value: Any) -> Iterator[NamedArguments]:
    """The calls that a JSON value is or holds."""
    if isinstance(value, list):
        for item in value:
            yield from calls_in(item)
    elif isinstance(value, dict):
        call = _as_call(value)
        if call:
            yield call
        else:
            yield from calls_in(list(value.values()))


def _as_call(value: dict[str, Any]) -> NamedArguments | None:
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
    if value is None or value == []:  # as some languages write an object without members
        return {}
    return value if isinstance(value, dict) else None


def written_json(value: Any) -> str:
    """JSON as every format writes it."""
    return json.dumps(value, ensure_ascii=False)
