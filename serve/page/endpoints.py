"""The page of all endpoints, from the OpenAPI document, with nothing from any other server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined


@dataclass(frozen=True)
class Field:
    """What an endpoint takes: a part of its path or query, or of the body's object."""

    name: str
    kind: str
    about: str


@dataclass(frozen=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    about: str
    takes: str
    fields: tuple[Field, ...]
    answers: str


def endpoints_page(api: Mapping[str, Any]) -> str:
    """The page, as HTML.

    Args:
        api: The OpenAPI document.
    """
    template = (files(__package__) / "endpoints.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(template).render(api=api, endpoints=list(_endpoints(api)))


def _endpoints(api: Mapping[str, Any]) -> Iterator[Endpoint]:
    for path, methods in api["paths"].items():
        for method, one in methods.items():
            fields = [
                Field(given["name"], _kind(api, given["schema"]), f"in the {given['in']}")
                for given in one.get("parameters", ())
            ]
            body = _resolved(api, _json(one.get("requestBody", {})))
            needed = body.get("required", ())
            fields += [
                Field(name, _kind(api, schema), "" if name in needed else "optional")
                for name, schema in body.get("properties", {}).items()
            ]
            yield Endpoint(
                method=method.upper(),
                path=path,
                about=" ".join(one.get("description", one.get("summary", "")).split()),
                takes="Field" if body else "Parameter",
                fields=tuple(fields),
                answers=", ".join(one["responses"]),
            )


def _json(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = holder.get("content", {}).get("application/json", {})
    return schema.get("schema", {})


def _resolved(api: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = api["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _kind(api: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    schema = _resolved(api, schema)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            kinds = dict.fromkeys(_kind(api, one) for one in schema[word])
            return " or ".join(kind for kind in kinds if kind != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(str(value) for value in schema.get("enum", (schema.get("const"),)))
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"array of {_kind(api, schema.get('items', {}))}"
    if kind == "object" and (names := ", ".join(schema.get("properties", ()))):
        return f"object ({names})"
    return kind
