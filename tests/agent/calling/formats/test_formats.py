"""Every call format: what it writes it reads back, and what its grammar lets through it reads."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from trimtab.agent.calling.calls import (
    ToolCall,
    format_call,
    parse_call,
    parse_calls,
    read_answer,
)
from trimtab.agent.calling.formats import table
from trimtab.agent.calling.formats.table import format_named, formats, register
from trimtab.agent.calling.grammar import call_grammar
from trimtab.errors import TrimtabError
from trimtab.steering.prompts.marks import CALL_MARKS, THOUGHTS
from trimtab.tools.toolkit import ToolError

BYTES = LLTokenizer("byte")
FORMATS = {one.name: one for one in formats()}
TOOL = {
    "type": "function",
    "function": {
        "name": "shop.find-it",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": "string"},
                "limit": {"type": "integer"},
                "price": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "code": {"type": ["string", "integer"]},
                "sure": {"type": "boolean"},
                "kind": {"enum": ["a", "b c", 3]},
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                "more": {
                    "type": "object",
                    "properties": {"x": {"type": "string"}, "y": {"type": "number"}},
                    "required": ["x"],
                },
            },
            "required": ["query"],
        },
    },
}

MARKS = [
    *CALL_MARKS, *(mark for pair in THOUGHTS for mark in pair), "</parameter>", "</function>",
    "<parameter=x>", "<function=f>", "\n", "\n\n", '"', "'", "\\", "\\u003c", "```", "```json\n",
    "{", "}", "[", "]", "(", ")", ",", ":", "=", " ", "null", "None", "True", "true", "3", "3.0",
    "é", "😀", "\u2028", "<", ">", "a", "call:f{x:1}", "name", '"a\\u003cb"', "functions.f:0{}",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(MARKS), max_size=8).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"])
)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.none() | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,9}\Z")
TOOL_NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.:-]{0,9}[a-z]\Z") | st.sampled_from(
    ["tool_call", "function", "json", "commentary", "think", "functions.f", "call:f", "a:b"]
)
FITTING = st.fixed_dictionaries(
    {"query": TEXTS},
    optional={
        "limit": st.integers(-(2**40), 2**40),
        "price": st.none() | st.floats(-1e6, 1e6),
        "code": TEXTS | st.integers(0, 10**6),
        "sure": st.booleans(),
        "kind": st.sampled_from(["a", "b c", 3]),
        "tags": st.lists(TEXTS, max_size=3),
        "more": st.fixed_dictionaries({"x": TEXTS}, optional={"y": st.floats(-9, 9)}),
    },
)


def same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30, deadline=None)
@given(tool=TOOL_NAMES, arguments=st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_is_written_is_read_back(name: str, tool: str, arguments: dict[str, Any]) -> None:
    text = format_call(ToolCall(tool, arguments), call_format=name)
    for call_format in (name, None):
        read = parse_calls(text, call_format=call_format)
        if call_format is None and FORMATS[name].bare:
            continue
        assert [call.name for call in read] == [tool], (text, read)
        assert same(read[0].arguments, arguments), text


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30, deadline=None)
@given(arguments=FITTING)
def test_types_are_those_of_the_schema(name: str, arguments: dict[str, Any]) -> None:
    text = format_call(ToolCall("shop.find-it", arguments), tools=[TOOL], call_format=name)
    [read] = parse_calls(text, tools=[TOOL], call_format=name)
    assert read.name == "shop.find-it"
    assert same(read.arguments, arguments), text


# ---- grammar -----------------------------------------------------------------------------------


def accepts(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return bool(matcher.consume_tokens(list(text.encode())) and matcher.is_accepting())


FULL = {
    "query": "red </b> mug, 3", "limit": 3, "price": None, "code": "x7", "sure": True,
    "kind": "b c", "tags": ["a", ""], "more": {"x": "q", "y": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_the_grammar_lets_through_what_is_written(name: str) -> None:
    for arguments in (FULL, {"query": ""}, {"query": "é 😀\n", "kind": 3}):
        call = ToolCall("shop.find-it", arguments)
        text = format_call(call, tools=[TOOL], call_format=name)
        for or_text in (False, True):
            grammar = call_grammar([TOOL], call_format=name, or_text=or_text)
            assert accepts(grammar, text), text
        assert not accepts(grammar, text.replace("shop.find-it", "shop.lose-it")) or (
            FORMATS[name].bare and or_text
        )
    plain = f"{FORMATS[name].text_opening}Hello there."
    assert accepts(grammar, plain)
    assert not accepts(call_grammar([TOOL], call_format=name), plain)


@pytest.mark.parametrize("name", FORMATS)
def test_several_calls(name: str) -> None:
    other = {"type": "function", "function": {"name": "stop", "parameters": {}}}
    calls = [ToolCall("shop.find-it", FULL, "call_0"), ToolCall("stop", {}, "call_1")]
    text = FORMATS[name].write(calls, {"shop.find-it": TOOL["function"]["parameters"]})
    assert parse_calls(text, tools=[TOOL, other], call_format=name) == calls
    grammar = call_grammar([TOOL, other], call_format=name, parallel=True)
    assert accepts(grammar, text) == FORMATS[name].parallel
    assert not accepts(call_grammar([TOOL, other], call_format=name), text)


def walked(grammar: str, draw: random.Random) -> str:
    """A text that the grammar lets through, drawn byte by byte."""
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    made = bytearray()
    while not matcher.is_stopped() and len(made) < 3000:
        bits = int.from_bytes(matcher.compute_bitmask(), "little")
        allowed = [byte for byte in range(256) if bits >> byte & 1]
        if not allowed or (matcher.is_accepting() and draw.random() < 0.3):
            break
        likely = [byte for byte in allowed if byte in b'</>"{}[]|\\,:= ae3\n'] or allowed
        byte = draw.choice(likely if draw.random() < 0.9 else allowed)
        matcher.consume_token(byte)
        made.append(byte)
    assert matcher.is_accepting() or len(made) >= 3000, made
    return made.decode(errors="replace")


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_the_grammar_lets_through_is_read_and_fits(name: str) -> None:
    grammar = call_grammar([TOOL], call_format=name, max_string=8, max_items=2)
    draw = random.Random(name)
    for _ in range(12):
        text = walked(grammar, draw)
        [read] = parse_calls(text, tools=[TOOL], call_format=name)
        assert read.name == "shop.find-it"
        jsonschema.validate(read.arguments, TOOL["function"]["parameters"])


# ---- reading -----------------------------------------------------------------------------------


def test_every_mark_stays_in_an_answer() -> None:
    assert {mark for one in FORMATS.values() for mark in one.marks} <= set(CALL_MARKS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_call_in_a_thought_is_no_call(name: str) -> None:
    call = format_call(ToolCall("find", {"query": "mug"}), call_format=name)
    real = format_call(ToolCall("find", {"query": "</think>lamp"}), call_format=name)
    for marks in THOUGHTS:
        thought = f"{marks.opening}\nI could write {call}, or not.{marks.closing}"
        assert parse_calls(thought, call_format=name) == []
        [read] = parse_calls(f"{thought}\n\n{real}", call_format=name)
        assert read.arguments == {"query": "</think>lamp"}
    opened_by_the_prompt = f"I could write {call}, or not.\n</think>\n\n{real}"
    [read] = parse_calls(opened_by_the_prompt, call_format=name)
    assert read.arguments == {"query": "</think>lamp"}
    assert parse_calls(f"<think>{call}", call_format=name) == []


@pytest.mark.parametrize("name", [name for name in FORMATS if not FORMATS[name].bare])
def test_text_before_a_call_is_told_apart(name: str) -> None:
    text = format_call(ToolCall("find", {"query": "mug"}), call_format=name)
    answer = read_answer(f"<think>Hm.</think>\nLet me look.\n{text}")
    assert (answer.thought, answer.text) == ("Hm.", "Let me look.")
    assert [call.name for call in answer.calls] == ["find"]


def test_the_error_names_the_format() -> None:
    error = parse_call("no call", call_format="gemma")
    assert isinstance(error, ToolError)
    assert "<|tool_call>call:name{argument:" in error.message


def test_harmony_without_a_call_is_its_last_channel() -> None:
    text = (
        "<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final<|message|>Hi!"
    )
    assert read_answer(text) == read_answer("<think>Easy.</think>Hi!")


def test_one_that_is_registered_is_tried_first() -> None:
    made = replace(FORMATS["llama-custom"], name="mine", before="<call ", between=">", after="",
                   head=r"<call (?P<name>\w+)>", tail="", mark="<call ")  # fmt: skip
    assert parse_calls('<call f>{"a": "x"}') == []
    register(made)
    try:
        assert parse_calls('<call f>{"a": "x"}') == [ToolCall("f", {"a": "x"})]
        assert format_named("mine") is made
    finally:
        table._FORMATS.remove(made)
    with pytest.raises(TrimtabError, match="expected a call format among"):
        format_named("mine")
