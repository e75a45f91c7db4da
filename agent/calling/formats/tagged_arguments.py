"""Arguments in tags, their values as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....errors import TrimtabError
from .schema_parts import Schema, definitions_of, property_of, resolved
from .typed_text import read_typed, typed_text
from .value_rules import Rules


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
            text = typed_text(value, property_of(schema, name), self._mark)
            written.append(f"{self._opened(name)}{text}{self.closing}{self.again}")
        return "".join(written)

    def _opened(self, name: str) -> str:
        """What stands in front of an argument's value.

        Raises:
            TrimtabError: The name would be read as another one.
        """
        text = f"{self.opening}{name}{self.middle}"
        match = re.match(self.loose, text)
        if match is None or match["name"] != name or text[match.end() :].strip():
            raise TrimtabError(f"the argument {name!r} cannot be written between tags")
        return text

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
            arguments[name] = read_typed(value, property_of(schema, name))
        return arguments, at

    def rules(self, schema: Schema, rules: Rules) -> str:
        """See ``Arguments``."""
        required = set(schema.get("required", ()))
        parts = []
        for name, part in schema.get("properties", {}).items():
            if part is False:
                continue
            opened = rules.literal(self._opened(name))
            value = self._value(part, schema, rules)
            written = f"{opened} {value}"
            parts.append(written if name in required else f"({written})?")
        return rules.add(" ".join(parts) or '""')

    def _value(self, part: Any, root: Schema, rules: Rules) -> str:
        """The rule of a value and of what ends it."""
        part = resolved(part, root)
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
            known = {**definitions_of(root), **part}
            texts = [typed_text(value, known, self._mark) for value in values]
            return rules.add(
                f"({' | '.join(rules.literal(text) for text in texts)}) {rules.literal(ending)}"
            )
        if types == "string":
            return rules.text(part, self.closing, self.again)
        return rules.add(f"{rules.json(part, root)} {rules.literal(ending)}")
