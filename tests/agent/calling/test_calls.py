"""Calls as text: every walk through a grammar fits its schema, and no text breaks the parser."""

import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from trimtab import TrimtabError
from trimtab.agent.calling import calls
from trimtab.agent.calling.calls import ToolCall, call_grammar, format_call, parse_call, parse_calls
from trimtab.agent.calling.lenient_json import read_value
from trimtab.tools.toolkit import ToolError

BYTES = LLTokenizer("byte")

TREE = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            },
            "required": ["label"],
        }
    },
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/Node", "description": "The first one."}},
    "required": ["root"],
}


def arguments(required: bool = True, **properties: Any) -> dict[str, Any]:
    wanted = list(properties) if required else []
    return {"type": "object", "properties": properties, "required": wanted}


ZOO: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no properties": arguments(),
    "text": arguments(query={"type": "string"}),
    "optional": arguments(False, a={"type": "integer"}, b={"type": "boolean"}, c={"const": "x"}),
    "enum": arguments(color={"enum": ["red", "blå", None, 3, True, 'q"uote']}),
    "numbers": arguments(
        share={"type": "number", "minimum": 0, "maximum": 1},
        below={"type": "number", "exclusiveMaximum": -5},
        count={"type": "integer", "exclusiveMinimum": 2, "maximum": 9},
        even={"type": "integer", "multipleOf": 2, "minimum": 0, "maximum": 50},
        any={"type": "integer"},
    ),
    "arrays": arguments(
        tags={"type": "array", "items": {"type": "string"}, "minItems": 1},
        pair={"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}]},
        open={"type": "array"},
        loose={"type": "array", "items": {"type": "integer"}, "uniqueItems": False},
    ),
    "nested": arguments(
        filters=arguments(brand={"enum": ["A", "B"]}, price=arguments(low={"type": "number"}))
    ),
    "nullable": arguments(note={"type": ["string", "null"], "minLength": 2}),
    "choice": arguments(value={"anyOf": [{"type": "boolean"}, arguments(x={"type": "null"})]}),
    "one of": arguments(
        shape={
            "oneOf": [
                arguments(kind={"const": "circle"}, r={"type": "integer", "maximum": 9}),
                arguments(kind={"const": "square"}, side={"type": "integer", "maximum": 9}),
            ],
            "discriminator": {"propertyName": "kind"},
        }
    ),
    "tree": TREE,
    "merged": {
        "$defs": {"Base": arguments(id={"type": "integer", "minimum": 0, "maximum": 9})},
        "type": "object",
        "properties": {
            "item": {"allOf": [{"$ref": "#/$defs/Base"}, arguments(name={"type": "string"})]}
        },
        "required": ["item"],
    },
    "at least one": {
        **arguments(False, a={"type": "boolean"}, b={"type": "boolean"}),
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "map": arguments(
        scores={"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2},
        free={"type": "object"},
    ),
    "anything": arguments(value={}, other=True),
    "pattern": arguments(code={"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"}),
    "formats": arguments(
        day={"type": "string", "format": "date"}, word={"type": "string", "format": "password"}
    ),
    "by pattern": arguments(
        sizes={
            "type": "object",
            "patternProperties": {"^s[0-9]$": {"type": "boolean"}},
            "additionalProperties": False,
            "maxProperties": 2,
        }
    ),
}
REFUSED = {
    "/\\$defs/Gone": arguments(a={"$ref": "#/$defs/Gone"}),
    "float": arguments(a={"type": "float"}),
    "unsatisfiable": arguments(a={"enum": []}),
}


def tool(name: str, parameters: dict[str, Any] | None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def walk(grammar: str, draw: random.Random, limit: int = 4000) -> str:
    """A random text of the grammar; closes strings and brackets more gladly than a coin would."""
    matcher = LLMatcher(BYTES, grammar)
    bits = allocate_token_bitmask(1, BYTES.vocab_size)
    made = bytearray()
    while not matcher.is_stopped():
        assert len(made) < limit, bytes(made[:400])
        fill_next_token_bitmask(matcher, bits, 0)
        assert not matcher.is_error(), matcher.get_error()
        flags = np.unpackbits(bits.view(np.uint8), bitorder="little")[: BYTES.vocab_size]
        allowed = [int(token) for token in np.flatnonzero(flags)]
        ends = [token for token in allowed if token in b'"}],' or token > 255]
        token = draw.choice(ends if ends and draw.random() < 0.5 else allowed)
        assert matcher.consume_token(token)
        if token < 256:
            made.append(token)
    assert matcher.stop_reason() in ("NoExtension", "EndOfSentence")
    return made.decode()


def accepts(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


def call_in(text: str) -> dict[str, Any]:
    opening, body, closing = text.split("\n")
    assert (opening, closing) == ("<tool_call>", "</tool_call>")
    made = json.loads(body)
    assert list(made) == ["name", "arguments"]
    return made


@pytest.mark.parametrize("kind", ZOO)
def test_whatever_the_grammar_lets_through_fits_the_schema(kind: str) -> None:
    grammar = call_grammar([tool(kind, ZOO[kind])], max_string=6, max_items=3)
    for seed in range(12):
        made = call_in(walk(grammar, random.Random(seed)))
        assert made["name"] == kind
        jsonschema.validate(made["arguments"], ZOO[kind], jsonschema.Draft202012Validator)


def test_among_several_tools_each_keeps_its_own_schema() -> None:
    tools = [tool(kind, schema) for kind, schema in ZOO.items()]
    grammar = call_grammar(tools, max_string=4, max_items=2)
    seen = set()
    for seed in range(40):
        made = call_in(walk(grammar, random.Random(seed)))
        seen.add(made["name"])
        jsonschema.validate(made["arguments"], ZOO[made["name"]], jsonschema.Draft202012Validator)
    assert len(seen) > 8


CALLS = [
    ("text", {"query": 'lamp, "small" \\ Ärla\n'}),
    ("optional", {"b": True}),
    ("optional", {}),
    ("numbers", {"share": 0.25, "below": -7.5, "count": 3, "even": 4, "any": -12}),
    ("nested", {"filters": {"brand": "B", "price": {"low": 3}}}),
    ("tree", {"root": {"label": "a", "next": {"label": "b", "next": None}}}),
    ("merged", {"item": {"id": 3, "name": "x"}}),
    ("choice", {"value": {"x": None}}),
    ("map", {"scores": {"a": 1}, "free": {"b": "c"}}),
    ("anything", {"value": [1, "a", None], "other": {"a": 2.5}}),
]


@pytest.mark.parametrize(("name", "given_arguments"), CALLS)
def test_the_grammar_lets_sensible_calls_through(
    name: str, given_arguments: dict[str, Any]
) -> None:
    text = format_call(ToolCall(name, given_arguments))
    assert accepts(call_grammar([tool(n, s) for n, s in ZOO.items()]), text)


@pytest.mark.parametrize(
    ("kind", "misfit"),
    [
        ("text", {"query": "a", "extra": 1}),
        ("text", {}),
        ("nested", {"filters": {"brand": "C", "price": {"low": 3}}}),
        ("numbers", {"share": 1.5, "below": -7.5, "count": 3, "even": 4, "any": 1}),
        ("tree", {"root": {"label": "a", "invented": 1}}),
        ("text", {"query": "x" * 513}),
        ("arrays", {"tags": [], "pair": ["a", None], "open": [], "loose": []}),
    ],
)
def test_the_grammar_stops_what_does_not_fit(kind: str, misfit: dict[str, Any]) -> None:
    grammar = call_grammar([tool(kind, ZOO[kind])])
    assert not accepts(grammar, format_call(ToolCall(kind, misfit)))


def test_white_space_is_fixed() -> None:
    grammar = call_grammar([tool("text", ZOO["text"])])
    assert accepts(grammar, format_call(ToolCall("text", {"query": "a"})))
    assert not accepts(grammar, format_call(ToolCall("text", {"query": "a"})).replace(": ", ":"))


@pytest.mark.parametrize("feature", REFUSED)
def test_a_schema_that_cannot_be_enforced_is_refused_by_name(feature: str) -> None:
    with pytest.raises(TrimtabError, match=f"tool '?odd'? .*{feature}") as told:
        call_grammar([tool("fine", ZOO["text"]), tool("odd", REFUSED[feature])])
    assert "\n" not in str(told.value)


def test_only_some_tools_may_be_called() -> None:
    tools = [tool("a", {}), tool("b", {}), tool("c", {})]
    grammar = call_grammar(tools, only=["c", "b"])
    assert [accepts(grammar, format_call(ToolCall(name))) for name in "abc"] == [False, True, True]
    assert grammar.index('"b\\"') < grammar.index('"c\\"')  # the order of the tools is kept


@pytest.mark.parametrize(("only", "told"), [(["d"], "got d"), ([], "got none")])
def test_a_choice_that_is_none_is_refused(only: list[str], told: str) -> None:
    with pytest.raises(TrimtabError, match=f"one of the tools a to call, {told}"):
        call_grammar([tool("a", {})], only=only)
    with pytest.raises(TrimtabError, match=r"\(none given\)"):
        call_grammar([])


def test_parallel_calls_come_one_after_the_other() -> None:
    tools = [tool("a", {}), tool("text", ZOO["text"])]
    calls = [ToolCall("a", {}, "call_0"), ToolCall("text", {"query": "x"}, "call_1")]
    text = "\n".join(map(format_call, calls))
    assert accepts(call_grammar(tools, parallel=True), text)
    assert not accepts(call_grammar(tools), text)
    assert parse_calls(text) == calls
    assert not accepts(call_grammar(tools, parallel=True), "\n".join([text] * 5))


def test_names_may_hold_any_character() -> None:
    name = 'über "search"\\#1'
    assert accepts(call_grammar([tool(name, {})]), format_call(ToolCall(name)))


@pytest.mark.parametrize(("name", "given_arguments"), CALLS)
def test_what_is_written_is_read_back(name: str, given_arguments: dict[str, Any]) -> None:
    call = ToolCall(name, given_arguments)
    assert parse_call(format_call(call)) == call


SEARCH = ToolCall("search", {"query": "red lamp", "n": 2})


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "search", "arguments": {"query": "red lamp", "n": 2}}</tool_call>',
        'Sure!\n<tool_call>\n{"name": "search", "arguments": {"query": "red lamp", "n": 2}}',
        '<tool_call>\n{"name": "search", "arguments": {"query": "red lamp", "n": 2}\n</tool_call>',
        '```json\n{"name": "search", "parameters": {"query": "red lamp", "n": 2}}\n```\nDone.',
        '```\n{"tool": "search", "args": {"query": "red lamp", "n": 2,},}',
        'I call {"name": "search", "arguments": {"query": "red lamp", "n": 2}} for you.',
        "{'name': 'search', 'arguments': {'query': 'red lamp', 'n': 2}}",
        "{name: search, arguments: {query: red lamp, n: 2}}",
        '{"name": "search", "arguments": "{\\"query\\": \\"red lamp\\", \\"n\\": 2}"}',
        '{"function": {"name": "search", "arguments": {"query": "red lamp", "n": 2}}}',
        '{"tool_calls": [{"id": "7", "type": "function", "function": {"name": "search", '
        '"arguments": "{\\"query\\": \\"red lamp\\", \\"n\\": 2}"}}]}',
        '[{"name": "search", "arguments": {"query": "red lamp", "n": 2}}]',
        '{"action": "search", "action_input": {"query": "red lamp", "n": 2}}',
        '{"thought": "a lamp", "call": {"name": "search", "input": {"query": "red lamp", "n": 2}}}',
        'search(query="red lamp", n=2)',
        "```python\nsearch(query='red lamp', n=2)\n```",
        'Let me use search(query="red lamp", n=2) now.',
        'search({"query": "red lamp", "n": 2})',
        '{"name": "search", "arguments": {"query": "red lamp" "n": 2}}',
        '{"name": "search" "arguments": {"query": "red lamp", "n": 2}]',
    ],
)
def test_many_spellings_are_read(text: str) -> None:
    assert parse_call(text) == SEARCH


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "s", "arguments": {"q": "5" lamp", "r": "x"}}', {"q": '5" lamp', "r": "x"}),
        ("{'name': 's', 'arguments': {'q': 'the cat's toy'}}", {"q": "the cat's toy"}),
        ('{"name": "s", "arguments": {"q": "a\nb"}}', {"q": "a\nb"}),
        ('{"name": "s", "arguments": {"a": True, "b": None, "c": -1.5e2}}',
         {"a": True, "b": None, "c": -150.0}),
        ("{'name': 's', 'arguments': {'q': '\\ud83d\\ude00 \\u00e9\\t'}}", {"q": "😀 é\t"}),
        ('{"name": "s", "arguments": {"q": "cut o', {"q": "cut o"}),
        ('{"name": "s", "arguments": {"q": NaN}}', {"q": None}),
        ('{"name": "s"}', {}),
        ('{"name": "s", "arguments": null}', {}),
        ('{"name": "s", "arguments": ""}', {}),
        ("s()", {}),
        ("s(a=[1, 'b'], c=(2,), d={'e': false})", {"a": [1, "b"], "c": [2], "d": {"e": False}}),
    ],
)  # fmt: skip
def test_values_are_read_as_they_were_meant(text: str, expected: dict[str, Any]) -> None:
    assert parse_call(text) == ToolCall("s", expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would search for a red lamp.",
        "The method print() writes.",
        '{"name": "Desk", "price": 30}',
        '{"query": "lamp"}',
        '{"name": "search", "arguments": [1, 2]}',
        '{"name": "", "arguments": {}}',
        "search(lamp)",
        "<tool_call>",
        "{",
        "{" * 5000,
        '{"name": "s", "arguments": ' + '{"a":' * 500 + "1" + "}" * 501,
    ],
)
def test_text_without_a_call_is_an_error_that_says_so(text: str) -> None:
    error = parse_call(text)
    assert isinstance(error, ToolError)
    assert error.kind == "unparsable"
    assert error.message.startswith("expected a tool call as <tool_call>")
    assert "\n" not in error.message
    assert parse_calls(text) == []


