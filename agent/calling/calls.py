"""Tool calls as text: writing them, and reading them back from whatever a model says.

Each model family is taught a form of its own; ``formats.table`` has them all. Without a model the
form is that of Hermes and Qwen models::

    <tool_call>
    {"name": "search", "arguments": {"query": "lamp"}}
    </tool_call>

``call_grammar``, of the module ``grammar``, lets a model write nothing else than such a call.
``parse_calls`` reads calls in every form. What stands in a thought is no call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...steering.prompts.marks import THOUGHTS
from ...tools.toolkit import ToolError
from .formats.call_format import CallFormat, Schemas
from .formats.json_calls import NamedArguments, calls_in, read_objects
from .formats.table import HERMES, formats
from .formats.unmarked import UNMARKED
from .grammar import CALL_CLOSE, CALL_OPEN
from .grammar import call_grammar as call_grammar
from .lenient_json import Unreadable, read_strictly, read_value
from .python_calls import read_arguments
from .tool_call import ToolCall as ToolCall

Tools = Sequence[Mapping[str, Any]]
"""OpenAI tool dicts."""

_MAX_TEXT = 50_000  # characters that are looked at
_MAX_STARTS = 50  # places in one text where a call is looked for
_MAX_REPAIRED = 200_000  # characters of one text that are put right in vain, all places together
_BLOCK = re.compile(rf"{CALL_OPEN}(.*?)(?:{CALL_CLOSE}|(?={CALL_OPEN})|\Z)", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*[^\S\n]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_FENCE_OPEN = re.compile(r"```[\w-]*\s*(?=[{\[])")
_CODE = re.compile(r"(?<![\w.-])([A-Za-z_][\w.-]*)\(")
_THOUGHT = re.compile("|".join(re.escape(marks.opening) for marks in THOUGHTS))
_CLOSING = {marks.opening: marks.closing for marks in THOUGHTS}
_THOUGHT_END = re.compile(
    "|".join(re.escape(c) for c in dict.fromkeys(_CLOSING.values()) if c != "<|end|>")
)
# What harmony writes between its channels.
_CHANNELS = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>(?:final|commentary)(?:\s*<\|constrain\|>\w+)?"
    r"<\|message\|>|<\|start\|>assistant|<\|(?:end|return|call)\|>"
)


def format_call(
    call: ToolCall, *, tools: Tools = (), call_format: CallFormat | str | None = None
) -> str:
    """The call as the text that the model is taught.

    Args:
        call: The call.
        tools: Whose schemas say what a text without quotes means, in formats that have such;
            whoever reads the call needs the same.
        call_format: A format or its name; None is that of Hermes and Qwen models.

    Example:
        >>> print(format_call(ToolCall("search", {"query": "lamp"})))
        <tool_call>
        {"name": "search", "arguments": {"query": "lamp"}}
        </tool_call>
    """
    return _format(call_format or HERMES).write([call], schemas_of(tools))


def call_head(tool: str, call_format: CallFormat = HERMES) -> str:
    """A call as the model is taught it, up to the end, or the closing quote, of the tool's name."""
    text = call_format.write([ToolCall(tool)])
    end = len(call_format.opening + call_format.before + call_format.written_name(tool))
    return text[: end + text.startswith('"', end)]


def schemas_of(tools: Tools) -> Schemas:
    """The schema of each tool's arguments, by its name."""
    return {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}


def _format(call_format: CallFormat | str) -> CallFormat:
    from .formats.table import format_named

    return format_named(call_format) if isinstance(call_format, str) else call_format


# ---- reading free text -------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadAnswer:
    """What an answer holds.

    Attributes:
        calls: In their order.
        text: What is said before the first call, or all that is said where there is none.
        thought: What was thought aloud before it.
    """

    calls: tuple[ToolCall, ...]
    text: str
    thought: str = ""


