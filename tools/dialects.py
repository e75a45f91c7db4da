"""One dialect of JSON Schema, 2020-12, from draft 4 on and from OpenAPI's words.

Checking, the prompt and the grammar all see what ``normal_schema`` makes: every reference leads to
``#`` or to a definition under ``$defs``, tuples are ``prefixItems``, exclusive bounds are numbers,
what may be null says so in its type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import referencing
import referencing.exceptions
from referencing.jsonschema import (
    DRAFT4,
    DRAFT6,
    DRAFT7,
    DRAFT201909,
    DRAFT202012,
)

from ..errors import TrimtabError

Schema = dict[str, Any]

# Keywords whose value maps names to schemas, is a list of them, is one, or is no schema at all.
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
LISTED = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLE = (
    *("items", "unevaluatedItems", "contains", "propertyNames", "not", "if"),
    *("then", "else", "additionalProperties", "unevaluatedProperties"),
)
PLAIN = ("const", "enum", "default", "examples", "required", "dependentRequired")

_DEFINITIONS = ("$defs", "definitions")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
# What only says how to read the rest, and what is read here and not needed any more.
_DROPPED = (
    *("$schema", "$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "$comment"),
    *("nullable", "x-nullable", "additionalItems", "dependencies", "discriminator", "xml"),
    *("externalDocs", "example"),
)
_NOTES = ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly")
_ALONE = (DRAFT4, DRAFT6, DRAFT7)  # where nothing that stands beside a reference counts
_DIALECTS = {
    "draft-04": DRAFT4,
    "draft-06": DRAFT6,
    "draft-07": DRAFT7,
    "2019-09": DRAFT201909,
}
_UNFIT = re.compile(r"[^\w.-]")


def normal_schema(schema: Mapping[str, Any], owner: str) -> Schema:
    """The schema in draft 2020-12, with all its references under ``$defs``.

    Which draft it is in is told by ``$schema``; words of older drafts and of OpenAPI are read
    wherever they stand. A schema that is normal already stays as it is, in its order.

    Args:
        schema: JSON; it is not changed.
        owner: What error messages call its owner, for instance ``tool search``.

    Raises:
        TrimtabError: A reference leads to nothing that is in the schema.
    """
    dialect = _declared(schema)
    resource: Any = dialect.create_resource(schema)
    base = resource.id() or ""
    registry: Any = referencing.Registry().with_resource(base, resource)
    normal = _Normal(schema, owner, dialect)
    root = normal.schema(schema, registry.resolver(base))
    return normal.with_definitions(_without_root_reference(root, normal))


def subschemas(schema: Any) -> Iterator[Any]:
    """The schemas directly within a schema that is normal."""
    if not isinstance(schema, Mapping):
        return
    for keyword, value in schema.items():
        if keyword in NAMED and isinstance(value, Mapping):
            yield from value.values()
        elif keyword in LISTED and isinstance(value, list):
            yield from value
        elif keyword in SINGLE:
            yield value


def _declared(schema: Mapping[str, Any]) -> Any:
    named = str(schema.get("$schema", ""))
    return next((dialect for part, dialect in _DIALECTS.items() if part in named), DRAFT202012)


@dataclass
class _Normal:
    """One schema on its way to the one dialect; ``made`` is what its ``$defs`` will hold."""

    source: Mapping[str, Any]
    owner: str
    dialect: Any
    made: Schema = field(default_factory=dict)
    names: dict[int | str, str] = field(default_factory=dict)

    def schema(self, part: Any, resolver: Any) -> Any:
        """A schema in the one dialect; ``resolver`` knows where it stands."""
        if isinstance(part, bool) or not isinstance(part, Mapping):
            return part
        if part is not self.source:
            resolver = resolver.in_subresource(self.dialect.create_resource(part))
        read = {key: part[key] for key in part if not _is_nothing(key, part[key])}
        read = _without_old_words(read)
        if self.dialect in _ALONE and "$ref" in read:
            kept = ("$ref", *_NOTES, *_DEFINITIONS)
            read = {key: value for key, value in read.items() if key in kept}
        made: Schema = {}
        for key, value in read.items():
            if key in _REFERENCES and isinstance(value, str):
                made["$ref"] = self._reference(value, resolver)
            elif key in _DROPPED or (key in _DEFINITIONS and isinstance(value, Mapping)):
                continue  # of the definitions only what is referred to is kept
            elif key in NAMED and isinstance(value, Mapping):
                made[key] = {name: self.schema(item, resolver) for name, item in value.items()}
            elif key in LISTED and isinstance(value, list):
                made[key] = [self.schema(item, resolver) for item in value]
            elif key in SINGLE:
                made[key] = self.schema(value, resolver)
            else:
                made[key] = value
        _hoist_required(part, made)
        return _or_null(made) if _is_nullable(part) else made

    def with_definitions(self, root: Schema) -> Schema:
        """The root with the definitions that it needs, where the source has its own."""
        needed = _needed(root, self.made)
        own = [
            self.names.get(id(item)) for key in _DEFINITIONS for item in _values(self.source, key)
        ]
        ordered = dict.fromkeys([*own, *self.made])
        definitions = {name: self.made[name] for name in ordered if name in needed}
        if not definitions:
            return root
        if next(iter(self.source)) in _DEFINITIONS and "$ref" not in self.source:
            return {"$defs": definitions, **root}
        return {**root, "$defs": definitions}

    def _reference(self, reference: str, resolver: Any) -> str:
        try:
            found = resolver.lookup(reference)
        except (referencing.exceptions.Unresolvable, ValueError, TypeError, LookupError) as error:
            raise TrimtabError(
                f"the parameters of {self.owner} refer to {reference!r}, which is not in them; "
                "put the definition under $defs"
            ) from error
        target = found.contents
        if target is self.source:
            return "#"
        if not isinstance(target, Mapping | bool):
            raise TrimtabError(
                f"the parameters of {self.owner} refer to {reference!r}, which is no schema"
            )
        key = id(target) if isinstance(target, Mapping) else reference
        if key not in self.names:
            self.names[key] = name = self._name(reference)
            self.made[name] = {}
            self.made[name] = self.schema(target, found.resolver)
        return f"#/$defs/{self.names[key]}"

    def _name(self, reference: str) -> str:
        """A name of its own for a definition, without what a reference would have to escape."""
        last = reference.rpartition("/")[2].rpartition("#")[2]
        name = _UNFIT.sub("_", last.replace("~1", "_").replace("~0", "_")) or "part"
        while name in self.made:
            name += "_"
        return name


def _without_root_reference(root: Any, normal: _Normal) -> Schema:
    """A root that only refers to one of its definitions replaced by it."""
    seen: set[str] = set()
    while isinstance(root, Mapping) and "$ref" in root and root["$ref"] not in seen:
        reference = root["$ref"]
        seen.add(reference)
        target = normal.made.get(reference.removeprefix("#/$defs/"))
        if not isinstance(target, Mapping):
            break
        rest = {key: value for key, value in root.items() if key != "$ref"}
        if not set(rest) <= set(_NOTES):
            return {"type": "object", "allOf": [{"$ref": reference}], **rest}
        root = {**target, **rest}
    return dict(root) if isinstance(root, Mapping) else {}


def _needed(root: Any, definitions: Schema) -> set[str]:
    found: set[str] = set()
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping) and isinstance(part.get("$ref"), str):
            name = part["$ref"].removeprefix("#/$defs/")
            if name in definitions and name not in found:
                found.add(name)
                waiting.append(definitions[name])
        waiting.extend(subschemas(part))
    return found


def _values(schema: Mapping[str, Any], key: str) -> list[Any]:
    value = schema.get(key)
    return list(value.values()) if isinstance(value, Mapping) else []


def _is_nothing(key: str, value: Any) -> bool:
    """Whether a keyword says nothing: dumps of models write None for what is not set."""
    return value is None and key not in ("const", "default")


# ---- words of older drafts and of OpenAPI -------------------------------------------------------


def _without_old_words(read: Schema) -> Schema:
    """One schema's own keywords in the one dialect; what is inside it stays as it is."""
    for word in _READ_ANEW:
        read = word(read)
    return read


