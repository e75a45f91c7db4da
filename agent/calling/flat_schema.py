"""A JSON Schema made flat: recursion to a bounded depth, and one part where several hold at once.

What fits the flat schema fits the one that it was made from. Flat schemas can be closed: an
object that is described in one place can be told to hold nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

MAX_DEPTH = 8
"""How many references deep into recursive definitions a value may go."""

_DEFINITIONS = ("$defs", "definitions")
_NOTES = frozenset(
    ("title", "description", "default", "examples", "$comment", "deprecated", "discriminator")
)
_OBJECT = frozenset(("type", "properties", "required"))

Schema = dict[str, Any]


def flattened(schema: Mapping[str, Any], max_depth: int = MAX_DEPTH) -> Schema:
    """The schema without recursion, with ``allOf`` of objects made one object.

    An object or array that could only go on beyond ``max_depth`` ends there: optional properties
    are left out, arrays are empty. Alternatives (``oneOf``) that cannot hold at once become
    ``anyOf``, as do those that share properties with what stands beside them.

    Args:
        schema: Of an object of arguments.
        max_depth: How many references deep into recursive definitions a value may go.
    """
    unfolded = _Unfolding(schema, max_depth).root()
    return _Joining(unfolded).schema(unfolded)


# ---- recursion ---------------------------------------------------------------------------------


@dataclass
class _Unfolding:
    """One copy of each recursive definition for each level at which it is found."""

    source: Mapping[str, Any]
    max_depth: int
    made: dict[str, Schema | None] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=lambda: {"#": "root"})

    def root(self) -> Schema:
        self._recursive = {
            reference for reference in _references(self.source) if self._finds_itself(reference)
        }
        if not self._recursive:
            return dict(self.source)
        kept = {key: value for key, value in self.source.items() if key not in _DEFINITIONS}
        root = self._part(kept, 0)
        if root is None:  # no value is finite: left to be told by whoever enforces it
            return dict(self.source)
        for key in _DEFINITIONS:
            for name, part in self.source.get(key, {}).items():
                if f"#/{key}/{_escaped(name)}" not in self._recursive:
                    schema = self._part(part, 0)
                    root.setdefault(key, {})[name] = False if schema is None else schema
        unfolded = {name: part for name, part in self.made.items() if part is not None}
        root["$defs"] = {**root.get("$defs", {}), **unfolded}
        return root

    def _finds_itself(self, reference: str) -> bool:
        seen: set[str] = set()
        waiting = [reference]
        while waiting:
            for found in _references(_looked_up(self.source, waiting.pop()), inside_only=True):
                if found == reference:
                    return True
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)
        return False

    def _copy(self, reference: str, level: int) -> str | None:
        """The name of a definition's copy at a level; None where nothing finite fits it."""
        name = f"{self._name(reference)}.{level}"
        if level > self.max_depth:
            return None
        if name not in self.made:
            target = _looked_up(self.source, reference)
            if reference == "#" and isinstance(target, Mapping):
                target = {k: v for k, v in target.items() if k not in _DEFINITIONS}
            self.made[name] = self._part(target, level)
        return name if self.made[name] is not None else None

    def _name(self, reference: str) -> str:
        """A name of its own for a definition, without what a reference would have to escape."""
        if reference not in self.names:
            name = re.sub(r"[^\w-]", "_", reference.rpartition("/")[2])
            while name in self.names.values():
                name += "_"
            self.names[reference] = name
        return self.names[reference]

    def _part(self, part: Any, level: int) -> Schema | None:
        """A schema at a level; None where nothing finite fits it."""
        if part is False:
            return None
        if not isinstance(part, Mapping):
            return {}
        made: Schema = {}
        for key, value in part.items():
            if key == "$ref" and value in self._recursive:
                name = self._copy(value, level + 1)
                if name is None:
                    return None
                made[key] = f"#/$defs/{name}"
            elif key in ("anyOf", "oneOf"):
                fitting = [p for item in value if (p := self._part(item, level)) is not None]
                if not fitting:
                    return None
                made[key] = fitting
            elif key in ("allOf", "prefixItems"):
                parts = [self._part(item, level) for item in value]
                if None in parts:
                    return None
                made[key] = parts
            elif key in ("properties", "patternProperties"):
                made[key] = {
                    name: False if (p := self._part(item, level)) is None else p
                    for name, item in value.items()
                }
            elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
                flat = self._part(value, level)
                made[key] = False if flat is None else flat
            else:
                made[key] = value
        return made if self._can_end(made) else None

    def _can_end(self, made: Schema) -> bool:
        properties = made.get("properties", {})
        if any(properties.get(name) is False for name in made.get("required", ())):
            return False
        if made.get("items") is False and "prefixItems" not in made:
            made.pop("items")
            made["maxItems"] = 0
            return not made.get("minItems")
        return True


# ---- parts that hold together ------------------------------------------------------------------