def parse_call(
    text: str, *, tools: Tools = (), call_format: CallFormat | str | None = None
) -> ToolCall | ToolError:
    """The first tool call in a model's free text, or an error that says what was expected.

    Read are calls in the form of any model family, with or without its special tokens, in code
    fences, as bare JSON or JSON-like objects anywhere in the text, and as code,
    ``search(query="lamp")``. What stands in a thought is no call. Never raises.

    Args:
        text: What the model said.
        tools: OpenAI tool dicts; where a form has no quotes, their schemas say what is a string.
        call_format: The form that the model is taught, which is tried first.
    """
    calls = parse_calls(text, tools=tools, call_format=call_format)
    if calls:
        return calls[0]
    came = " ".join(text.split())
    came = f"{came[:100]}…" if len(came) > 100 else came
    return ToolError(
        "unparsable",
        f"expected a tool call as {_shown(_format(call_format or HERMES))}, "
        f"got {came or 'an empty answer'}",
    )


def parse_calls(
    text: str, *, tools: Tools = (), call_format: CallFormat | str | None = None
) -> list[ToolCall]:
    """Every tool call in a model's free text, in its order; see ``parse_call``. Never raises."""
    return list(read_answer(text, tools=tools, call_format=call_format).calls)


def read_answer(
    text: str, *, tools: Tools = (), call_format: CallFormat | str | None = None
) -> ReadAnswer:
    """A model's free text, taken apart; see ``parse_call``. Never raises."""
    text, beyond = text[:_MAX_TEXT], text[_MAX_TEXT:]
    schemas = schemas_of(tools)
    order = list(formats())
    if call_format is not None:
        own = _format(call_format)
        order = [own, *(one for one in order if one is not own)]
    thought, rest = split_thought(text)
    whole = _whole(rest, order, schemas)
    if whole:
        return ReadAnswer(_numbered(whole), "", thought)
    walk = _walk(rest, [one for one in order if not one.bare], schemas)
    if walk.thought_end:
        # A thought that the prompt opened: what it holds is no call.
        thought = "\n".join(part for part in (thought, rest[: walk.thought_start]) if part).strip()
        after = rest[walk.thought_end :].lstrip("\n") + beyond
        inner = read_answer(after, tools=tools, call_format=call_format)
        return ReadAnswer(inner.calls, inner.text, thought or inner.thought)
    if walk.calls:
        before = _without(rest[: walk.first], walk.thoughts)
        return ReadAnswer(_numbered(walk.calls), _plain(before).rstrip(), thought)
    said = _without(rest, walk.thoughts)
    calls = _loose(said)
    if calls:
        mark = CALL_OPEN if CALL_OPEN in said else "```"
        before, at, _ = said.partition(mark)
        return ReadAnswer(_numbered(calls), before.rstrip() if at else "", thought)
    return ReadAnswer((), _plain(said) + beyond, thought)


def split_thought(text: str) -> tuple[str, str]:
    """The thought that a text begins with, and what follows it; empty where it begins with none."""
    thoughts = []
    while match := _THOUGHT.match(text.lstrip()):
        inside = text.lstrip()[match.end() :]
        thought, closed, after = inside.partition(_CLOSING[match[0]])
        thoughts.append(thought.strip())
        # The space behind a thought is part of neither.
        text = after.lstrip("\n") if closed else ""
    return "\n".join(part for part in thoughts if part), text


def _plain(text: str) -> str:
    return _CHANNELS.sub("", text) if "<|" in text else text


def _numbered(calls: Sequence[NamedArguments]) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(name, arguments, f"call_{number}")
        for number, (name, arguments) in enumerate(calls)
    )


def _shown(call_format: CallFormat) -> str:
    """The format for an error message, in one line."""
    if call_format is HERMES:
        return f'{CALL_OPEN}{{"name": ..., "arguments": {{...}}}}{CALL_CLOSE}'
    return " ".join(call_format.write([ToolCall("name", {"argument": "value"})]).split())


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in reversed(spans):
        text = text[:start] + text[end:] if start < len(text) else text
    return text


