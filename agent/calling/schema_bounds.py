"""Narrowing a JSON Schema until everything that fits it is of bounded size.

Small models loop inside strings, invent properties and never end a list. A grammar made from a
narrowed schema does not let them, and whatever it lets through fits the schema as it was, but for
what no grammar can say: see ``beyond_grammar``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...tools.dialects import normal_schema
from .beyond_grammar import reduced_schema
from .flat_schema import MAX_DEPTH, flattened

MAX_STRING = 512
"""Characters in a string whose schema sets no bound."""

MAX_ITEMS = 32
"""Items in an array, or members of a free-form object, whose schema sets no bound."""

_MAX_INTEGER = 2**53 - 1  # the largest that every JSON reader keeps exact

_SCALARS = ("string", "number", "integer", "boolean", "null")
_DEFINITIONS = ("$defs", "definitions")
# Keywords whose values are: schemas by name, a list of schemas, one schema.
_NAMED = (*_DEFINITIONS, "properties", "patternProperties", "dependentSchemas")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = (
    *("items", "additionalItems", "unevaluatedItems", "contains", "propertyNames"),
    *("additionalProperties", "unevaluatedProperties", "not", "if", "then", "else"),
)
# Keywords that say what a value is; a schema without any of them lets every type through.
_DECIDING = ("type", "const", "enum", "$ref", "$dynamicRef", *_LISTED[:3], "not", "if")
_ASSERTING = (
    *("type", "const", "enum", "$ref", *_LISTED, "items", "properties", "patternProperties"),
    *("additionalProperties", "required", "minProperties", "maxProperties", "minItems"),
    *("maxItems", "minLength", "maxLength", "pattern", "format", "minimum", "maximum"),
)
_NOTES = (
    *("title", "description", "default", "examples", "$comment", "$schema", "deprecated"),
    *("readOnly", "writeOnly"),
)
# A format that is not enforced is a note as well; these are what llguidance enforces.
_FORMATS = (
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
    "uri",
)


@dataclass(frozen=True)
class Bounds:
    """The bounds that a schema gets where it sets none.

    Attributes:
        max_string: Characters in a string.
        max_items: Items in an array, members of a free-form object.
        max_depth: How many references deep into recursive definitions a value may go.
        exact: Leave what no grammar can say where it is, so that a grammar is refused: for values
            that nobody checks once they are written.
    """

    max_string: int = MAX_STRING
    max_items: int = MAX_ITEMS
    max_depth: int = MAX_DEPTH
    exact: bool = False

    def narrowed(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The schema of an object of arguments, narrowed; notes for the reader are left out.

        Strings, arrays, numbers and recursion are bounded, objects hold nothing but their named
        properties, and what may be anything is a scalar, or a list or object of scalars and of
        lists of scalars.
        """
        schema = normal_schema(parameters, "the tool")
        if not self.exact:
            schema, _ = reduced_schema(schema)
        schema = flattened(schema, self.max_depth)
        if not any(key in schema for key in _DECIDING) or schema.get("type") == "object":
            schema = {"type": "object", "properties": {}, **schema}
        # Closing an object takes away what a schema that is merged with it adds: where schemas
        # are merged at all, the definitions stay open.
        walk = _Narrowing(self, close_definitions=not any(_merges(part) for part in _parts(schema)))
        return walk.schema(schema, close=True)

    def bound(self, schema: dict[str, Any], close: bool) -> None:
        """Add what is missing to one schema, in place."""
        if not any(key in schema for key in _DECIDING):
            schema["type"] = ["object", "array", *_SCALARS]
        if "const" in schema or "enum" in schema:
            return
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        if "string" in types and "maxLength" not in schema:
            # A pattern bounds most strings itself, and needs the length that it needs.
            shaped = "pattern" in schema or "format" in schema
            least = max(_number(schema, "minLength"), MAX_STRING if shaped else 0)
            schema["maxLength"] = max(self.max_string, least)
        if "integer" in types or "number" in types:
            _bound_number(schema)
        if "array" in types:
            if "maxItems" not in schema:
                schema["maxItems"] = max(self.max_items, _number(schema, "minItems"))
            if close:
                schema.setdefault("items", self.member())
        if "object" in types and close:
            self._close(schema)

    def scalar(self) -> dict[str, Any]:
        """A schema of any string, number, boolean or null."""
        scalar: dict[str, Any] = {"type": list(_SCALARS)}
        self.bound(scalar, close=True)
        return scalar

    def member(self) -> dict[str, Any]:
        """A schema of any scalar, or a list of scalars."""
        listed = {"type": "array", "items": self.scalar(), "maxItems": self.max_items}
        return {"anyOf": [self.scalar(), listed]}

    def _close(self, schema: dict[str, Any]) -> None:
        named = "properties" in schema or "patternProperties" in schema
        if named or "additionalProperties" in schema:
            if schema.setdefault("additionalProperties", False) is False and named:
                for name in schema.get("required", ()):
                    schema.setdefault("properties", {}).setdefault(name, self.member())
            return
        schema["additionalProperties"] = self.member()
        if "maxProperties" not in schema:
            schema["maxProperties"] = max(self.max_items, _number(schema, "minProperties"))


