"""The grammar of tool calls: what a constrained model can write.

A call is that of ``format_call``, with arguments that fit the tool's schema. Where text is an
answer too, calls in the other styles that models have are held to the schemas as well: a bare JSON
object at the start, and one in a code fence. This module has the grammar of Hermes calls; that of
all other formats is made from what the format says of itself, by ``format_grammar``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ...errors import TrimtabError
from ...tools.schema import checked_schema
from .format_grammar import MAX_CALLS as MAX_CALLS
from .format_grammar import cannot_constrain, format_grammar, reason_of
from .formats.call_format import CallFormat
from .formats.table import HERMES, format_named
from .formats.value_rules import OF_CALLS
from .schema_bounds import MAX_ITEMS, MAX_STRING, Bounds

CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
"""What stands around a call."""

_OF_ANSWERS = {**OF_CALLS, "coerce_one_of": False}

# How models space the JSON that they write in a style of their own.
_SPACE = r"[ \n]{0,16}"
_LOOSE_SPACING = {
    "whitespace_flexible": True, "whitespace_pattern": _SPACE, "coerce_one_of": True
}  # fmt: skip
_LOOSE_HEAD = rf'((?s:.*)```[a-z]*)?{_SPACE}\[?{_SPACE}\{{{_SPACE}"name"{_SPACE}:'

# The mark of a call comes as a token of its own, or as text where a tokenizer has none for it.
_TEXT_OR_CALLS = [
    'start: TEXT | TEXT? call more | marked "\\n" inside more | loose',
    f"TEXT: /(?s:.+)/ & ~/(?s:.*){CALL_OPEN}(?s:.*)/ & ~/{_LOOSE_HEAD}(?s:.*)/",
    f"marked[lazy]: /(?s:.*){CALL_OPEN}/",
    "loose: loose_head loose_body loose_more LOOSE_END?",
    f"loose_head[lazy]: /{_LOOSE_HEAD}/",
    rf"LOOSE_END: /{_SPACE}\]?{_SPACE}(```)?/",
]


def call_grammar(
    tools: Sequence[Mapping[str, Any]],
    *,
    only: Collection[str] | None = None,
    parallel: bool = False,
    or_text: bool = False,
    marked: bool = True,
    call_format: CallFormat | str | None = None,
    max_string: int = MAX_STRING,
    max_items: int = MAX_ITEMS,
) -> str:
    """An llguidance grammar of one tool call, whose arguments fit the tool's JSON Schema.

    The text is that of ``format_call``, spaces included. Properties come in the order of the
    schema. Where a schema leaves something open, the grammar is narrower: objects hold no other
    properties than those named, and strings, arrays and integers are bounded. What no grammar can
    say, such as ``uniqueItems``, is left to whoever checks the call.

    Args:
        tools: OpenAI tool dicts. A ``$ref`` is resolved in its own tool's schema.
        only: Names of the tools that may be called; None is all.
        parallel: Allow up to ``MAX_CALLS`` calls, one after the other.
        or_text: Allow plain text too, alone or before the first call. What begins like a call, with
            the mark, as a JSON object with a name or as one in a code fence, is held to the
            schemas.
        marked: Between ``<tool_call>`` marks; else a space and the bare object.
        call_format: The format of calls, or its name; None is that of Hermes and Qwen models.
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
    own = format_named(call_format) if isinstance(call_format, str) else call_format
    if own is not None and own is not HERMES and marked:
        bounds = Bounds(max_string, max_items)
        bounded = {name: bounds.narrowed(parameters) for name, parameters in wanted}
        return format_grammar(own, json.dumps(bounded), parallel, or_text)
    return _grammar(json.dumps(wanted), parallel, or_text, marked, max_string, max_items)


@lru_cache(maxsize=256)
def _grammar(
    tools: str, parallel: bool, or_text: bool, marked: bool, max_string: int, max_items: int
) -> str:
    from llguidance import LLMatcher

    alternatives, loose, schemas = [], [], []
    for number, (name, parameters) in enumerate(json.loads(tools)):
        opening = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": '
        alternatives.append(f'{_literal(opening)} arguments_{number} "}}"')
        bounded = Bounds(max_string, max_items).narrowed(checked_schema(parameters, f"tool {name}"))
        schema = _json({**bounded, "x-guidance": OF_CALLS})
        schemas.append(f"arguments_{number}: %json {schema}")
        if or_text:
            written = re.escape(json.dumps(name, ensure_ascii=False)).replace("/", r"\/")
            start = rf'/{_SPACE}{written}{_SPACE},{_SPACE}"arguments"{_SPACE}:{_SPACE}/'
            loose.append(f"{start} loose_{number} /{_SPACE}\\}}/")
            schemas.append(
                f"loose_{number}: %json {_json({**bounded, 'x-guidance': _LOOSE_SPACING})}"
            )
        problem = LLMatcher.validate_grammar(f"start: %json {schema}")
        if problem:
            raise cannot_constrain(name, problem)
    # Each rule is one line. A literal that is nothing but a mark becomes the tokenizer's own
    # token for it, where it has one.
    opening, closing = (f'{_literal(CALL_OPEN)} "\\n"', f'"\\n" {_literal(CALL_CLOSE)}')
    rules = [
        *(_TEXT_OR_CALLS if or_text else ["start: call more"]),
        f'more: ("\\n" call){{0,{MAX_CALLS - 1}}}' if parallel else 'more: ""',
        f"call: {opening} inside" if marked else 'call: " " body',
        f"inside: body {closing}",
        f"body: {' | '.join(alternatives)}",
        *schemas,
    ]
    if or_text:
        again = rf'/[ \n,]{{1,16}}\{{{_SPACE}"name"{_SPACE}:/ loose_body'
        rules.append(f"loose_body: {' | '.join(loose)}")
        rules.append(
            f"loose_more: ({again}){{0,{MAX_CALLS - 1}}}" if parallel else 'loose_more: ""'
        )
    grammar = "\n".join(rules) + "\n"
    problem = LLMatcher.validate_grammar(grammar)
    if problem:
        raise TrimtabError(f"the tools cannot be constrained together: {reason_of(problem)}")
    return grammar


def json_grammar(schema: Mapping[str, Any]) -> str:
    """An llguidance grammar of one JSON value that fits a schema, bounded as a call's arguments.

    Args:
        schema: A JSON Schema of an object; empty is any object.

    Raises:
        TrimtabError: It is no schema, or one that cannot be enforced.
    """
    return f"start: answer\n{_json_rule(_json(schema))}"


def or_json(calls: str, schema: Mapping[str, Any]) -> str:
    """A grammar of calls, with one JSON value that fits a schema in their place.

    Args:
        calls: From ``call_grammar``, without text.
        schema: As for ``json_grammar``.

    Raises:
        TrimtabError: As for ``json_grammar``.
    """
    start, _, rules = calls.partition("\n")
    return f"{start} | answer\n{rules}{_json_rule(_json(schema))}"


@lru_cache(maxsize=256)
def _json_rule(text: str) -> str:
    from llguidance import LLMatcher

    owner = "the schema of the answer"
    bounded = Bounds(exact=True).narrowed(checked_schema(json.loads(text), owner))
    rule = f"answer: %json {_json({**bounded, 'x-guidance': _OF_ANSWERS})}\n"
    problem = LLMatcher.validate_grammar(f"start: answer\n{rule}")
    if problem:
        raise TrimtabError(
            f"answers cannot be held to the schema: {reason_of(problem)}; change the schema"
        )
    return rule


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _literal(text: str) -> str:
    return _json(text)