def _whole(text: str, order: Sequence[CallFormat], schemas: Schemas) -> list[NamedArguments]:
    """The calls that a text consists of, in a form without marks; none if it is anything else."""
    text = text.strip()
    for one in (*(one for one in order if one.bare), *UNMARKED):
        calls: list[NamedArguments] = []
        match = one.start.match(text)
        while match:
            reading = one.read(text, match, schemas)
            if reading is None:
                break
            calls += reading.calls
            rest = text[reading.end :].lstrip(" \n;,")
            if not rest:
                return calls
            at = len(text) - len(rest)
            match = one.start.match(text, at) or one.start.match(text, reading.end)
    return []


@dataclass
class _Walk:
    """One way through a text, from mark to mark."""

    calls: list[NamedArguments]
    first: int  # where the first call starts
    thoughts: list[tuple[int, int]]
    thought_start: int = 0  # where the closing mark of a thought that the prompt opened stands
    thought_end: int = 0  # where that mark ends


def _walk(text: str, order: Sequence[CallFormat], schemas: Schemas) -> _Walk:
    """Calls in forms with marks. A mark in a call's argument is part of the argument."""
    walk = _Walk([], len(text), [])
    spans: list[tuple[int, int]] = []
    upcoming: dict[int, re.Match[str] | None] = {}
    at = 0
    for _ in range(_MAX_STARTS):
        for index in range(len(order)):
            known = upcoming.get(index)
            if index not in upcoming or (known is not None and known.start() < at):
                upcoming[index] = order[index].start.search(text, at)
        thought = _THOUGHT.search(text, at)
        starts = [(m.start(), index) for index, m in upcoming.items() if m is not None]
        if thought is not None and (not starts or thought.start() <= min(starts)[0]):
            closing = _CLOSING[thought[0]]
            end = text.find(closing, thought.end())
            at = end + len(closing) if end >= 0 else len(text)
            spans.append((thought.start(), at))
            walk.thoughts.append((thought.start(), at))
            continue
        if not starts:
            break
        start = min(starts)[0]
        for index in sorted(index for place, index in starts if place == start):
            match = upcoming[index]
            assert match is not None
            reading = order[index].read(text, match, schemas)
            if reading is not None:
                walk.first = min(walk.first, start)
                walk.calls += reading.calls
                spans.append((start, reading.end))
                at = max(reading.end, start + 1)
                break
        else:
            at = start + 1
    for match in _THOUGHT_END.finditer(text):
        if not any(start <= match.start() < end for start, end in spans):
            walk.thought_start, walk.thought_end = match.span()
            break
    return walk


def _loose(text: str) -> list[NamedArguments]:
    """Calls in no form that is taught, but as models write them anyway."""
    for pieces in (_BLOCK.findall(text), _fenced(text), [text]):
        calls = [call for piece in pieces for call in _objects(piece)]
        calls = calls or [call for piece in pieces for call in _code(piece)]
        if calls:
            return calls
    return []


def _fenced(text: str) -> list[str]:
    """What stands in code fences. JSON in one may hold a fence in its strings."""
    pieces, at = [], 0
    while opening := _FENCE_OPEN.search(text, at):
        values, end = read_objects(text, opening.end(), "```")
        if not any(True for value in values for _ in calls_in(value)):
            return _FENCE.findall(text)
        pieces.append(text[opening.end() : end])
        at = max(end, opening.end())
        at += 3 if text.startswith("```", at) else 0
        if len(pieces) >= _MAX_STARTS:
            break
    return pieces or _FENCE.findall(text)


def _objects(text: str) -> Iterator[NamedArguments]:
    """Calls written as objects, at any place in the text."""
    at, left = 0, _MAX_REPAIRED
    for _ in range(_MAX_STARTS):
        at = text.find("{", at)
        if at < 0:
            return
        # Each place is put right with all that follows it, which takes long where braces are many.
        read = read_value if len(text) - at <= left else read_strictly
        try:
            value, end = read(text, at)
        except Unreadable:
            left -= len(text) - at
            at += 1
            continue
        yield from calls_in(value)
        at = end


def _code(text: str) -> Iterator[NamedArguments]:
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
                arguments, closing = read_arguments(text, at)
                end = closing + 1
        except Unreadable:
            continue
        alone = not (text[: start.start()] + text[end:]).strip()
        if arguments or alone:
            yield start[1], arguments
            at = end
