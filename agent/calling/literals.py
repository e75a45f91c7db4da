"""Reading the JSON-like text that models write: strictly where it is JSON, else tolerantly.

Tolerated: single quotes, Python's ``True``, ``False`` and ``None``, unquoted keys and words,
trailing and missing commas, raw line breaks and unescaped quotes inside strings, and a text that
ends before its strings and brackets are closed. Nothing here raises on any text.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_MAX_DEPTH = 64
_CONSTANTS = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "undefined": None,
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_CLOSING = {"{": "}", "[": "]", "(": ")"}
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?=[\s,:}\])]|$)")
_WORD = re.compile(r"[^\s,:=}\])\[({\"']+(?:[^\S\n]+[^\s,:=}\])\[({\"']+)*")
_KEY = re.compile(r"[A-Za-z_$][\w$.-]*")
_SEPARATOR = re.compile(r"\s*(?::|=>?)")
_STRICT = json.JSONDecoder(strict=False)


class Unreadable(Exception):
    """What stands at this place is no literal. Stays between this module and its readers."""


def read_value(text: str, start: int = 0) -> tuple[Any, int]:
    """The value that starts at ``start`` (white space aside) and where it ends.

    Raises:
        Unreadable: There is no value there.
    """
    start = _SPACE.match(text, start).end()  # type: ignore[union-attr]
    try:
        return read_strictly(text, start)
    except Unreadable:
        reader = _Reader(text, start)
        value, end = reader.value(0), reader.at
    return sound(value), end


def read_strictly(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value that starts at exactly ``start``, and where it ends.

    Raises:
        Unreadable: There is no JSON value there.
    """
    try:
        value, end = _STRICT.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    return sound(value), end


def read_arguments(text: str, start: int) -> tuple[dict[str, Any], int]:
    """The keyword arguments of a call that is written as code, from behind its ``(``.

    Raises:
        Unreadable: What stands there is not a list of keyword arguments.
    """
    reader = _Reader(text, start)
    arguments = sound(reader.members(")", 0))
    assert isinstance(arguments, dict)
    return arguments, reader.at


def sound(value: Any, depth: int = 0) -> Any:
    """The value with nothing in it that cannot be written as JSON text again."""
    if depth > _MAX_DEPTH:
        raise Unreadable
    if isinstance(value, str):
        # Two halves of a pair become their character, a lone half the replacement mark.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [sound(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {sound(key, depth + 1): sound(item, depth + 1) for key, item in value.items()}
    return value


class _Reader:
    """Reads one value from left to right; ``at`` is how far it has come."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at

    def members(self, closing: str, depth: int) -> dict[str, Any]:
        """Keys with values up to ``closing`` or the end of the text."""
        members: dict[str, Any] = {}
        while not self._closed(closing):
            key = self._key()
            separator = _SEPARATOR.match(self.text, self.at)
            if not separator:
                raise Unreadable
            self.at = separator.end()
            # A text that ends here was cut off in front of the value.
            members[key] = self.value(depth + 1) if self._next() else None
        return members

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise Unreadable
        opening = self._next()
        if opening == "{":
            self.at += 1
            return self.members("}", depth)
        if opening in ("[", "("):
            self.at += 1
            items = []
            while not self._closed(_CLOSING[opening]):
                items.append(self.value(depth + 1))
            return items
        if opening in ('"', "'"):
            return self._string()
        return self._bare()

    def _next(self) -> str:
        """The next character that is not white space; empty at the end of the text."""
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text[self.at : self.at + 1]

    def _closed(self, closing: str) -> bool:
        """Skip commas; whether what is open is closed here, or by the end of the text."""
        while self._next() == ",":
            self.at += 1
        upcoming = self._next()
        if upcoming == closing:
            self.at += 1
        # Another bracket closes something further out, or is a slip.
        return upcoming in ("}", "]", ")", "")

    def _key(self) -> str:
        if self._next() in ('"', "'"):
            return self._string()
        word = _KEY.match(self.text, self.at)
        if not word:
            raise Unreadable
        self.at = word.end()
        return word[0]

    def _string(self) -> str:
        quote = self.text[self.at]
        self.at += 1
        pieces = []
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character == "\\":
                pieces.append(self._escape())
            elif character == quote and self._ends_string():
                return "".join(pieces)
            else:
                pieces.append(character)
        return "".join(pieces)

    def _ends_string(self) -> bool:
        """Whether the quote just read closes its string: punctuation follows, or nothing."""
        following = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text[following : following + 1] in ("", ",", ":", "=", "}", "]", ")", '"', "'")

    def _escape(self) -> str:
        escaped = self.text[self.at : self.at + 1]
        self.at += 1
        if escaped == "u":
            digits = self.text[self.at : self.at + 4]
            if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                self.at += 4
                return chr(int(digits, 16))
        return _ESCAPES.get(escaped, escaped)

    def _bare(self) -> Any:
        number = _NUMBER.match(self.text, self.at)
        if number and len(number[0]) < 400:  # beyond that int() refuses
            self.at = number.end()
            digits = number[0].replace("_", "")
            return float(digits) if set(digits) & set(".eE") else int(digits)
        word = _WORD.match(self.text, self.at)
        if not word:
            raise Unreadable
        self.at = word.end()
        return _CONSTANTS.get(word[0].lower(), word[0])