def _types(read: Schema) -> Schema:
    """Types in capital letters, as Google's API has them."""
    kind = read.get("type")
    if isinstance(kind, str) and kind not in _TYPES and kind.lower() in _TYPES:
        return {**read, "type": kind.lower()}
    if isinstance(kind, list) and len(kind) == 1:
        return {**read, "type": kind[0]}
    return read


def _exclusive_bounds(read: Schema) -> Schema:
    """Draft 4: ``exclusiveMinimum: true`` says how ``minimum`` is meant."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(read.get(exclusive), bool):
            rest = {key: value for key, value in read.items() if key != exclusive}
            if read[exclusive] and bound in rest:
                rest = {exclusive if k == bound else k: value for k, value in rest.items()}
            read = rest
    return read


def _tuples(read: Schema) -> Schema:
    """Until draft 2019-09 a list of ``items`` is a tuple, and ``additionalItems`` its rest."""
    items = read.get("items")
    if not isinstance(items, list):
        return read
    made: Schema = {}
    for key, value in read.items():
        if key != "items":
            made[key] = value
        elif items:
            made["prefixItems"] = items
    if "additionalItems" in read:
        made["items"] = read["additionalItems"]
    return made


def _dependencies(read: Schema) -> Schema:
    """Until draft 7 ``dependencies`` holds names or schemas; since then there are two keywords."""
    given = read.get("dependencies")
    if not isinstance(given, Mapping):
        return read
    names = {key: value for key, value in given.items() if isinstance(value, list)}
    schemas = {key: value for key, value in given.items() if key not in names}
    made = dict(read)
    if names:
        made["dependentRequired"] = {**read.get("dependentRequired", {}), **names}
    if schemas:
        made["dependentSchemas"] = {**read.get("dependentSchemas", {}), **schemas}
    return made


def _one_required(read: Schema) -> Schema:
    """Draft 3, still met: ``required: true`` in a property itself; see ``_hoist_required``."""
    return {k: v for k, v in read.items() if not (k == "required" and isinstance(v, bool))}


_READ_ANEW: tuple[Callable[[Schema], Schema], ...] = (
    _types,
    _exclusive_bounds,
    _tuples,
    _dependencies,
    _one_required,
)


def _hoist_required(part: Mapping[str, Any], made: Schema) -> None:
    properties = part.get("properties")
    if not isinstance(properties, Mapping) or not isinstance(made.get("required", []), list):
        return
    more = [
        name
        for name, item in properties.items()
        if isinstance(item, Mapping) and item.get("required") is True
    ]
    if more:
        made["required"] = list(dict.fromkeys([*made.get("required", []), *more]))


def _is_nullable(part: Mapping[str, Any]) -> bool:
    return part.get("nullable") is True or part.get("x-nullable") is True


def _or_null(made: Schema) -> Schema:
    """OpenAPI's ``nullable``: null fits too."""
    notes = {key: value for key, value in made.items() if key in _NOTES}
    rest = {key: value for key, value in made.items() if key not in _NOTES}
    if not rest:
        return made
    kind = rest.get("type")
    beside = {"$ref", "anyOf", "oneOf", "allOf", "const", "not", "if"} & set(rest)
    if isinstance(kind, str | list) and not beside:
        kinds = [kind] if isinstance(kind, str) else kind
        wider = {**made, "type": kinds if "null" in kinds else [*kinds, "null"]}
        if isinstance(made.get("enum"), list) and None not in made["enum"]:
            wider["enum"] = [*made["enum"], None]
        return wider
    if set(rest) == {"anyOf"}:
        return {"anyOf": [*rest["anyOf"], {"type": "null"}], **notes}
    return {"anyOf": [rest, {"type": "null"}], **notes}
