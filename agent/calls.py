"""Tool calls as text: the form that models are taught, its grammar, and reading it back.

The form is that of Hermes and Qwen models::

    <tool_call>
    {"name": "search", "arguments": {"query": "lamp"}}
    </tool_call>

``call_grammar`` makes a grammar that lets a model write nothing else than such a call, with
arguments that fit the tool's schema. ``parse_call`` reads calls from free text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..errors import TrimtabError
from ..tools.toolkit import ToolError
from .bounds import MAX_ITEMS, MAX_STRING, Bounds
from .literals import Unreadable, read_arguments, read_value

MAX_CALLS = 8
"""Calls in one answer, where parallel calls are allowed."""

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"

# As `json.dumps` writes, so that what the grammar allows is what `format_call` makes.
_SPACING = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


@dataclass(frozen=True)
class ToolCall:
    """A call as the model made it, not yet checked against any schema.

    Attributes:
        name: The tool's name.
        arguments: By name.
        id: What the tool's answer refers to.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = "call_0"


def format_call(call: ToolCall) -> str:
    """The call as the text that the model is taught.

    Example:
        >>> print(format_call(ToolCall("search", {"query": "lamp"})))
        <tool_call>
        {"name": "search", "arguments": {"query": "lamp"}}
        </tool_call>
    """
    made = {"name": call.name, "arguments": call.arguments}
    return f"{_OPEN}\n{json.dumps(made, ensure_ascii=False)}\n{_CLOSE}"


# ---- the grammar -------------------------------------------------------------------------------


def call_grammar(
    tools: Sequence[Mapping[str, Any]],
    *,
    only: Collection[str] | None = None,
    parallel: bool = False,
    max_string: int = MAX_STRING,
    max_items: int = MAX_ITEMS,
) -> str:
    """An llguidance grammar of one tool call, whose arguments fit the tool's JSON Schema.

    The text is that of ``format_call``, spaces included. Properties come in the order of the
    schema. Where a schema leaves something open, the grammar is narrower: objects hold no other
    properties than those named, and strings, arrays and integers are bounded.

    Args:
        tools: OpenAI tool dicts. A ``$ref`` is resolved in its own tool's schema.
        only: Names of the tools that may be called; None is all.
        parallel: Allow up to ``MAX_CALLS`` calls, one after the other.
        max_string: Characters in a string that has no ``maxLength``.
        max_items: Items in an array that has no ``maxItems``.

    Raises:
        TrimtabError: No tool, an unknown name in ``only``, or a schema that cannot be enforced;
            the message names the tool and the feature.
    """
    names = [tool["function"]["name"] for tool in tools]
    unknown = sorted(set(only or ()) - set(names))
    if unknown or not names or (only is not None and not only):
        raise TrimtabError(
            f"expected at least one of the tools {', '.join(names) or '(none given)'} to call, "
            f"got {', '.join(unknown) or 'none'}"
        )
    wanted = [
        (tool["function"]["name"], tool["function"].get("parameters") or {})
        for tool in tools
        if only is None or tool["function"]["name"] in only
    ]
    return _grammar(json.dumps(wanted), parallel, max_string, max_items)


@lru_cache(maxsize=256)
def _grammar(tools: str, parallel: bool, max_string: int, max_items: int) -> str:
    from llguidance import LLMatcher

    alternatives, schemas = [], []
    for number, (name, parameters) in enumerate(json.loads(tools)):
        opening = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": '
        alternatives.append(f'{_literal(opening)} arguments_{number} "}}"')
        bounded = {**Bounds(max_string, max_items).narrowed(parameters), "x-guidance": _SPACING}
        schema = json.dumps(bounded, ensure_ascii=False)
        schemas.append(f"arguments_{number}: %json {schema}")
        problem = LLMatcher.validate_grammar(f"start: %json {schema}")
        if problem:
            raise TrimtabError(
                f"calls of the tool {name!r} cannot be constrained: {_reason(problem)}; change "
                "its schema, or decode free-form"
            )
    # Each rule is one line. A literal that is nothing but a mark becomes the tokenizer's own
    # token for it, where it has one.
    rules = [
        f'start: call ("\\n" call){{0,{MAX_CALLS - 1}}}' if parallel else "start: call",
        f'call: {_literal(_OPEN)} "\\n" body "\\n" {_literal(_CLOSE)}',
        f"body: {' | '.join(alternatives)}",
        *schemas,
    ]
    grammar = "\n".join(rules) + "\n"
    problem = LLMatcher.validate_grammar(grammar)
    if problem:
        raise TrimtabError(f"the tools cannot be constrained together: {_reason(problem)}")
    return grammar


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _reason(problem: str) -> str:
    """What llguidance says is wrong, in one line, without where in the grammar it is."""
    lines = problem.splitlines()
    first = re.sub(r"^(at \d+\(\d+\): )?(failed to compile JSON schema: )?", "", lines[0])
    further = [line for line in lines[1:] if line.startswith("error: ")]
    return " ".join([first, *further]).rstrip(":")