@dataclass(frozen=True)
class _Narrowing:
    """One pass over a schema and all inside it."""

    bounds: Bounds
    close_definitions: bool

    def schema(self, schema: dict[str, Any], *, close: bool) -> dict[str, Any]:
        close = close and not _merges(schema)
        narrowed = {
            key: self._value(key, value, close)
            for key, value in schema.items()
            if not _is_note(key, value)
        }
        self.bounds.bound(narrowed, close)
        return narrowed

    def _value(self, key: str, value: Any, close: bool) -> Any:
        close = self.close_definitions if key in _DEFINITIONS else close
        if key in _NAMED and isinstance(value, dict):
            return {name: self._part(part, close) for name, part in value.items()}
        if key in _LISTED and isinstance(value, list):
            return [self._part(part, close) for part in value]
        return self._part(value, close) if key in _SINGLE else value

    def _part(self, part: Any, close: bool) -> Any:
        part = {} if part is True else part
        return self.schema(part, close=close) if isinstance(part, dict) else part


def _bound_number(schema: dict[str, Any]) -> None:
    limits = [_number(schema, key) for key in ("minimum", "maximum")]
    limits += [_number(schema, key) for key in ("exclusiveMinimum", "exclusiveMaximum")]
    if max(map(abs, limits)) >= _MAX_INTEGER:
        return
    if "minimum" not in schema and "exclusiveMinimum" not in schema:
        schema["minimum"] = -_MAX_INTEGER
    if "maximum" not in schema and "exclusiveMaximum" not in schema:
        schema["maximum"] = _MAX_INTEGER


def _number(schema: Mapping[str, Any], key: str) -> float:
    value = schema.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _is_note(key: str, value: Any) -> bool:
    if key == "format":
        return value not in _FORMATS
    return key in _NOTES or (key == "uniqueItems" and value is False)


def _merges(schema: Mapping[str, Any]) -> bool:
    """Whether what this schema allows comes from several parts at once.

    ``oneOf`` counts: a closed alternative could fit a value that two open ones fit.
    """
    if "allOf" in schema or "oneOf" in schema:
        return True
    asserting = [key for key in _ASSERTING if key in schema]
    return len(asserting) > 1 and ("$ref" in schema or "anyOf" in schema)


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """This schema and every one inside it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key, value in schema.items():
        inside: Any = ()
        if key in _NAMED and isinstance(value, dict):
            inside = value.values()
        elif key in _LISTED and isinstance(value, list):
            inside = value
        elif key in _SINGLE:
            inside = (value,)
        for part in inside:
            yield from _parts(part)
