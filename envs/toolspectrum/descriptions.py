"""ToolSpectrum's apps as tools: types and allowed values are read from the descriptions' words.

An argument is described as ``"ticketType (list)": "Ticket type. Available values: [regular,
luxury]."``. The type in brackets is Python's. The allowed values follow ``values:``, or end the
description in square brackets; brackets after ``e.g.`` are examples, and allow anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import TrimtabError
from ...tools.spec import ToolSpec

_NAME = re.compile(r"(?P<name>\S+) \((?P<type>\w+)\)")
_TYPES = {
    "str": "string",
    "syt": "string",  # so misspelled in the published file
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}
# Square brackets after "values:", or after the end of a sentence.
_ALLOWED = re.compile(
    r"(?:\bvalues:|\.)\s*(?P<lists>\[[^\]]*\](?:\s*,\s*\[[^\]]*\])*)", re.IGNORECASE
)
_LIST = re.compile(r"\[([^\]]*)\]")
_NUMBERS = re.compile(r"\[\s*-?\d")


@dataclass(frozen=True)
class AppFunction:
    """One function of an app.

    Attributes:
        app: The app, as the benchmark names it.
        name: The function, as the benchmark names it.
        tool: What a model is shown: ``App.function``, with ``_`` for spaces.
        required: The arguments that a request must say.
        personal: The arguments that follow from who the person is.
        policy: The app's rules, in words.
    """

    app: str
    name: str
    tool: ToolSpec
    required: tuple[str, ...]
    personal: tuple[str, ...]
    policy: tuple[str, ...]


def tool_name(app: str, function: str) -> str:
    """What a model calls a function of an app by.

    Example:
        >>> tool_name("Duoduo Maicai", "buyProduct")
        'Duoduo_Maicai.buyProduct'
    """
    return f"{app.replace(' ', '_')}.{function}"


def functions_of(descriptions: Mapping[str, Any]) -> Iterator[AppFunction]:
    """Every function of every app.

    Args:
        descriptions: The contents of ``API_description_persona.json``.

    Raises:
        TrimtabError: An app or argument that is not described as the benchmark does it.
    """
    for app, described in descriptions.items():
        try:
            for name, function in described["APIs"].items():
                yield _function(app, described, name, function)
        except (KeyError, TypeError, AttributeError) as error:
            fault = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise TrimtabError(
                f"the app {app!r} is not described as ToolSpectrum does it: expected desc and "
                f"APIs, each with desc, required_arguments and personalized_arguments; {fault}"
            ) from error


def competing(functions: Iterator[AppFunction] | list[AppFunction]) -> dict[str, tuple[str, ...]]:
    """The apps that each app competes with, itself among them, in the benchmark's order.

    Apps compete that have a function of the same name, or the same rules.
    """
    marks: dict[str, set[str]] = {}
    for each in functions:
        marks.setdefault(each.app, set()).update([each.name, *each.policy])
    groups: list[list[str]] = []
    for app, own in marks.items():
        near = [group for group in groups if any(own & marks[other] for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([*(other for group in near for other in group), app])
    order = list(marks)
    return {app: tuple(sorted(group, key=order.index)) for group in groups for app in group}


def argument_schema(kind: str, described: str) -> dict[str, Any]:
    """The JSON Schema of one argument.

    Args:
        kind: Python's type.
        described: What it is, in words.

    Raises:
        TrimtabError: Another type.

    Example:
        >>> argument_schema("list", "Ticket type. Available values: [regular, luxury].")["items"]
        {'enum': ['regular', 'luxury']}
    """
    if kind not in _TYPES:
        raise TrimtabError(f"expected a type among {', '.join(_TYPES)}, got {kind!r}")
    schema: dict[str, Any] = {"type": _TYPES[kind], "description": described}
    allowed = _allowed(described)
    if kind == "list":
        if not allowed:
            items = "number" if _NUMBERS.search(described) else "string"
            return {**schema, "items": {"type": items}}
        if isinstance(allowed[0], list):
            return {"enum": allowed, "description": described}
        return {**schema, "items": {"enum": allowed}}
    if kind == "dict":
        return {**schema, "additionalProperties": {"type": ["string", "number"]}}
    # Values say more than the type, which is not always theirs: `(int)` with `<250, 250-500`.
    return {"enum": allowed, "description": described} if allowed else schema


def _function(
    app: str, described: Mapping[str, Any], name: str, function: Mapping[str, Any]
) -> AppFunction:
    kinds: dict[str, tuple[str, ...]] = {}
    properties: dict[str, Any] = {}
    for kind in ("required_arguments", "personalized_arguments"):
        names = []
        for written, words in function[kind].items():
            match = _NAME.fullmatch(written)
            if match is None:
                raise TrimtabError(
                    f"{app}, {name}: expected an argument as 'name (type)', got {written!r}"
                )
            try:
                properties[match["name"]] = argument_schema(match["type"], words)
            except TrimtabError as error:
                raise TrimtabError(f"{app}, {name}, {written}: {error}") from error
            names.append(match["name"])
        kinds[kind] = tuple(names)
    required = kinds["required_arguments"]
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return AppFunction(
        app=app,
        name=name,
        tool=ToolSpec(tool_name(app, name), f"{described['desc']} {function['desc']}", parameters),
        required=required,
        personal=kinds["personalized_arguments"],
        policy=tuple(described.get("policy", ())),
    )


def _allowed(described: str) -> list[Any]:
    """The allowed values in a description's words; none where anything is."""
    match = _ALLOWED.search(described)
    if match is None:
        return []
    lists = [_values(inside) for inside in _LIST.findall(match["lists"])]
    return lists[0] if len(lists) == 1 else lists


def _values(text: str) -> list[Any]:
    """The values between two square brackets; words may stand without quotes."""
    values = []
    for part in text.split(","):
        word = part.strip()
        try:
            values.append(json.loads(word.replace("'", '"')))
        except ValueError:
            values.append(word.strip("'\""))
    return values
