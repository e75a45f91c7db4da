"""Grammar rules of values that are not written as JSON: which text fits a narrowed schema.

Numbers are written alike everywhere. Strings, the words for true, false and null, and the keys of
objects are what a notation says. A schema that says more than these rules can hold is left to JSON
rules, and every reader of a notation reads JSON values too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....errors import TrimtabError
from .schema_parts import definitions_of, referred

OF_CALLS = {
    "item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False,
    "coerce_one_of": True,
}  # fmt: skip
"""JSON in calls: as ``json.dumps`` writes it; of ``oneOf``, any alternative."""

_DEFINITIONS = ("$defs", "definitions")
_PLAIN = frozenset(
    (
        *("type", "enum", "const", "anyOf", "oneOf", "$ref", "properties", "required", "items"),
        *("additionalProperties", "minProperties", "maxProperties", "minItems", "maxItems"),
        *("minLength", "maxLength", "pattern", "format", "minimum", "maximum", "multipleOf"),
        *("exclusiveMinimum", "exclusiveMaximum", "title", "description", "default", "examples"),
        *_DEFINITIONS,
    )
)
_MAX_TEXT = 1024  # characters of a text that stands without quotes
_FORMATS = {
    "date": r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])",
    "time": r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(Z|[+-][01]\d:[0-5]\d)",
    "duration": r"P(\d+D|T\d+[HMS]|\d+DT\d+[HMS]|\d+[YMW])",
    "email": r"[a-z0-9._%+-]{1,40}@[a-z0-9-]{1,40}(\.[a-z]{2,12}){1,3}",
    "hostname": r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?(\.[a-z0-9]{1,20}){0,4}",
    "ipv4": r"((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)",
    "ipv6": r"([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "uri": r"[a-z]{2,10}:\/\/[A-Za-z0-9._~:\/?#@!$&*+,;=%-]{1,200}",
}
_FORMATS["date-time"] = f"{_FORMATS['date']}T{_FORMATS['time']}"


@dataclass
class Rules:
    """Grammar lines that grow as rules are asked for; one object a tool.

    Attributes:
        prefix: Of the rules' names, so that those of several tools stay apart.
        marks: Texts that a tokenizer may have a token of its own for.
        lines: The rules so far.
    """

    prefix: str
    marks: Sequence[str] = ()
    lines: list[str] = field(default_factory=list)
    _made: dict[str, str] = field(default_factory=dict)

    def add(self, expression: str, *, attributes: str = "") -> str:
        """Add a rule, and return its name."""
        name = f"{self.prefix}{len(self.lines)}"
        self.lines.append(f"{name}{attributes}: {expression}")
        return name

    def json(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        """A rule of a JSON value that fits a schema."""
        whole = {**definitions_of(root), **schema, "x-guidance": OF_CALLS}
        return self.add(f"%json {json.dumps(whole, ensure_ascii=False)}")

    def literal(self, text: str) -> str:
        """A text as it stands; the marks in it can be the tokenizer's own tokens."""
        return literal(text, self.marks)

    def text(self, schema: Mapping[str, Any], closing: str, again: str = "") -> str:
        """A rule of a string without quotes, of what closes it, and of what stands behind that.

        The string cannot hold what closes it, white space around it left aside.
        """
        least = min(int(schema.get("minLength", 0)), _MAX_TEXT)
        most = max(min(int(schema.get("maxLength", _MAX_TEXT)), _MAX_TEXT), least)
        anything = rf"(?s:.{{{least},{most}}})"
        inside = anything
        if "pattern" in schema:
            inside = _whole(str(schema["pattern"]))
        elif schema.get("format") in _FORMATS:
            inside = _FORMATS[schema["format"]]
        mark = closing.strip()
        # Where the mark alone closes the string, the first mark ends it anyway.
        held = f" & ~/(?s:.*){_escaped(mark)}(?s:.+)/" if closing != mark else ""
        closed = self.add(f"/{inside}{_escaped(closing)}/{held}", attributes="[lazy]")
        ends = self.literal(again) if again else ""
        if mark not in self.marks:
            return self.add(f"{closed} {ends}") if ends else closed
        # Where the tokenizer has a token for the mark, a text cannot hold it. Without the first
        # two characters of the mark it cannot either way; to forbid the whole mark costs too much.
        first, second = _escaped(mark[0]), _escaped(mark[1])
        some = f"(?:[^{first}]|{first}[^{first}{second}]){{{max(least, 1)},{max(most, 1)}}}"
        inside = some if inside == anything else inside
        terminal = f"{self.prefix.upper()}TEXT{len(self.lines)}"
        self.lines.append(f"{terminal}: /{inside}/")
        empty = f" | {self.literal(closing)} {ends}" if least == 0 and inside == some else ""
        return self.add(f"{terminal} {self.literal(closing)} {ends} | {closed} {ends}{empty}")

    def value(self, schema: Any, root: Mapping[str, Any], notation: Notation) -> str:
        """A rule of a value that fits a schema, as the notation writes it."""
        if not isinstance(schema, Mapping) or set(schema) - _PLAIN:
            return self.json(schema if isinstance(schema, Mapping) else {}, root)
        if "$ref" in schema:
            if len(set(schema) - {"$ref", "title", "description", "default", *_DEFINITIONS}):
                return self.json(schema, root)
            return self._referred(str(schema["$ref"]), root, notation)
        if "const" in schema or "enum" in schema:
            values = schema.get("enum", [schema.get("const")])
            return self.add(" | ".join(self.literal(notation.write(value)) for value in values))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                if set(schema) & (_PLAIN - {key, "title", "description", "default", *_DEFINITIONS}):
                    return self.json(schema, root)
                parts = [self.value(part, root, notation) for part in schema[key]]
                return self.add(" | ".join(parts))
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else list(types)
        if not types:
            return self.json(schema, root)
        return self.add(" | ".join(self._of_type(kind, schema, root, notation) for kind in types))

    def _referred(self, reference: str, root: Mapping[str, Any], notation: Notation) -> str:
        if reference not in self._made:
            self._made[reference] = self.value(referred(reference, root), root, notation)
        return self._made[reference]

    def _of_type(
        self, kind: str, schema: Mapping[str, Any], root: Mapping[str, Any], notation: Notation
    ) -> str:
        if kind == "string":
            return notation.string(self, schema)
        if kind in ("integer", "number"):
            kept = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
            return self.json({"type": kind, **{k: schema[k] for k in kept if k in schema}}, {})
        if kind == "boolean":
            return self.add(f"{json.dumps(notation.true)} | {json.dumps(notation.false)}")
        if kind == "null":
            return self.add(json.dumps(notation.null))
        if kind == "array":
            return self._array(schema, root, notation)
        return self._object(schema, root, notation)

    def _array(self, schema: Mapping[str, Any], root: Mapping[str, Any], notation: Notation) -> str:
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", 32))
        if most == 0:
            return self.add('"[]"')
        item = self.value(schema.get("items", {}), root, notation)
        comma = json.dumps(notation.comma)
        more = f"({comma} {item}){{{max(least - 1, 0)},{most - 1}}}"
        listed = self.add(f'"[" {item} {more} "]"')
        return self.add(f'{listed} | "[]"') if least == 0 else listed

    def _object(
        self, schema: Mapping[str, Any], root: Mapping[str, Any], notation: Notation
    ) -> str:
        return self.add(f'"{{" {self.members(schema, root, notation)} "}}"')

    def members(
        self, schema: Mapping[str, Any], root: Mapping[str, Any], notation: Notation
    ) -> str:
        """A rule of an object's members, without what stands around them."""
        required = set(schema.get("required", ()))
        comma = json.dumps(notation.comma)
        free = schema.get("additionalProperties", False)
        after, first = self.add('""'), ""
        if isinstance(free, Mapping):
            member = self.add(f"{notation.any_key} {self.value(free, root, notation)}")
            most = int(schema.get("maxProperties", 32))
            after = self.add(f"({comma} {member}){{0,{most}}}")
            first = self.add(f'{member} ({comma} {member}){{0,{max(most - 1, 0)}}} | ""')
        first = first or self.add('""')
        for name, part in reversed(list(schema.get("properties", {}).items())):
            if part is False:
                continue
            member = f"{self.literal(notation.key(name))} {self.value(part, root, notation)}"
            again = f"{comma} {member} {after}"
            begun = f"{member} {after}"
            if name not in required:
                again, begun = f"{again} | {after}", f"{begun} | {first}"
            after, first = self.add(again), self.add(begun)
        return first


