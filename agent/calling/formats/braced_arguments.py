"""Arguments as Gemma writes them: in braces, with bare keys and strings between marks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..lenient_json import Unreadable, read_strictly, sound
from .json_calls import written_json
from .schema_parts import Schema, definitions_of, resolved
from .typed_text import only_strings, read_typed
from .value_rules import Notation, Rules

_SPACE = re.compile(r"\s*")
_MAX_DEPTH = 64
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
        schema = resolved(schema, root)
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
        return read_typed(bare.strip(), {**definitions_of(root), **schema})

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