def check_any(text: str) -> None:
    """Whatever the text: a call that can be written as JSON again, or a classified error."""
    parsed = parse_call(text)
    if isinstance(parsed, ToolError):
        assert parsed.kind == "unparsable"
    else:
        assert parsed.name
        json.dumps(parsed.arguments, allow_nan=False).encode()
        format_call(parsed).encode()


PIECES = st.sampled_from(
    [
        "<tool_call>", "</tool_call>", "\n", "```", "```json", "{", "}", "[", "]", "(", ")", '"',
        "'", ",", ":", "=", "\\", "\\u", "d83d", "name", '"name": "s"', '"arguments": ', "args",
        "null", "None", "True", "NaN", "-", "1e999", "9" * 5000, ".", "s(", "{'a': ", "é", "\ud800",
    ]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(PIECES, max_size=24).map("".join) | st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    check_any(text)


def test_no_damaged_call_breaks_the_parser() -> None:
    draw = random.Random(0)
    whole = [format_call(ToolCall(name, given)) for name, given in CALLS]
    letters = "{}[]()\"'\\,:=<>`\n aé\x00\ud800"
    for _ in range(9400):
        text = list(draw.choice(whole))
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(text) + 1)
            end = min(at + draw.randint(0, 8), len(text))
            text[at:end] = draw.choices(letters, k=draw.randint(0, 3))
        check_any("".join(text))


def test_long_hostile_texts_are_read_in_reasonable_time() -> None:
    for piece in (
        '{"a":',
        "[",
        "{'",
        "a-",
        "s(",
        '{"name": "s", "arguments": {"q": "',
        "```",
        "\\",
    ):
        check_any(piece * 20_000)


def test_braces_that_never_close_are_put_right_a_few_times_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def counted(text: str, at: int = 0) -> tuple[Any, int]:
        seen.append(len(text) - at)
        return read_value(text, at)

    monkeypatch.setattr(calls, "read_value", counted)
    endless = '{"k": {"z": [1, 2], ' * 10 + '"' + "word " * 3000
    assert parse_calls(endless) == []
    assert 0 < sum(seen) <= 2 * 200_000  # once as it is, once more at each keyword
    code = "if (x) { y(); " * 20 + "word " * 3000
    [call] = parse_calls(code + '{"name": "search", "arguments": {"query": "lamp"}}')
    assert (call.name, call.arguments) == ("search", {"query": "lamp"})