@dataclass(frozen=True)
class Notation:
    """How values are written where they are not JSON.

    Attributes:
        write: Writes a value.
        string: Adds the rule of a string that fits a schema.
        key: What stands in front of a member's value, its name included.
        any_key: The same as grammar, of any name.
        comma: What stands between two members or items.
        true: The word for true.
        false: The word for false.
        null: The word for nothing.
    """

    write: Callable[[Any], str]
    string: Callable[[Rules, Mapping[str, Any]], str]
    key: Callable[[str], str]
    any_key: str
    comma: str
    true: str = "true"
    false: str = "false"
    null: str = "null"


def literal(text: str, marks: Sequence[str]) -> str:
    """A text as grammar, in which each mark stands alone, to be replaced by its token."""
    if not text:
        return '""'
    found = sorted(marks, key=len, reverse=True)
    pattern = "|".join(map(re.escape, found))
    parts = re.split(f"({pattern})", text) if pattern else [text]
    return " ".join(json.dumps(part, ensure_ascii=False) for part in parts if part)


def _escaped(text: str) -> str:
    """A text as part of a regular expression between slashes."""
    return re.escape(text).replace("/", r"\/").replace("\n", "n").replace('"', r"\x22")


def _whole(pattern: str) -> str:
    """A JSON Schema pattern, which may match anywhere, as an expression of the whole text."""
    body = pattern.removeprefix("^")
    ends = body.endswith("$") and not body.endswith(r"\$")
    body = body[:-1] if ends else body
    if re.search(r"(?<!\\)[\^$]", re.sub(r"\[[^\]]*\]", "", body)):
        raise TrimtabError(f"the pattern {pattern!r} cannot be held to without quotes around it")
    before = "" if pattern.startswith("^") else "(?s:.{0,64})"
    return f"{before}({body.replace('/', chr(92) + '/')}){'' if ends else '(?s:.{0,64})'}"
