"""Arguments as Python's keyword arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..python_calls import read_arguments
from .json_calls import written_json
from .schema_parts import Schema
from .value_rules import Notation, Rules


def _python(value: Any) -> str:
    """A value as a Python literal, its strings in double quotes."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, Mapping):
        members = (f"{written_json(key)}: {_python(item)}" for key, item in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_python, value))}]"
    return written_json(value)


def _quoted(rules: Rules, schema: Schema) -> str:
    kept = ("minLength", "maxLength", "pattern", "format")
    return rules.json({"type": "string", **{k: schema[k] for k in kept if k in schema}}, {})


_PYTHON_VALUES = Notation(
    write=_python,
    string=_quoted,
    key=lambda name: f"{written_json(name)}: ",
    any_key='/"[A-Za-z0-9_ -]{1,64}": /',
    comma=", ",
    true="True",
    false="False",
    null="None",
)


@dataclass(frozen=True)
class PythonArguments:
    """Python's keyword arguments, ``query="lamp", limit=3``, up to the closing parenthesis."""

    def write(self, arguments: Mapping[str, Any], schema: Schema) -> str:
        """See ``Arguments``."""
        return ", ".join(f"{_keyword(k)}{_python(v)}" for k, v in arguments.items())

    def read(self, text: str, at: int, schema: Schema) -> tuple[dict[str, Any], int]:
        """See ``Arguments``; the end is in front of the parenthesis."""
        return read_arguments(text, at)

    def rules(self, schema: Schema, rules: Rules) -> str:
        """See ``Arguments``."""
        notation = Notation(**{**vars(_PYTHON_VALUES), "key": _keyword})
        parts = {**schema, "additionalProperties": False}
        return _top_members(parts, schema, rules, notation, _PYTHON_VALUES)


def _top_members(
    schema: Schema, root: Schema, rules: Rules, notation: Notation, inside: Notation
) -> str:
    """Members whose keys are written in one way, and those of objects inside in another."""
    required = set(schema.get("required", ()))
    after = first = rules.add('""')
    comma = json.dumps(notation.comma)
    for name, part in reversed(list(schema.get("properties", {}).items())):
        if part is False:
            continue
        member = f"{rules.literal(notation.key(name))} {rules.value(part, root, inside)}"
        again, begun = f"{comma} {member} {after}", f"{member} {after}"
        if name not in required:
            again, begun = f"{again} | {after}", f"{begun} | {first}"
        after, first = rules.add(again), rules.add(begun)
    return first


def _keyword(name: str) -> str:
    """An argument's name as a keyword; models write names that Python has no room for as well."""
    return f"{name}=" if re.fullmatch(r"[^\W\d][\w-]*", name) else f"{written_json(name)}="
