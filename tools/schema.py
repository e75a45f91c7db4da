"""JSON Schemas of tool arguments: checked once, tidied, and explained when arguments do not fit."""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import referencing
import referencing.exceptions
from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.exceptions import best_match
from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from referencing.jsonschema import DRAFT202012

from ..errors import TrimtabError

# Keywords whose value maps names to schemas, and keywords whose value is no schema at all.
_NAMED = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
_PLAIN = {"const", "enum", "default", "examples", "required", "dependentRequired"}

_ARTICLES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


class Misfit(NamedTuple):
    """Where arguments do not fit a schema, what was expected there, and what came."""

    path: str
    expected: str
    got: str


def checked_schema(schema: Any, owner: str) -> dict[str, Any]:
    """Copy a JSON Schema (draft 2020-12) of an object, or refuse it.

    ``$schema`` is dropped, since arguments are always checked by draft 2020-12. A root that only
    refers to one of its definitions, as pydantic writes recursive models, is replaced by it.

    Args:
        schema: What should be a schema.
        owner: What error messages call its owner, for instance ``tool search``.

    Raises:
        TrimtabError: It is not a valid schema, not one of an object, or refers to something
            that is not in it.
    """
    if not isinstance(schema, Mapping):
        raise TrimtabError(f"expected the parameters of {owner} as a JSON Schema, got {schema!r}")
    try:
        json.dumps(schema)
        own = copy.deepcopy(dict(schema))
    except (TypeError, ValueError, RecursionError) as error:
        raise TrimtabError(f"the parameters of {owner} are not JSON: {error}") from error
    own.pop("$schema", None)
    try:
        Draft202012Validator.check_schema(own)
    except SchemaError as error:
        raise TrimtabError(
            f"the parameters of {owner} are no JSON Schema (draft 2020-12) at "
            f"{location(error.absolute_path) or 'the root'}: {_short(error.message, 160)}"
        ) from error
    _check_references(own, owner)
    own = _without_root_reference(own)
    if own.get("type") != "object":
        raise TrimtabError(
            f'expected "type": "object" in the parameters of {owner}, '
            f"got {_short(json.dumps(own.get('type')))}"
        )
    return own


def model_schema(model: type[BaseModel], owner: str) -> dict[str, Any]:
    """The schema of a pydantic model's JSON input, written as a model likes to read it.

    Titles are left out, since they only repeat names; types and descriptions come first.

    Raises:
        TrimtabError: One of its types has no JSON Schema.
    """
    try:
        schema = model.model_json_schema(mode="validation")
    except PydanticInvalidForJsonSchema as error:
        raise TrimtabError(f"cannot make a JSON Schema for {owner}: {error.message}") from error
    schema = _without_root_reference(_tidied(schema))
    return {key: value for key, value in schema.items() if key != "description"}


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """A validator that never fetches anything: references outside the schema do not resolve."""
    return Draft202012Validator(schema, registry=referencing.Registry())


def misfit(checker: Draft202012Validator, arguments: Any) -> Misfit | None:
    """The one thing most worth telling about why ``arguments`` do not fit, or None if they do."""
    if not isinstance(arguments, dict):
        return Misfit("", "an object with the arguments by name", shown(arguments))
    try:
        errors = list(checker.iter_errors(arguments))
    except Exception as failure:
        # Nested too deeply, or Python values that JSON does not have, such as keys of other types.
        return Misfit(
            "", "JSON that can be checked", _short(f"{type(failure).__name__}: {failure}")
        )
    error = best_match(errors)
    if error is None:
        return None
    if error.validator == "additionalProperties":
        # A misspelt name is both missing and unexpected: what is missing says more.
        where = list(error.absolute_path)
        missing = (e for e in errors if e.validator == "required")
        error = next((e for e in missing if list(e.absolute_path) == where), error)
    return _explained(error)


def location(path: Iterable[str | int]) -> str:
    """Write a path of keys and indices as ``filters.brands[2]``."""
    written = ""
    for part in path:
        written += f"[{part}]" if isinstance(part, int) else f".{part}" if written else str(part)
    return _short(written, 120)


