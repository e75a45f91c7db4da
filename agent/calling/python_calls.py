"""Reading the arguments of a call that is written as Python code, ``search(query="lamp")``."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from .lenient_json import Unreadable, repaired, sound

_MAX_DEPTH = 64
_KEYWORD = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\W\d][\w-]*)\s*=\s*')


def read_arguments(text: str, start: int) -> tuple[dict[str, Any], int]:
    """The keyword arguments of a call that is written as code, from behind its ``(``.

    They are read as Python's literals where they are such, else as the members of an object.

    Returns:
        The arguments, and where the closing parenthesis stands, or where a text without it ends.

    Raises:
        Unreadable: What stands there is not a list of keyword arguments.
    """
    end = _closing_parenthesis(text, start)
    if end is not None:
        arguments = _parsed_arguments(text[start:end])
        if arguments is None:
            arguments = _named_otherwise(text[start:end])
        if arguments is not None:
            return arguments, end
    members = f"{{{text[start:end]}" + ("" if end is None else "}")
    value, read = repaired(members)
    if not isinstance(value, dict) or read < len(members):
        raise Unreadable
    return value, len(text) if end is None else end


def _closing_parenthesis(text: str, at: int) -> int | None:
    """Where what was opened before ``at`` is closed; None if it never is."""
    return _end(text, at, ")")


def _end(text: str, at: int, wanted: str) -> int | None:
    """Where one of the characters stands outside quotes and brackets; None if none does."""
    depth, quote = 0, ""
    while at < len(text):
        character = text[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif depth == 0 and character in wanted:
            return at
        elif character in "\"'":
            quote = character
        elif character in "([{":
            depth += 1
            if depth > _MAX_DEPTH:
                return None
        elif character in ")]}":
            if depth == 0:
                return None
            depth -= 1
        at += 1
    return None


def _parsed_arguments(inside: str) -> dict[str, Any] | None:
    """Keyword arguments that are Python's literals; None where they are not."""
    try:
        made = ast.parse(f"f({inside}\n)", mode="eval").body
        if not isinstance(made, ast.Call) or made.args:
            return None
        arguments: dict[str, Any] = {}
        for keyword in made.keywords:
            value = sound(_literal_of(keyword.value))
            if keyword.arg is not None:
                arguments[keyword.arg] = value
            elif isinstance(value, dict):
                arguments |= value
            else:
                return None
    except (SyntaxError, ValueError, RecursionError, MemoryError, Unreadable, OverflowError):
        return None
    return arguments


def _named_otherwise(inside: str) -> dict[str, Any] | None:
    """Arguments under names that Python has no room for, ``from="x", "a b"=1``; None elsewhere."""
    arguments: dict[str, Any] = {}
    at = 0
    while at < len(inside):
        key = _KEYWORD.match(inside, at)
        if key is None:
            return None
        end = _end(inside, key.end(), ",")
        try:
            value = ast.parse(inside[key.end() : end].strip(), mode="eval").body
            name = json.loads(key[1]) if key[1].startswith('"') else key[1]
            arguments[name] = sound(_literal_of(value))
        except (SyntaxError, ValueError, RecursionError, MemoryError, Unreadable, OverflowError):
            return None
        at = len(inside) if end is None else end + 1
    return arguments or None


def _literal_of(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and not isinstance(node.value, bytes | complex):
        return None if node.value is Ellipsis else node.value
    if isinstance(node, ast.Name) and node.id in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[node.id]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_literal_of(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [_literal_of(key) if key is not None else None for key in node.keys]
        if any(not isinstance(key, str) for key in keys):
            raise Unreadable
        return dict(zip(keys, map(_literal_of, node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _literal_of(node.operand)
        if isinstance(value, int | float):
            return -value if isinstance(node.op, ast.USub) else value
    raise Unreadable