@dataclass(frozen=True)
class _Joining:
    """Makes one of parts that hold at once, all through a schema without recursion."""

    root: Schema

    def schema(self, part: Any) -> Any:
        """The part with everything in it that can be joined joined."""
        if not isinstance(part, Mapping):
            return part
        made: Schema = {}
        for key, value in part.items():
            if key in ("properties", "patternProperties", *_DEFINITIONS):
                made[key] = {name: self.schema(item) for name, item in value.items()}
            elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
                made[key] = [self.schema(item) for item in value]
            elif key in ("items", "additionalProperties"):
                made[key] = self.schema(value)
            else:
                made[key] = value
        if "oneOf" in made and "anyOf" not in made and self._exclusive(made["oneOf"]):
            made["anyOf"] = made.pop("oneOf")
        definitions = {key: made.pop(key) for key in _DEFINITIONS if key in made}
        return {**self._joined(made), **definitions}

    def _joined(self, made: Schema) -> Schema:
        parts = list(made.get("allOf", ()))
        beside = {k: v for k, v in made.items() if k not in ("allOf", "anyOf", "$ref", *_NOTES)}
        if "$ref" in made and (beside or parts or "anyOf" in made):
            parts.append({"$ref": made["$ref"]})
        elif "allOf" not in made and not ("anyOf" in made and beside):
            return made
        notes = {key: value for key, value in made.items() if key in _NOTES}
        together = self._one([*parts, *([beside] if beside else [])])
        if together is None:
            return made
        if "anyOf" not in made:
            return {**together, **notes}
        if not together:
            return {"anyOf": made["anyOf"], **notes}
        each = [self._one([together, item]) for item in made["anyOf"]]
        if any(one is None for one in each):
            return made
        return {"anyOf": each, **notes}

    def _one(self, parts: Sequence[Any]) -> Schema | None:
        """Parts as one schema; None where they are not all plain descriptions of an object."""
        if len(parts) == 1 and isinstance(parts[0], Mapping):
            return dict(parts[0])
        properties: Schema = {}
        required: list[str] = []
        for part in map(self._resolved, parts):
            asserted = set(part) - _NOTES
            if not asserted <= _OBJECT or part.get("type", "object") != "object":
                return None
            for name, schema in part.get("properties", {}).items():
                if name in properties and properties[name] != schema:
                    both = self._one([properties[name], schema])
                    schema = {"allOf": [properties[name], schema]} if both is None else both
                properties[name] = schema
            required += [name for name in part.get("required", ()) if name not in required]
        return {"type": "object", "properties": properties, "required": required}

    def _resolved(self, part: Any) -> Mapping[str, Any]:
        seen = set()
        while isinstance(part, Mapping) and set(part) - _NOTES == {"$ref"}:
            if part["$ref"] in seen:
                break
            seen.add(part["$ref"])
            part = self.schema(_looked_up(self.root, part["$ref"]))
        return part if isinstance(part, Mapping) else {"not": {}}

    def _exclusive(self, alternatives: Sequence[Any]) -> bool:
        """Whether no value can fit two of these."""
        resolved = [self._resolved(part) for part in alternatives]
        return all(_apart(one, other) for one, other in combinations(resolved, 2))


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    kinds, others = _types(one), _types(other)
    if kinds and others and not kinds & others:
        return True
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    if kinds == others == {"object"}:
        for name in shared:
            values = [_values(part.get("properties", {}).get(name)) for part in (one, other)]
            if values[0] and values[1] and not values[0] & values[1]:
                return True
    values = [_values(one), _values(other)]
    return bool(values[0] and values[1]) and not values[0] & values[1]


def _types(part: Mapping[str, Any]) -> set[str]:
    named = part.get("type", [])
    types = {named} if isinstance(named, str) else set(named)
    return {"number" if name == "integer" else name for name in types}


def _values(part: Any) -> set[str]:
    """The texts that a schema allows, if it names them all."""
    if not isinstance(part, Mapping):
        return set()
    values = [part["const"]] if "const" in part else part.get("enum", [])
    return set(values) if all(isinstance(value, str) for value in values) else set()


# ---- references --------------------------------------------------------------------------------


def _references(part: Any, *, inside_only: bool = False) -> Iterator[str]:
    """Every reference in a schema, those in its definitions only if asked for."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            elif key not in ("const", "enum", "default", "examples") and not (
                inside_only and key in _DEFINITIONS
            ):
                yield from _references(value, inside_only=inside_only)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item, inside_only=inside_only)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _looked_up(root: Mapping[str, Any], reference: str) -> Any:
    """What a reference of the form ``#/$defs/name`` stands for; nothing for any other form."""
    if reference == "#":
        return root
    part: Any = root
    for step in reference.removeprefix("#/").split("/") if reference.startswith("#/") else [""]:
        name = step.replace("~1", "/").replace("~0", "~").replace("%24", "$")
        part = part.get(name) if isinstance(part, Mapping) else None
    return part
