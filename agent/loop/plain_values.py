"""What a tool returned or a model wrote, as plain data that a checkpoint and a record can hold."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import to_jsonable_python

MOST_CHARACTERS = 1_000_000
"""A value whose JSON is longer is not kept."""


def plain_value(value: Any) -> Any:
    """The value as JSON has it: what JSON has no form for becomes text, bytes base64.

    Lone surrogates become question marks, and whole numbers of more than 64 bits, which no
    checkpoint takes, their digits as text. A value that is too large, nested too deep or that
    holds itself is not kept: a line that says so takes its place.

    Example:
        >>> plain_value({"found": (1, 2), "by": {3}})
        {'found': [1, 2], 'by': [3]}
    """
    try:
        plain = _bounded(to_jsonable_python(value, fallback=str, bytes_mode="base64"))
        text = json.dumps(plain, ensure_ascii=False)
        if len(text) > MOST_CHARACTERS:
            return f"[a value of {len(text):,} characters was not kept]"
        whole = text.encode("utf-8", "replace").decode("utf-8")
        return plain if whole == text else json.loads(whole)
    except Exception as error:  # also whatever a value's own methods raise
        return f"[a {type(value).__name__} was not kept: {type(error).__name__}]"


def _bounded(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _bounded(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_bounded(value) for value in plain]
    if isinstance(plain, int) and not -(2**63) <= plain < 2**63:
        return str(plain)
    return plain
