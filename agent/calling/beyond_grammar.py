"""What a JSON Schema says that no grammar can hold a model to, taken out before one is made of it.

Whoever calls a tool checks the arguments against its whole schema, and tells the model what is
wrong. So a tool that says such things of one argument can be called under constraints all the same:
the call is held to the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ...tools.dialects import LISTED, NAMED, SINGLE
from .formats.schema_parts import resolved

Schema = dict[str, Any]

# What looks at several parts of a value at once, or at what a value is not.
_BEYOND = (
    *("uniqueItems", "contains", "minContains", "maxContains", "propertyNames", "not"),
    *("dependentRequired", "dependentSchemas", "if", "then", "else"),
    *("unevaluatedProperties", "unevaluatedItems"),
)


def reduced_schema(schema: Mapping[str, Any]) -> tuple[Schema, tuple[str, ...]]:
    """A schema that lets through at least what this one does, and that a grammar can hold.

    Names of properties that are listed become properties, and what fits no value is false.
    Patterns stay where their regular expressions can be followed without looking around.

    Args:
        schema: Normal; see ``normal_schema``.

    Returns:
        The schema, and what is not in it any more, such as ``uniqueItems of tags``.
    """
    walk = _Leaving(schema)
    made = walk.schema(schema, "")
    return (made if isinstance(made, dict) else dict(schema)), tuple(dict.fromkeys(walk.left_out))


@dataclass
class _Leaving:
    """One pass over a schema and all inside it."""

    root: Mapping[str, Any]
    left_out: list[str] = field(default_factory=list)

    def schema(self, part: Any, path: str) -> Any:
        """A schema at a place in the arguments."""
        if not isinstance(part, Mapping):
            return part
        if part.get("not") in ({}, True):
            return False
        made: Schema = {}
        for key, value in part.items():
            if key in NAMED and key not in _BEYOND and isinstance(value, Mapping):
                made[key] = {
                    name: self.schema(item, f"{path}.{name}".lstrip("."))
                    for name, item in value.items()
                }
            elif key in LISTED and isinstance(value, list):
                made[key] = [self.schema(item, path) for item in value]
            elif key in SINGLE and key not in _BEYOND:
                made[key] = self.schema(value, f"{path}[]" if key == "items" else path)
            elif key == "pattern" and not _can_be_followed(str(value)):
                self.left_out.append(_named(key, path))
            elif key not in _BEYOND:
                made[key] = value
        self._leave_out(part, made, path)
        for pattern in [p for p in made.get("patternProperties", ()) if not _can_be_followed(p)]:
            value = made["patternProperties"].pop(pattern)
            if made.get("additionalProperties") is False:
                made["additionalProperties"] = value
            self.left_out.append(_named("patternProperties", path))
        return made

    def _leave_out(self, part: Mapping[str, Any], made: Schema, path: str) -> None:
        """Take note of what is beyond a grammar, or say it in other words."""
        for key in _BEYOND:
            if key not in part or (key == "uniqueItems" and part[key] is False):
                continue
            if key != "propertyNames" or not self._name_properties(part[key], made):
                self.left_out.append(_named(key, path))

    def _name_properties(self, names: Any, made: Schema) -> bool:
        """Say what properties may be called, as properties; whether that could be done."""
        names = resolved(names, self.root)
        listed = [names["const"]] if "const" in names else names.get("enum", [])
        pattern = names.get("pattern")
        value = made.get("additionalProperties", {})
        if listed and all(isinstance(name, str) for name in listed):
            given = made.get("properties", {})
            made["properties"] = {name: value for name in listed} | given
        elif pattern is not None and _can_be_followed(pattern) and "properties" not in made:
            made["patternProperties"] = {pattern: value} | made.get("patternProperties", {})
        else:
            return False
        made["additionalProperties"] = False
        return True


@lru_cache(maxsize=512)
def _can_be_followed(pattern: str) -> bool:
    """Whether a regular expression needs no look at what is around, and none back."""
    from llguidance import LLMatcher

    schema = json.dumps({"type": "string", "pattern": pattern})
    return not LLMatcher.validate_grammar(f"start: %json {schema}")


def _named(key: str, path: str) -> str:
    return f"{key} of {path or 'the arguments'}"
