"""Arguments as a JSON object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..lenient_json import Unreadable, read_value
from .json_calls import written_json
from .schema_parts import Schema
from .value_rules import Rules

_SPACE = re.compile(r"\s*")


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
