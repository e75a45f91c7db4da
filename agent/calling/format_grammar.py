"""The grammar of calls in any format of the table."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from ...errors import TrimtabError
from .formats.call_format import CallFormat
from .formats.value_rules import Rules, literal

MAX_CALLS = 8
"""Calls in one answer, where parallel calls are allowed."""


@lru_cache(maxsize=256)
def format_grammar(call_format: CallFormat, tools: str, parallel: bool, or_text: bool) -> str:
    """An llguidance grammar of calls in a format.

    Args:
        call_format: The format.
        tools: A JSON object of the narrowed schema of each tool's arguments, by name.
        parallel: Allow several calls, where the format does.
        or_text: Allow plain text too, alone or in front of the first call.

    Raises:
        TrimtabError: A tool that calls in this format cannot be held to.
    """
    from llguidance import LLMatcher

    marks = call_format.marks
    alternatives, lines = [], []
    for number, (name, schema) in enumerate(json.loads(tools).items()):
        rules = Rules(f"t{number}_", marks)
        try:
            arguments = call_format.arguments.rules(schema, rules)
            written = call_format.written_name(name)
        except TrimtabError as error:
            raise cannot_constrain(name, str(error)) from error
        # What is literal is one rule a line; a mark alone in quotes is the tokenizer's token.
        head = f"{written}{call_format.between}"
        body = f"{_numbered(head, marks)} {arguments}"
        alternatives.append(body)
        problem = LLMatcher.validate_grammar("\n".join([f"start: {body}", *rules.lines]) + "\n")
        if problem:
            raise cannot_constrain(name, problem)
        lines += rules.lines
    before, after = literal(call_format.before, marks), literal(call_format.after, marks)
    separator = literal(call_format.separator, marks)
    several = parallel and call_format.parallel
    opening, rest = _from_mark(call_format)
    # The mark is the first thing of a call, or stands once in front of all of them.
    inside = f"{rest} body {after}" if opening is not None else f"{before} body {after}"
    first = "first" if opening is not None else "call"
    more = f"({separator} call){{0,{MAX_CALLS - 1}}}" if several else '""'
    rules_ = [
        _start(call_format, opening, or_text),
        f"calls: {literal(opening, marks)} inside" if opening is not None else "calls: inside",
        f"inside: {'' if opening is not None else literal(call_format.opening, marks)} {first} "
        f"more {literal(call_format.closing, marks)}",
        f"first: {inside}",
        f"call: {before} body {after}",
        f"more: {more}",
        f"body: {' | '.join(alternatives)}",
        *lines,
    ]
    if opening is None:
        rules_ = [line for line in rules_ if not line.startswith("first:")]
    if or_text and opening is not None and not call_format.text_opening:
        rules_.append(f"marked[lazy]: /(?s:.*){_escaped(opening)}/")
    if or_text:
        rules_.append(f"TEXT: {_text(call_format, opening)}")
    grammar = "\n".join(rules_) + "\n"
    problem = LLMatcher.validate_grammar(grammar)
    if problem:
        raise TrimtabError(f"the tools cannot be constrained together: {reason_of(problem)}")
    return grammar


@lru_cache(maxsize=32)
def words_grammar(call_format: CallFormat) -> str:
    """An llguidance grammar of words alone: begun like a sentence, without what shows a call.

    Args:
        call_format: The format in which the model is taught to call, whose marks are left out.
    """
    shown = (call_format.mark, call_format.opening, call_format.before, *call_format.marks)
    # Shorter ones, a bracket, show a call at the start of an answer only.
    marks = {mark.strip() for mark in ("<tool_call>", *shown) if len(mark.strip()) > 2}
    without = "".join(f" & ~/(?s:.*){_escaped(mark)}(?s:.*)/" for mark in sorted(marks))
    opening = literal(call_format.text_opening, call_format.marks)
    return f"start: {opening} WORDS\nWORDS: /[^\\s{{\\[(<`](?s:.*)/{without}\n"


def _from_mark(call_format: CallFormat) -> tuple[str | None, str]:
    """The mark, and the grammar of what stands between it and the first call's name."""
    written = call_format.opening + call_format.before
    if not call_format.mark or not written.startswith(call_format.mark):
        return None, ""
    return call_format.mark, literal(written[len(call_format.mark) :], call_format.marks)


def _start(call_format: CallFormat, opening: str | None, or_text: bool) -> str:
    if not or_text:
        return "start: calls"
    if call_format.text_opening:
        return f"start: {literal(call_format.text_opening, call_format.marks)} TEXT | calls"
    # The mark comes as a token of its own, or as text where a tokenizer has none for it.
    return "start: TEXT | calls" if opening is None else "start: TEXT | TEXT? calls | marked inside"


def _text(call_format: CallFormat, opening: str | None) -> str:
    if opening is None:
        return r"/[^\[{ \n](?s:.*)/"
    return f"/(?s:.+)/ & ~/(?s:.*){_escaped(opening)}(?s:.*)/"


def _numbered(text: str, marks: tuple[str, ...]) -> str:
    before, number, after = text.partition("{number}")
    if not number:
        return literal(text, marks)
    return f"{literal(before, marks)} /[0-9]/ {literal(after, marks)}"


def _escaped(text: str) -> str:
    return re.escape(text).replace("/", r"\/").replace("\n", "n").replace('"', r"\x22")


def cannot_constrain(tool: str, problem: str) -> TrimtabError:
    """What to say of a tool whose calls cannot be held to its schema."""
    return TrimtabError(
        f"calls of the tool {tool!r} cannot be constrained: {reason_of(problem)}; change "
        "its schema, or decode free-form"
    )


def reason_of(problem: str) -> str:
    """What llguidance says is wrong, in one line, without where in the grammar it is."""
    lines = problem.splitlines()
    first = re.sub(r"^(at \d+\(\d+\): )?(failed to compile JSON schema: )?", "", lines[0])
    further = [line for line in lines[1:] if line.startswith("error: ")]
    return " ".join([first, *further]).rstrip(":")
