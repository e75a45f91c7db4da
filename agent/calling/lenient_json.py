"""Reading the JSON-like text that models write: strictly where it is JSON, else repaired.

``json_repair`` puts right what models get wrong: single quotes, Python's ``True`` and ``None``,
unquoted keys and words, trailing and missing commas, unescaped quotes and raw line breaks inside
strings, a text that ends too early. It makes something of any text, so that what it made is
compared with the text: where it left something out, made something up, or put two members
together, the text is not readable. Nothing here raises on any text but ``Unreadable``.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from json_repair.json_parser import JSONParser

_MAX_DEPTH = 64
_SPACE = re.compile(r"\s*")
_STRICT = json.JSONDecoder(strict=False)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
# What carries no meaning of its own; all other characters have to arrive in the value.
_NOTHING = re.compile(
    r"[\s\"'\u2018\u2019\u201c\u201d`{}\[\]():,;=>\\]|\b(?:true|false|null|none)\b", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
# What a string may hold if it ran over its end; or truly, and then there are quotes around it.
_RUN_OVER = re.compile(r"""[,{]\s*["']?[\w$.-]+["']?\s*:|["']""")
_CLOSED = re.compile(r"""["'][\s}\])]*$""")
_QUOTES = "\"'`"
# Apostrophes between letters and the sign for inches end no string, but are taken for an end: they
# are other characters meanwhile.
_NO_ENDS = {
    "\ue000": ("'", re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")),
    "\ue001": ('"', re.compile(r"(?<=\d)\"(?= [^\W\d_])")),
}
_EMPTY = re.compile(r"\"\"|''")


class Unreadable(Exception):
    """What stands at this place is no value. Stays between this module and its readers."""


def read_value(text: str, start: int = 0) -> tuple[Any, int]:
    """The value that starts at ``start`` (white space aside) and where it ends.

    Only objects and arrays are repaired.

    Raises:
        Unreadable: There is no value there.
    """
    start = _SPACE.match(text, start).end()  # type: ignore[union-attr]
    try:
        return read_strictly(text, start)
    except Unreadable:
        if text[start : start + 1] not in ("{", "["):
            raise
    value, length = repaired(text[start:])
    return value, start + length


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


def repaired(text: str) -> tuple[Any, int]:
    """The object or array that a text begins with, put right, and where it ends.

    Raises:
        Unreadable: The value and the text do not say the same.
    """
    if _depth(text) > _MAX_DEPTH:  # which takes json_repair seconds, and ends in no value
        raise Unreadable
    held = text
    for other, (_, no_end) in _NO_ENDS.items():
        held = no_end.sub(other, held)
    parser = JSONParser(held, None, logging=False)
    try:
        value = sound(_replaced(parser.parse_json()))
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    end = len(text[: parser.index].rstrip())
    if not _says_the_same(text[:end], value):
        raise Unreadable
    return value, end


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


def _replaced(value: Any) -> Any:
    """The value with the characters of its text in the place of others."""
    if isinstance(value, str):
        for other, (own, _) in _NO_ENDS.items():
            value = value.replace(other, own)
        return value
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    if isinstance(value, dict):
        return {_replaced(key): _replaced(item) for key, item in value.items()}
    return value


def _depth(text: str) -> int:
    """How deep brackets are nested in a text, those in strings counted too."""
    deepest = depth = 0
    for bracket in re.finditer(r"[\[{(]|[\]})]", text):
        depth = depth + 1 if bracket[0] in "[{(" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


def _says_the_same(text: str, value: Any) -> bool:
    """Whether all of a text arrived in a value, as separate members, and nothing was made up."""
    plain = str(sound(_ESCAPE.sub(_unescaped, text)))
    leaves = list(_leaves(value))
    if leaves.count("") > len(_EMPTY.findall(plain)):
        return False
    for leaf in leaves:
        if _RUN_OVER.search(leaf) and not _in_quotes(leaf, plain):
            return False
    return not _meaning(plain) - _meaning(" ".join(leaves))


def _in_quotes(leaf: str, text: str) -> bool:
    """Whether it stands between quotes, or behind one where the text was cut off."""
    cut = not _CLOSED.search(leaf)
    return any(
        f"{quote}{leaf}{quote}" in text or (cut and text.endswith(f"{quote}{leaf}"))
        for quote in _QUOTES
    )


def _unescaped(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return _ESCAPED.get(escape[2], escape[2])


def _leaves(value: Any) -> Iterator[str]:
    """The keys, strings, numbers and words that a value is made of, as text."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield str(value)


def _meaning(text: str) -> Counter[str]:
    """How often each character occurs that means something, all numbers written alike."""
    alike = _NUMBER.sub(lambda number: repr(float(number[0])), text)
    return Counter(_NOTHING.sub("", alike))
