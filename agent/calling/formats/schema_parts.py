"""Looking up parts of a tool's schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]


def property_of(schema: Schema, name: str) -> Schema:
    """The schema of one argument; empty where it is not known."""
    schema_of_name = schema.get("properties", {}).get(name)
    if isinstance(schema_of_name, Mapping):
        return {**definitions_of(schema), **schema_of_name}
    return {}


def definitions_of(root: Schema) -> dict[str, Any]:
    """What a schema's references refer to."""
    return {key: root[key] for key in ("$defs", "definitions") if key in root}


def referred(reference: str, root: Schema) -> Any:
    """What a reference within a schema, ``#/$defs/Name``, stands for; None where there is none."""
    part: Any = root
    for step in reference.removeprefix("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        part = part.get(name) if isinstance(part, Mapping) else None
    return part


def resolved(part: Any, root: Schema) -> Schema:
    """The part itself, or what it refers to; empty where there is none."""
    seen: set[str] = set()
    while isinstance(part, Mapping) and "$ref" in part and part["$ref"] not in seen:
        seen.add(part["$ref"])
        part = referred(str(part["$ref"]), root)
    return part if isinstance(part, Mapping) else {}
