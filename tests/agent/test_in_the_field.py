"""What people meet with tools and conversations, each a small case."""

import json
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from llguidance import LLMatcher, LLTokenizer
from pydantic import BaseModel, Field

from trimtab.agent import SteeredChatModel, build_agent, call_grammar, parse_call
from trimtab.agent.chat.messages import to_request
from trimtab.errors import TrimtabError
from trimtab.steering.prompts.render import render
from trimtab.tools import Toolkit, ToolSpec


def schema(**properties):
    return {"type": "object", "properties": properties, "required": list(properties)}


def writable(tool, arguments):
    """Whether the grammar of a tool's calls lets a call through."""
    matcher = LLMatcher(LLTokenizer("byte"), call_grammar([tool]), log_level=0)
    made = json.dumps({"name": tool["function"]["name"], "arguments": arguments})
    text = f"<tool_call>\n{made}\n</tool_call>"
    return bool(matcher.consume_tokens(list(text.encode())) and matcher.is_accepting())


def test_arguments_may_be_named_as_python_words():
    parameters = schema(**{"from": {"type": "string"}, "class": {"type": "integer"}})
    spec = ToolSpec("send", "Send.", parameters, lambda **given: sorted(given))
    assert Toolkit([spec]).call("send", {"from": "Oslo", "class": 1}).value == ["class", "from"]
    assert writable(spec.to_openai(), {"from": "Oslo", "class": 1})


@pytest.mark.parametrize("written", ["null", "{}", '""', '"{}"', "[]"])
def test_a_call_without_arguments_is_read_however_they_are_left_out(written):
    call = parse_call(f'<tool_call>{{"name": "now", "arguments": {written}}}</tool_call>')
    assert (call.name, call.arguments) == ("now", {})


@pytest.mark.parametrize("given", [None, "", {}])
def test_a_tool_without_arguments_is_called_with_nothing(given):
    assert Toolkit([ToolSpec("now", "", {"type": "object"}, lambda: "noon")]).call("now", given).ok


def test_arguments_as_text_inside_a_call_are_read():
    inner = json.dumps({"query": 'a "red" mug'})
    call = parse_call(json.dumps({"name": "find", "arguments": inner}))
    assert call.arguments == {"query": 'a "red" mug'}


def test_nested_optional_enums():
    class Filter(BaseModel):
        colour: Literal["red", "blue"] | None = None
        size: Literal[1, 2] | None = None

    def find(filters: Filter | None = None) -> str:
        """Find."""
        return repr(filters)

    spec = ToolSpec.from_function(find)
    toolkit = Toolkit([spec])
    for given in ({}, {"filters": None}, {"filters": {"colour": "red", "size": 2}}):
        assert toolkit.call("find", given).ok and writable(spec.to_openai(), given)
    wrong = toolkit.call("find", {"filters": {"colour": "green"}})
    assert wrong.error.path.startswith("filters") and not writable(
        spec.to_openai(), {"filters": {"colour": "green"}}
    )


