"""What is said of a file of tools before a model meets it."""

import pytest

from trimtab.agent.calling.tool_check import check_examples, check_tool, in_order, prompt_of
from trimtab.tools import ToolExample, ToolFile, Toolkit, ToolSpec

SCHEMA = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "description": "What."},
        "limit": {"type": "integer"},
    },
    "required": ["query"],
}
CALLED = []


def find(query, limit=3):
    CALLED.append((query, limit))
    if limit > 100:
        raise ValueError("too many")
    return f"{limit} x {query}"


FIND = ToolSpec("find", "Find.", SCHEMA, find)


def file(tmp_path, *examples):
    return ToolFile(tmp_path / "f.py", Toolkit([FIND]), examples)


def test_a_tool_is_looked_over():
    checked = check_tool(FIND)
    assert checked.bounded["properties"]["query"] == {"type": "string", "maxLength": 512}
    assert checked.refusal == ""
    assert checked.notes == ("no description of limit",)


def test_what_is_missing_is_noted():
    never = {"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]}
    bare = ToolSpec("bare", "", never)
    checked = check_tool(bare)
    assert "'bare' cannot be constrained" in checked.refusal
    assert [note.partition(":")[0] for note in checked.notes] == [
        "it has no description", "no description of a", "it has no function"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("example", "error", "passed", "writable"),
    [
        (ToolExample("find", {"query": "a"}), "", True, True),
        (ToolExample("find", {"limit": 3, "query": "a"}), "", True, True),
        (ToolExample("find", {"query": "a" * 600}), "", True, False),
        (ToolExample("find", {"query": 1}), "query: expected a string, got 1", False, None),
        (ToolExample("find", {"query": 1}, valid=False), "expected a string", True, None),
        (ToolExample("find", {"query": "a"}, valid=False), "", False, True),
        (ToolExample("fnd", {}), 'there is no tool "fnd". Did you mean find?', False, None),
    ],
)
def test_examples_are_tried(tmp_path, example, error, passed, writable):
    [checked] = check_examples(file(tmp_path, example))
    assert error in checked.error and bool(error) == bool(checked.error)
    assert (checked.passed, checked.writable, checked.result) == (passed, writable, None)


def test_tools_are_called_only_when_asked_for(tmp_path):
    CALLED.clear()
    examples = [
        ToolExample("find", {"query": "a"}),
        ToolExample("find", {"query": 1}, valid=False),
        ToolExample("find", {"query": "b", "limit": 200}),
    ]
    check_examples(file(tmp_path, *examples))
    assert not CALLED
    right, refused, failed = check_examples(file(tmp_path, *examples), call=True)
    assert CALLED == [("a", 3), ("b", 200)]
    assert right.result.content == "3 x a" and right.passed
    assert refused.result is None and refused.passed
    assert "too many" in failed.result.content and not failed.passed


def test_the_prompt_shows_the_tools_and_what_they_cost(tiny):
    text, tokens, of_tools = prompt_of(tiny.tokenizer, Toolkit([FIND]), "Two lamps?")
    assert '"name": "find"' in text and "Two lamps?" in text
    plain, fewer, none = prompt_of(tiny.tokenizer, Toolkit(), "Two lamps?")
    assert (none, tokens - fewer) == (0, of_tools)
    assert "find" not in plain and of_tools > 50


def test_arguments_are_put_in_the_order_of_the_schema():
    node = {
        "type": "object",
        "properties": {"a": {}, "b": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    }
    root = {"properties": {"x": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
            "$defs": {"node": node}}  # fmt: skip
    value = {"y": 1, "x": {"b": [{"b": [], "a": 1}], "a": 2}}
    made = in_order(value, root, root)
    assert list(made) == ["x", "y"] and made == value
    assert list(made["x"]) == ["a", "b"] and list(made["x"]["b"][0]) == ["a", "b"]