# ---- reading free text -------------------------------------------------------------------------

_NAME_KEYS = ("name", "tool", "tool_name", "function", "function_name", "action")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "params", "kwargs", "input", "tool_input",
                  "action_input")  # fmt: skip
_BESIDE_A_NAME = {"id", "type"}  # what a call without arguments may hold beside its name
_MAX_TEXT = 50_000  # characters that are looked at
_MAX_STARTS = 50  # places in one text where a call is looked for
_BLOCK = re.compile(rf"{_OPEN}(.*?)(?:{_CLOSE}|(?={_OPEN})|\Z)", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*[^\S\n]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_CODE = re.compile(r"(?<![\w.-])([A-Za-z_][\w.-]*)\(")


def parse_call(text: str) -> ToolCall | ToolError:
    """The first tool call in a model's free text, or an error that says what was expected.

    Read are calls between ``<tool_call>`` marks, in code fences, as bare JSON or JSON-like
    objects anywhere in the text, and as code, ``search(query="lamp")``. Never raises.
    """
    calls = parse_calls(text)
    if calls:
        return calls[0]
    came = " ".join(text.split())
    came = f"{came[:100]}…" if len(came) > 100 else came
    return ToolError(
        "unparsable",
        f'expected a tool call as {_OPEN}{{"name": ..., "arguments": {{...}}}}{_CLOSE}, '
        f"got {came or 'an empty answer'}",
    )


def parse_calls(text: str) -> list[ToolCall]:
    """Every tool call in a model's free text, in its order; see ``parse_call``. Never raises."""
    text = text[:_MAX_TEXT]
    for pieces in (_BLOCK.findall(text), _FENCE.findall(text), [text]):
        found = [call for piece in pieces for call in _objects(piece)]
        found = found or [call for piece in pieces for call in _code(piece)]
        if found:
            return [
                ToolCall(name, arguments, f"call_{number}")
                for number, (name, arguments) in enumerate(found)
            ]
    return []


_Found = tuple[str, dict[str, Any]]


def _objects(text: str) -> Iterator[_Found]:
    """Calls written as objects, at any place in the text."""
    at = 0
    for _ in range(_MAX_STARTS):
        at = text.find("{", at)
        if at < 0:
            return
        try:
            value, end = read_value(text, at)
        except Unreadable:
            at += 1
            continue
        yield from _calls_in(value)
        at = end


def _calls_in(value: Any) -> Iterator[_Found]:
    """The calls that a value is or holds."""
    if isinstance(value, list):
        for item in value:
            yield from _calls_in(item)
    elif isinstance(value, dict):
        call = _as_call(value)
        if call:
            yield call
        else:
            yield from _calls_in(list(value.values()))


def _as_call(value: dict[str, Any]) -> _Found | None:
    name_key = next((key for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    if name_key is None or not value[name_key].strip():
        return None
    name = value[name_key].strip()
    for key in _ARGUMENT_KEYS:
        if key in value:
            arguments = _as_arguments(value[key])
            return None if arguments is None else (name, arguments)
    return None if set(value) - {name_key} - _BESIDE_A_NAME else (name, {})


def _as_arguments(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        if not value.strip():
            return {}
        try:
            value, _ = read_value(value)
        except Unreadable:
            return None
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def _code(text: str) -> Iterator[_Found]:
    """Calls written as code: all of a piece, or with at least one keyword argument."""
    at = 0
    for _ in range(_MAX_STARTS):
        start = _CODE.search(text, at)
        if not start:
            return
        at = start.end()
        try:
            if text[at : at + 1] == "{":
                value, end = read_value(text, at)
                arguments = value if isinstance(value, dict) else {}
                end = text.find(")", end) + 1 or len(text)
            else:
                arguments, end = read_arguments(text, at)
        except Unreadable:
            continue
        alone = not (text[: start.start()] + text[end:]).strip()
        if arguments or alone:
            yield start[1], arguments
            at = end
