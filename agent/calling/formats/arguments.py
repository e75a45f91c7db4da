"""How arguments are written: as JSON, in tags, as Python's keyword arguments, in Gemma's braces."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....errors import TrimtabError
from ..lenient_json import Unreadable, read_strictly, read_value, sound
from ..python_calls import read_arguments
from .json_calls import written_json
from .typed_text import only_strings, read_typed, typed_text
from .value_rules import Notation, Rules

_SPACE = re.compile(r"\s*")
_MAX_DEPTH = 64
Schema = Mapping[str, Any]


def _property(schema: Schema, name: str) -> Schema:
    """The schema of one argument; empty where it is not known."""
    found = schema.get("properties", {}).get(name)
    if isinstance(found, Mapping):
        definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        return {**definitions, **found}
    return {}


# ---- JSON --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JsonArguments:
    """A JSON object."""

    def write(self, arguments: Mapping[str, Any], schema: Schema) -> str:
        """See ``Arguments``."""
        return written_json(dict(arguments))

    def read(self, text: str, at: int, schema: Schema) -> tuple[dict[str, Any], int]:
        """See ``Arguments``."""
        start = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        if text[start : start + 1] != "{":
            raise Unreadable
        value, end = read_value(text, start)
        if not isinstance(value, dict):
            raise Unreadable
        return value, end

    def rules(self, schema: Schema, rules: Rules) -> str:
        """See ``Arguments``."""
        return rules.json(schema, schema)


# ---- tags --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaggedArguments:
    """Each argument between tags, its value as text: types are those of the tool's schema.

    A string that holds ``closing`` is written as JSON with its ``<`` escaped.

    Attributes:
        opening: In front of an argument's name.
        middle: Between name and value.
        closing: Behind the value.
        again: Behind each argument.
        loose: Matches an argument's name in any spacing, with the group ``name``.
    """

    opening: str
    middle: str
    closing: str
    again: str
    loose: str

    def write(self, arguments: Mapping[str, Any], schema: Schema) -> str:
        """See ``Arguments``."""
        written = []
        for name, value in arguments.items():
            text = typed_text(value, _property(schema, name), self._mark)
            written.append(f"{self.opening}{name}{self.middle}{text}{self.closing}{self.again}")
        return "".join(written)

    @property
    def _mark(self) -> str:
        return self.closing.strip("\n")

    def read(self, text: str, at: int, schema: Schema) -> tuple[dict[str, Any], int]:
        """See ``Arguments``."""
        arguments: dict[str, Any] = {}
        loose = re.compile(self.loose)
        padded = self.middle.endswith("\n")
        # What may end a value whose closing tag is missing.
        until = re.compile(rf"\s*(?:{self.loose}|</function>|</tool_call>|</invoke>)|\Z")
        while match := loose.match(text, at):
            start = match.end()
            end = text.find(self._mark, start)
            if end >= 0:
                at = end + len(self._mark)
            else:
                at = end = until.search(text, start).start()  # type: ignore[union-attr]
            value = text[start:end]
            if padded:
                value = value.removeprefix("\n").removesuffix("\n")
            name = match["name"]
            arguments[name] = read_typed(value, _property(schema, name))
        return arguments, at

    def rules(self, schema: Schema, rules: Rules) -> str:
        """See ``Arguments``."""
        required = set(schema.get("required", ()))
        parts = []
        for name, part in schema.get("properties", {}).items():
            if part is False:
                continue
            opened = rules.literal(f"{self.opening}{name}{self.middle}")
            value = self._value(part, schema, rules)
            written = f"{opened} {value}"
            parts.append(written if name in required else f"({written})?")
        return rules.add(" ".join(parts) or '""')

    def _value(self, part: Any, root: Schema, rules: Rules) -> str:
        """The rule of a value and of what ends it."""
        part = _resolved(part, root)
        ending = self.closing + self.again
        for key in ("anyOf", "oneOf"):
            if key in part and not set(part) & {"properties", "$ref", "allOf"}:
                return rules.add(" | ".join(self._value(one, root, rules) for one in part[key]))
        types = part.get("type", [])
        if isinstance(types, list) and types and not {"enum", "const"} & set(part):
            each = [{**part, "type": kind} for kind in types]
            return rules.add(" | ".join(self._value(one, root, rules) for one in each))
        if "enum" in part or "const" in part:
            values = part.get("enum", [part.get("const")])
            known = {**_definitions(root), **part}
            texts = [typed_text(value, known, self._mark) for value in values]
            return rules.add(
                f"({' | '.join(rules.literal(text) for text in texts)}) {rules.literal(ending)}"
            )
        if types == "string":
            return rules.text(part, self.closing, self.again)
        return rules.add(f"{rules.json(part, root)} {rules.literal(ending)}")


def _definitions(root: Schema) -> dict[str, Any]:
    return {key: root[key] for key in ("$defs", "definitions") if key in root}


def _resolved(part: Any, root: Schema) -> Schema:
    seen: set[str] = set()
    while isinstance(part, Mapping) and "$ref" in part and part["$ref"] not in seen:
        seen.add(part["$ref"])
        found: Any = root
        for step in str(part["$ref"]).removeprefix("#/").split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        part = found
    return part if isinstance(part, Mapping) else {}


# ---- Python ------------------------------------------------------------------------------------


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
        named = [f"{k}={_python(v)}" for k, v in arguments.items() if _is_name(k)]
        other = {k: v for k, v in arguments.items() if not _is_name(k)}
        return ", ".join([*named, *([f"**{_python(other)}"] if other else [])])

    def read(self, text: str, at: int, schema: Schema) -> tuple[dict[str, Any], int]:
        """See ``Arguments``; the end is in front of the parenthesis."""
        return read_arguments(text, at)

    def rules(self, schema: Schema, rules: Rules) -> str:
        """See ``Arguments``."""
        for name, part in schema.get("properties", {}).items():
            if part is not False and not _is_name(name):
                raise TrimtabError(f"the argument {name!r} is no name that Python can pass")
        notation = Notation(
            **{**vars(_PYTHON_VALUES), "key": lambda name: f"{name}="},
        )
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


def _is_name(text: str) -> bool:
    import keyword

    return text.isascii() and text.isidentifier() and not keyword.iskeyword(text)


# ---- Gemma -------------------------------------------------------------------------------------

_QUOTES = ('<|"|>', "<escape>")
_BARE_KEY = re.compile(r"[A-Za-z_$][\w$.-]*")
_BARE_END = re.compile(
    r",(?=\s*(?:[A-Za-z_$][\w$.-]*|\"(?:[^\"\\]|\\.)*\"|<escape>|<\|\"\|>)\s*:)|[}\]]|\Z"
)
_SCALAR = re.compile(r"(?:-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null)(?=\s*[,}\]])")
_BARE_ITEM_END = re.compile(r"[,}\]]|\Z")


@dataclass(frozen=True)
class BracedArguments:
    """Gemma's objects: bare keys, and strings between marks of their own.

    Attributes:
        quote: What stands on both sides of a string.
    """

    quote: str

    def write(self, arguments: Mapping[str, Any], schema: Schema) -> str:
        """See ``Arguments``."""
        return self._written(dict(arguments))

    def _written(self, value: Any) -> str:
        if isinstance(value, str):
            # A string that holds the mark is JSON, in which the mark is escaped.
            held = any(quote in value for quote in _QUOTES)
            return _guarded_json(value) if held else f"{self.quote}{value}{self.quote}"
        if isinstance(value, Mapping):
            members = (f"{self._key(key)}:{self._written(v)}" for key, v in value.items())
            return f"{{{','.join(members)}}}"
        if isinstance(value, list | tuple):
            return f"[{','.join(map(self._written, value))}]"
        return written_json(value)

    def _key(self, name: str) -> str:
        return name if _BARE_KEY.fullmatch(name) else _guarded_json(name)

    def read(self, text: str, at: int, schema: Schema) -> tuple[dict[str, Any], int]:
        """See ``Arguments``."""
        reader = _BracedReader(text, at)
        value = reader.value(schema, schema, 0)
        if not isinstance(value, dict):
            raise Unreadable
        read = sound(value)
        assert isinstance(read, dict)
        return read, reader.at

    def rules(self, schema: Schema, rules: Rules) -> str:
        """See ``Arguments``."""
        notation = Notation(
            write=self._written,
            string=self._string,
            key=lambda name: f"{self._key(name)}:",
            any_key="/[A-Za-z_][A-Za-z0-9_]{0,63}:/",
            comma=",",
        )
        return rules.add(f'"{{" {rules.members(schema, schema, notation)} "}}"')

    def _string(self, rules: Rules, schema: Schema) -> str:
        return rules.add(f"{rules.literal(self.quote)} {rules.text(schema, self.quote)}")


def _guarded_json(value: Any) -> str:
    return written_json(value).replace("<", "\\u003c")


class _BracedReader:
    """Reads Gemma's values from left to right; ``at`` is how far it has come."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at

    def _next(self) -> str:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text[self.at : self.at + 1]

    def value(self, schema: Any, root: Schema, depth: int, *, item: bool = False) -> Any:
        if depth > _MAX_DEPTH:
            raise Unreadable
        schema = _resolved(schema, root)
        opening = self._next()
        quoted = self._marked()
        if quoted is not None:
            return quoted
        if opening == "{":
            return self._object(schema, root, depth)
        if opening == "[":
            return self._array(schema, root, depth)
        if opening == '"':
            value, self.at = read_strictly(self.text, self.at)
            return value
        scalar = _SCALAR.match(self.text, self.at)
        if scalar is not None and not only_strings(schema):
            end = scalar.end()
        else:
            found = (_BARE_ITEM_END if item else _BARE_END).search(self.text, self.at)
            assert found is not None
            end = found.start()
        bare = self.text[self.at : end]
        self.at = end
        return read_typed(bare.strip(), {**_definitions(root), **schema})

    def _marked(self) -> str | None:
        for quote in _QUOTES:
            if self.text.startswith(quote, self.at):
                start = self.at + len(quote)
                end = self.text.find(quote, start)
                if end < 0:
                    self.at = len(self.text)
                    return self.text[start:]
                self.at = end + len(quote)
                return self.text[start:end]
        return None

    def _object(self, schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
        self.at += 1
        members: dict[str, Any] = {}
        while (upcoming := self._next()) not in ("}", ""):
            if upcoming == ",":
                self.at += 1
                continue
            key = self._marked()
            if key is None and upcoming == '"':
                key, self.at = read_strictly(self.text, self.at)
            elif key is None:
                word = _BARE_KEY.match(self.text, self.at)
                if word is None:
                    raise Unreadable
                key, self.at = word[0], word.end()
            if self._next() != ":":
                raise Unreadable
            self.at += 1
            part = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            members[str(key)] = self.value(part, root, depth + 1)
        self.at += bool(upcoming)
        return members

    def _array(self, schema: Schema, root: Schema, depth: int) -> list[Any]:
        self.at += 1
        items: list[Any] = []
        while (upcoming := self._next()) not in ("]", ""):
            if upcoming == ",":
                self.at += 1
                continue
            if upcoming == "}":
                raise Unreadable
            items.append(self.value(schema.get("items"), root, depth + 1, item=True))
        self.at += bool(upcoming)
        return items
