"""JSON Schemas of tool arguments: checked once, tidied, and explained when arguments do not fit."""

import copy
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from urllib.parse import unquote

import referencing
import regex
from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend
from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ..errors import TrimtabError
from .dialects import NAMED, PLAIN, normal_schema

_ARTICLES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


_READABLE = FormatChecker(formats=())


def _is_pattern(text: object) -> bool:
    """Whether a pattern can be read, also one in JavaScript's words."""
    return not isinstance(text, str) or bool(regex.compile(text))


_READABLE.checks("regex", raises=regex.error)(_is_pattern)


class Misfit(NamedTuple):
    """Where arguments do not fit a schema, what was expected there, and what came."""

    path: str
    expected: str
    got: str


def checked_schema(schema: Any, owner: str) -> dict[str, Any]:
    """Copy a JSON Schema of an object into draft 2020-12, or refuse it.

    Schemas of draft 4 and later, and with OpenAPI's words, are read; see ``normal_schema``. A
    root that only refers to one of its definitions is replaced by it, one that does not say what
    it is describes an object, since arguments are one.

    Args:
        schema: What should be a schema.
        owner: What error messages call its owner, for instance ``tool search``.

    Raises:
        TrimtabError: It is not a valid schema, not one of an object, refers to something that is
            not in it, or is defined by nothing but itself.
    """
    if schema is True:
        schema = {}
    if not isinstance(schema, Mapping):
        raise TrimtabError(f"expected the parameters of {owner} as a JSON Schema, got {schema!r}")
    try:
        json.dumps(schema, allow_nan=False)
        own = normal_schema(copy.deepcopy(dict(schema)), owner)
        Draft202012Validator.check_schema(own, format_checker=_READABLE)
        _check_ends(own, owner)
    except SchemaError as error:
        raise TrimtabError(
            f"the parameters of {owner} are no JSON Schema (draft 2020-12) at "
            f"{location(error.absolute_path) or 'the root'}: {_short(error.message, 160)}"
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise TrimtabError(f"the parameters of {owner} are not JSON: {error}") from error
    if own.get("type", ["object"]) in (["object"], ["object", "null"], ["null", "object"]):
        own = {"type": "object", **own, **({"type": "object"} if "type" in own else {})}
    if own.get("type") != "object":
        raise TrimtabError(
            f'expected "type": "object" in the parameters of {owner}, '
            f"got {_short(json.dumps(own.get('type')))}"
        )
    return own


def _check_ends(root: Mapping[str, Any], owner: str) -> None:
    """Refuse a definition that leads back to itself at the same place, which no check could end."""
    ended: set[int] = set()

    def follow(schema: Any, trail: tuple[int, ...], name: str) -> None:
        if not isinstance(schema, Mapping) or id(schema) in ended:
            return
        if id(schema) in trail:
            raise TrimtabError(
                f"the parameters of {owner} define {name} by nothing but itself; expected a "
                "definition that ends"
            )
        inside = (*trail, id(schema))
        for key in ("allOf", "anyOf", "oneOf"):
            for part in schema.get(key) or ():
                follow(part, inside, name)
        target = schema.get("$ref")
        if isinstance(target, str):
            follow(_target(root, target), inside, target)
        ended.add(id(schema))

    def every(value: Any) -> None:
        if isinstance(value, Mapping):
            follow(value, (), "the root")
        for part in value.values() if isinstance(value, Mapping) else value:
            if isinstance(part, Mapping | list):
                every(part)

    every(root)


def _target(root: Mapping[str, Any], reference: str) -> Any:
    target: Any = root
    for step in unquote(reference.removeprefix("#")).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            target = target[int(name)] if name.isdigit() and int(name) < len(target) else None
        else:
            target = target.get(name) if isinstance(target, Mapping) else None
    return target


class _ModelSchema(GenerateJsonSchema):
    """Pydantic's, but a ``Decimal`` is what can be written without a look ahead."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        number: dict[str, Any] = {"type": "number"}
        for name, keyword in _DECIMAL_BOUNDS.items():
            if schema.get(name) is not None:
                number[keyword] = _plain_number(schema[name])  # type: ignore[literal-required]
        places, digits = schema.get("decimal_places"), schema.get("max_digits")
        if places is not None and "multipleOf" not in number:
            number["multipleOf"] = _plain_number(Decimal(1).scaleb(-places))
        if digits is not None:
            limit = _plain_number(Decimal(1).scaleb(digits - (places or 0)))
            number.setdefault("exclusiveMinimum", -limit)
            number.setdefault("exclusiveMaximum", limit)
        if len(number) > 1:
            return number
        return {
            "anyOf": [number, {"type": "string", "pattern": r"^-?[0-9]{1,28}(\.[0-9]{1,28})?$"}]
        }


_DECIMAL_BOUNDS = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}


def _plain_number(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)


def model_schema(model: type[BaseModel], owner: str) -> dict[str, Any]:
    """The schema of a pydantic model's JSON input, written as a model likes to read it.

    Titles are left out, since they only repeat names; types and descriptions come first.

    Raises:
        TrimtabError: One of its types has no JSON Schema.
    """
    try:
        schema = model.model_json_schema(mode="validation", schema_generator=_ModelSchema)
    except PydanticInvalidForJsonSchema as error:
        raise TrimtabError(f"cannot make a JSON Schema for {owner}: {error.message}") from error
    schema = normal_schema(_tidied(schema), owner)
    return {key: value for key, value in schema.items() if key != "description"}


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """A validator that never fetches anything: references outside the schema do not resolve."""
    return _Validator(schema, registry=referencing.Registry())


def _multiple_of(
    checker: Any, divisor: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """Whether a number is a multiple as it is written: 0.07 is one of 0.01, in decimals."""
    if not checker.is_type(instance, "number"):
        return
    if math.isfinite(instance) and (_exactly(instance) / _exactly(divisor)).denominator == 1:
        return
    yield ValidationError(f"{instance!r} is not a multiple of {divisor}")


def _exactly(number: int | float) -> Fraction:
    return Fraction(number) if isinstance(number, int) else Fraction(Decimal(repr(number)))


def _pattern(
    checker: Any, pattern: str, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """The patterns of JavaScript: classes by Unicode's properties, groups with names."""
    if checker.is_type(instance, "string") and not regex.search(pattern, instance, timeout=2):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = extend(Draft202012Validator, {"multipleOf": _multiple_of, "pattern": _pattern})


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


def _tidied(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: dict[str, Any] = {}
    first = [keyword for keyword in ("type", "description") if keyword in schema]
    for keyword, value in {**{key: schema[key] for key in first}, **schema}.items():
        if keyword in NAMED:
            tidy[keyword] = {name: _tidied(item) for name, item in value.items()}
        elif keyword in PLAIN:
            tidy[keyword] = value
        elif keyword != "title":
            tidy[keyword] = _tidied(value)
    return tidy


def _names(names: Iterable[Any]) -> str:
    return _short(", ".join(repr(str(name)) for name in names), 200)


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