def shown(value: Any) -> str:
    """Write a value as short JSON, for a message."""
    try:
        return _short(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return f"a Python {type(value).__name__}"


def _explained(error: ValidationError) -> Misfit:
    path = location(error.absolute_path)
    wanted, value = error.validator_value, error.instance
    match error.validator:
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else list(wanted)
            expected = " or ".join(_ARTICLES.get(kind, str(kind)) for kind in kinds)
        case "enum":
            expected = f"one of {_short(json.dumps(list(wanted)), 200)}"
        case "const":
            expected = _short(json.dumps(wanted))
        case "required":
            missing = [name for name in wanted if name not in value]
            return Misfit(path, f"the required {_names(missing)}", _names(value) or "nothing")
        case "additionalProperties" if wanted is False:
            known = error.schema.get("properties", {})
            expected = f"only {_names(known)}" if known else "nothing"
            return Misfit(path, expected, _names(name for name in value if name not in known))
        case "pattern":
            expected = f"a string that matches {wanted}"
        case "minLength" | "maxLength":
            side = "at least" if error.validator == "minLength" else "at most"
            return Misfit(path, f"{side} {wanted} characters", f"{len(value)}: {shown(value)}")
        case "minItems" | "maxItems":
            side = "at least" if error.validator == "minItems" else "at most"
            return Misfit(path, f"{side} {wanted} items", str(len(value)))
        case "minimum" | "maximum":
            side = "at least" if error.validator == "minimum" else "at most"
            expected = f"a number of {side} {wanted}"
        case "exclusiveMinimum" | "exclusiveMaximum":
            side = "above" if error.validator == "exclusiveMinimum" else "below"
            expected = f"a number {side} {wanted}"
        case "multipleOf":
            expected = f"a multiple of {wanted}"
        case "uniqueItems":
            expected = "items that all differ"
        case "anyOf" | "oneOf":
            expected = f"a value that fits one of {_short(json.dumps(wanted), 200)}"
        case _:
            expected = f"a value for which {error.validator} holds"
    return Misfit(path, expected, shown(value))


def _check_references(schema: dict[str, Any], owner: str) -> None:
    resource = referencing.Resource.from_contents(schema, default_specification=DRAFT202012)
    base = resource.id() or ""
    resolver = referencing.Registry().with_resource(base, resource).resolver(base)
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except (referencing.exceptions.Unresolvable, ValueError) as error:
            raise TrimtabError(
                f"the parameters of {owner} refer to {reference!r}, which is not in them; "
                "put the definition under $defs"
            ) from error


def _references(schema: Any) -> Iterator[str]:
    for keyword, subschema in _subschemas(schema):
        if keyword in ("$ref", "$dynamicRef"):
            yield subschema
        else:
            yield from _references(subschema)


def _subschemas(schema: Any) -> Iterator[tuple[str, Any]]:
    """The schemas directly within a schema (or list of them), each with its keyword."""
    if isinstance(schema, list):
        yield from (("", item) for item in schema)
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            if keyword in _NAMED and isinstance(value, dict):
                yield from ((keyword, subschema) for subschema in value.values())
            elif keyword not in _PLAIN:
                yield keyword, value


def _without_root_reference(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    definitions = schema.get("$defs", {})
    prefix = "#/$defs/"
    if not isinstance(reference, str) or not reference.startswith(prefix):
        return schema
    target = definitions.get(reference.removeprefix(prefix), {})
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**target, **rest}


def _tidied(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: dict[str, Any] = {}
    first = [keyword for keyword in ("type", "description") if keyword in schema]
    for keyword, value in {**{key: schema[key] for key in first}, **schema}.items():
        if keyword in _NAMED:
            tidy[keyword] = {name: _tidied(item) for name, item in value.items()}
        elif keyword in _PLAIN:
            tidy[keyword] = value
        elif keyword != "title":
            tidy[keyword] = _tidied(value)
    return tidy


def _names(names: Iterable[Any]) -> str:
    return _short(", ".join(repr(str(name)) for name in names), 200)


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
