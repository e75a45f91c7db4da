"""Values as bare text, where a format has no quotes: what a text means is said by the schema.

A text for a string is that string. Any other text is JSON where it is JSON that fits the schema,
and else a string. Where nothing is known of the schema, it is JSON or a string.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..lenient_json import Unreadable, read_strictly, sound
from .json_calls import written_json
from .schema_parts import definitions_of, referred

_PYTHON_WORDS = {"True": True, "False": False, "None": None}
_ESCAPED = "\\u003c"


def typed_text(value: Any, schema: Mapping[str, Any], mark: str) -> str:
    """A value as the text that ``read_typed`` reads as it.

    Args:
        value: Any JSON value.
        schema: Its schema, empty where it is unknown.
        mark: What the text must not hold.
    """
    if isinstance(value, str) and mark not in value and read_typed(value, schema) == value:
        return value
    text = written_json(value)
    # In a quoted string for a text, `\\u003c` is what tells it from a text that has quotes.
    return text.replace("<", _ESCAPED) if mark in text else text


def read_typed(text: str, schema: Mapping[str, Any]) -> Any:
    """What a text without quotes means.

    Args:
        text: The text, without what stands around it.
        schema: Of the value, empty where it is unknown.
    """
    value, whole = _json(text)
    if only_strings(schema):
        return value if whole and isinstance(value, str) and _ESCAPED in text else _sound(text)
    if not whole and text in _PYTHON_WORDS:
        value, whole = _PYTHON_WORDS[text], True
    if whole and (not schema or _may_be(value, schema)):
        return value
    return _sound(text)


def _json(text: str) -> tuple[Any, bool]:
    start = len(text) - len(text.lstrip())
    try:
        value, end = read_strictly(text, start)
    except Unreadable:
        return None, False
    return value, not text[end:].strip()


def _sound(text: str) -> str:
    made = sound(text)
    assert isinstance(made, str)
    return made


def _types(schema: Mapping[str, Any]) -> set[str] | None:
    """The types that a schema allows; None where it does not say."""
    if "$ref" in schema:
        target = referred(str(schema["$ref"]), schema)
        return _types(target) if isinstance(target, Mapping) and "$ref" not in target else None
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return {_type_of(value) for value in values}
    named = schema.get("type")
    if named is not None:
        types = {named} if isinstance(named, str) else set(named)
        return types | {"null"} if schema.get("nullable") is True else types
    for key in ("anyOf", "oneOf"):
        if key in schema:
            parts = [
                _types({**definitions_of(schema), **part}) if isinstance(part, Mapping) else None
                for part in schema[key]
            ]
            if any(part is None for part in parts):
                return None
            return set().union(*(part for part in parts if part is not None))
    return None


def only_strings(schema: Mapping[str, Any]) -> bool:
    """Whether a schema allows nothing but strings."""
    return _types(schema) == {"string"}


def _may_be(value: Any, schema: Mapping[str, Any]) -> bool:
    types = _types(schema)
    if types is None:
        return True
    kind = _type_of(value)
    return kind in types or (kind == "integer" and "number" in types) or (
        isinstance(value, float) and value.is_integer() and "integer" in types
    )  # fmt: skip


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