def test_schemas_that_refer_to_themselves_and_to_each_other():
    tree = {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/A"}},
        "required": ["root"],
        "$defs": {
            "A": {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}},
            "B": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}},
        },
    }
    spec = ToolSpec("walk", "", tree, lambda root: "ok")
    given = {"root": {"b": {"a": {"b": {}}}}}
    assert Toolkit([spec]).call("walk", given).ok and writable(spec.to_openai(), given)
    for alias in ({"$ref": "#/$defs/A"}, {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/A"}]}):
        endless = {**tree, "$defs": {"A": alias}}
        with pytest.raises(TrimtabError, match="nothing but itself"):
            ToolSpec("loop", "", endless)


def test_alternatives_told_apart_by_a_constant():
    shapes = [
        schema(kind={"const": "circle"}, radius={"type": "number"}),
        schema(kind={"const": "square"}, side={"type": "number"}),
    ]
    parameters = schema(shape={"oneOf": shapes, "discriminator": {"propertyName": "kind"}})
    spec = ToolSpec("draw", "", parameters, lambda shape: shape["kind"])
    right, wrong = {"kind": "square", "side": 2}, {"kind": "square", "radius": 2}
    assert Toolkit([spec]).call("draw", {"shape": right}).value == "square"
    assert not Toolkit([spec]).call("draw", {"shape": wrong}).ok
    assert writable(spec.to_openai(), {"shape": right})
    assert not writable(spec.to_openai(), {"shape": wrong})


@pytest.mark.parametrize("name", ["shop.find", "shop-find", "a" * 64])
def test_names_with_dots_and_dashes_are_names(name, scripted):
    spec = ToolSpec(name, "", {"type": "object"}, lambda: "x")
    model = scripted([json.dumps({"name": name, "arguments": {}}), "done"])
    end = build_agent(model, Toolkit([spec]), decode="free").invoke({"messages": [("user", "go")]})
    assert end["steps"][0]["call"]["name"] == name and end["steps"][0]["error"] is None


@pytest.mark.parametrize("name", ["a" * 65, "two words", ""])
def test_names_that_no_provider_takes_are_refused_in_one_line(name):
    with pytest.raises(TrimtabError, match="tool name") as caught:
        Toolkit([{"type": "function", "function": {"name": name, "parameters": {}}}])
    assert "\n" not in str(caught.value)


def test_empty_and_missing_content_is_no_content(tiny):
    talk = [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    text = render(tiny.tokenizer, talk)
    assert "<|im_start|>user\n<|im_end|>" in text and "ab" in text and "None" not in text


def test_an_image_in_a_message_is_refused_in_one_line(tiny):
    blocks = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    with pytest.raises(TrimtabError, match="image_url") as caught:
        render(tiny.tokenizer, [{"role": "user", "content": blocks}])
    assert "\n" not in str(caught.value)


class Made(BaseModel):
    """What a tool may return."""

    name: str = "mug"
    tags: list[str] = Field(default_factory=lambda: ["red"])


@pytest.mark.parametrize(
    ("returned", "content"),
    [
        ({"a": 1, "b": [True, None]}, '{"a": 1, "b": [true, null]}'),
        (b"\x00\xff", '"AP8="'),
        (Made(), '{"name": "mug", "tags": ["red"]}'),
        (None, "null"),
        (0, "0"),
        ([], "[]"),
        ("", ""),
        (float("nan"), "NaN"),
        ({1: {2}}, '{"1": [2]}'),
    ],
)
def test_whatever_a_tool_returns_is_shown(returned, content):
    spec = ToolSpec("give", "", {"type": "object"}, lambda: returned)
    assert Toolkit([spec]).call("give", {}).content == content


def test_parallel_calls_answered_out_of_order_keep_their_answers(tiny):
    calls = [
        {"name": "find", "args": {"query": query}, "id": f"id-{query}"} for query in ("mug", "lamp")
    ]
    talk = [
        HumanMessage("both"),
        AIMessage("", tool_calls=calls),
        ToolMessage("two lamps", tool_call_id="id-lamp"),
        ToolMessage("one mug", tool_call_id="id-mug"),
        HumanMessage("thanks"),
    ]
    messages = to_request(talk).messages
    text = render(tiny.tokenizer, messages)
    assert all(part in text for part in ("two lamps", "one mug", "mug", "lamp"))
    assert [m.get("tool_call_id") for m in messages if m["role"] == "tool"] == ["id-lamp", "id-mug"]


def test_an_answer_that_is_begun_is_continued(tiny):
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well, I"}]
    assert render(tiny.tokenizer, talk).endswith("Well, I")


def test_a_chat_model_without_a_template_or_padding_token_answers(tiny):
    tokenizer = tiny.tokenizer
    template, padding = tokenizer.chat_template, tokenizer.pad_token
    tokenizer.chat_template, tokenizer.pad_token = None, None
    try:
        chat = SteeredChatModel(tiny, max_tokens=4)
        answers = chat.batch(["Hello", "A much longer question than that"])
        assert [answer.usage_metadata["output_tokens"] > 0 for answer in answers] == [True, True]
    finally:
        tokenizer.chat_template, tokenizer.pad_token = template, padding


def test_a_prompt_beyond_the_context_is_refused_in_one_line(tiny):
    chat = SteeredChatModel(tiny, max_tokens=4)
    with pytest.raises(TrimtabError, match="context of 8192 tokens") as caught:
        chat.invoke("word " * 9_000)
    assert "\n" not in str(caught.value)


def test_a_default_and_a_title_do_not_hide_a_property():
    parameters: dict[str, Any] = {
        "type": "object",
        "title": "find",
        "properties": {
            "title": {"type": "string", "title": "Title", "default": "x"},
            "type": {"type": "string", "enum": ["a", "b"]},
        },
    }
    spec = ToolSpec("find", "", parameters, lambda **given: sorted(given))
    assert Toolkit([spec]).call("find", {"title": "t", "type": "a"}).value == ["title", "type"]
    assert writable(spec.to_openai(), {"title": "t", "type": "a"})
