"""Text or calls: what begins like a call is one, in whichever style it begins."""

import json

import pytest
from llguidance import LLMatcher, LLTokenizer

from trimtab.agent.calling.calls import ToolCall, format_call, parse_calls
from trimtab.agent.calling.grammar import call_grammar

BYTES = LLTokenizer("byte")
SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["q"],
}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA}}
    for name in ("find", "a.b-c")
]
CALL = {"name": "find", "arguments": {"q": 'x "y"', "n": 5}}
OTHER = {"name": "a.b-c", "arguments": {"q": ""}}
ONE, TWO = json.dumps(CALL), json.dumps(OTHER)
WIDE = json.dumps(CALL, indent=2)
MARKED = format_call(ToolCall("find", CALL["arguments"]))
TEXTS = [
    "Hello, a < b.",
    "{",
    '{"price": 3}',
    "```python\nx = {1: 2}\n```\nThat is all.",
    '```json\n{"title": "name"}\n```',
    'He said {"name": "x"} in passing.',
    "<tool",
]
SINGLE = [
    MARKED,
    f"Let me see.\n{MARKED}",
    ONE,
    TWO,
    WIDE,
    f"```json\n{WIDE}\n```",
    f"```\n{ONE}\n```",
    f"Sure, here it is:\n\n```json\n{WIDE}\n```",
    f"[{ONE}]",
]
SEVERAL = [
    f"{MARKED}\n{MARKED}",
    f"Well.\n{MARKED}\n{MARKED}",
    f"{ONE}\n{TWO}",
    f"[{ONE}, {TWO}]",
    f"```json\n{WIDE}\n{TWO}\n```",
]
NEVER = [
    "<tool_call>oops",
    '<tool_call>\n{"name": "gone", "arguments": {}}\n</tool_call>',
    '{"name": "gone", "arguments": {}}',
    '{"name": "find", "arguments": {}}',
    '{"name": "find", "arguments": {"q": 1}}',
    '```json\n{"name": "find", "arguments": {"q": "x", "new": 1}}\n```',
    '```json\n{"name": "find", "parameters": {"q": "x"}}\n```',
    f"{ONE} and so on",
]


def accepts(text, **how):
    matcher = LLMatcher(BYTES, call_grammar(TOOLS, **how), log_level=0)
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_plain_text_is_an_answer(text, parallel):
    assert accepts(text, or_text=True, parallel=parallel)
    assert not accepts(text)


@pytest.mark.parametrize("text", SINGLE)
def test_a_call_may_come_in_any_style(text):
    assert accepts(text, or_text=True)
    assert accepts(text, or_text=True, parallel=True)
    assert len(parse_calls(text)) == 1


@pytest.mark.parametrize("text", SEVERAL)
def test_several_calls_come_only_where_they_may(text):
    assert accepts(text, or_text=True, parallel=True)
    assert not accepts(text, or_text=True)
    assert len(parse_calls(text)) == 2


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("text", NEVER)
def test_what_begins_like_a_call_must_be_one(text, parallel):
    assert not accepts(text, or_text=True, parallel=parallel)


def test_there_are_never_more_than_eight_calls():
    assert accepts("\n".join([ONE] * 8), or_text=True, parallel=True)
    assert not accepts("\n".join([ONE] * 9), or_text=True, parallel=True)
    assert not accepts("\n".join([MARKED] * 9), or_text=True, parallel=True)


def test_without_marks_a_call_is_a_space_and_its_object():
    assert accepts(f" {ONE}", marked=False)
    assert not accepts(MARKED, marked=False)
