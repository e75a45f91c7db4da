"""Call formats where models are asked: declared, streamed, and tools in any maker's form."""

import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from llguidance import LLMatcher, LLTokenizer

from trimtab.agent import build_agent
from trimtab.agent.calling.calls import ToolCall, call_grammar, call_head, format_call, parse_calls
from trimtab.agent.calling.formats.table import formats
from trimtab.agent.calling.tool_check import check_examples, check_tool
from trimtab.agent.chat.chat_model import SteeredChatModel
from trimtab.agent.chat.messages import to_message
from trimtab.agent.chat.streaming import AnswerReader
from trimtab.errors import TrimtabError
from trimtab.steering.generation.requests import Completion
from trimtab.tools import Toolkit, ToolSpec, open_tool_file

PARAMETERS = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["query"],
}
FIND = {
    "type": "function",
    "function": {"name": "find", "description": "Find.", "parameters": PARAMETERS},
}
CALLS = [ToolCall("find", {"query": "a <b> lamp", "count": 2}), ToolCall("find", {"query": "mug"})]
NAMES = [one.name for one in formats()]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("said", ["", "Let me see.\n"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stream_in_every_format_adds_up_to_its_message(name, said, size):
    own = next(one for one in formats() if one.name == name)
    if said and own.bare:
        pytest.skip("a call without marks is one only where an answer starts")
    calls = CALLS if own.parallel else CALLS[:1]
    written = own.write(calls, {"find": PARAMETERS})
    channel = own.text_opening and f"{own.text_opening}{said}<|end|><|start|>assistant"
    text = (channel if said and channel else said) + written
    done = Completion(text, (0,) * 9, 3, 1, "stop")
    whole = to_message(done, "either", tools=[FIND], call_format=own)
    assert [call["args"] for call in whole.tool_calls] == [call.arguments for call in calls]
    assert whole.text.strip() == said.strip()
    for strict in (True, False):
        reader = AnswerReader("either", strict=strict, call_format=own)
        deltas = [
            delta for at in range(0, len(text), size) for delta in reader.feed(text[at : at + size])
        ]
        deltas += reader.finish(whole)
        assert "".join(delta.text for delta in deltas).strip() == said.strip()
        for number, call in enumerate(calls):
            parts = [delta for delta in deltas if delta.call == number]
            assert [part.name for part in parts if part.name] == ["find"]
            assert json.loads("".join(part.arguments for part in parts)) == call.arguments


@pytest.mark.parametrize("name", ["gemma", "xml", "mistral", "pythonic"])
def test_a_declared_format_is_shown_constrained_and_read(tiny, name):
    chat = SteeredChatModel(tiny, call_format=name, max_tokens=120, temperature=1.5)
    bound = chat.bind_tools([FIND], tool_choice="any")
    asked = [
        HumanMessage("a mug"),
        AIMessage("", tool_calls=[{"name": "find", "args": {"query": "mug"}, "id": "1"}]),
        HumanMessage("a lamp"),
    ]
    own = next(one for one in formats() if one.name == name)
    prompt = tiny.tokenizer.decode(_prompt(chat, asked))
    assert own.write([ToolCall("function_name", {"argument": "value"})]) in prompt
    assert own.write([ToolCall("find", {"query": "mug"})]) in prompt
    assert '{"name": "find", "arguments"' not in prompt
    for seed in range(3):
        answer = bound.invoke(asked, seed=seed)
        if answer.response_metadata["finish_reason"] == "length":
            continue
        [call] = answer.tool_calls
        assert Toolkit([FIND]).validate(call["name"], call["args"]) is None


def _prompt(chat, messages):
    question, _ = chat._question(messages, None, tools=[FIND])
    return chat.model.prompt_tokens(question.request.messages, question.request.tools)


def test_the_agent_is_asked_in_the_declared_format(scripted):
    gemma = next(one for one in formats() if one.name == "gemma")
    written = gemma.write([ToolCall("find", {"query": "mug"})])
    model = scripted([written, "Found."])
    spec = ToolSpec("find", "Find.", PARAMETERS, lambda **arguments: str(arguments))
    agent = build_agent(model, Toolkit([spec]), call_format="gemma")
    end = agent.invoke({"messages": [("user", "a mug")]})
    assert end["steps"][0]["call"]["arguments"] == {"query": "mug"}
    first, second = model.requests
    assert first.tools == () and "<|tool_call>call:function_name" in first.messages[0]["content"]
    assert "<|tool_call>" in first.grammar and "<tool_call>" not in first.grammar
    assert [message["role"] for message in second.messages][1:] == ["user", "assistant", "user"]
    assert second.messages[2]["content"] == written


def test_unknown_formats_are_refused_at_once(scripted, tiny, toolkit):
    with pytest.raises(TrimtabError, match="call format among"):
        build_agent(scripted([]), toolkit, call_format="morse")
    with pytest.raises(TrimtabError, match="call format among"):
        SteeredChatModel(tiny, call_format="morse")


def test_what_one_format_cannot_hold_another_can(scripted):
    odd = {"type": "object", "properties": {"a>": {"type": "string"}}, "required": ["a>"]}
    spec = ToolSpec("odd", "", odd, lambda **arguments: "x")
    build_agent(scripted([]), Toolkit([spec]), must_call=True)
    with pytest.raises(TrimtabError, match="odd"):
        build_agent(scripted([]), Toolkit([spec]), must_call=True, call_format="xml")
    assert not check_tool(spec).refusal
    assert "odd" in check_tool(spec, call_format="xml").refusal


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_tried_in_every_format(tmp_path, name):
    path = tmp_path / "tools.py"
    path.write_text(
        'def find(query: str, count: int = 1) -> str:\n    """Find."""\n    return query\n'
        'examples = [{"tool": "find", "arguments": {"query": "a lamp", "count": 2}}]\n'
    )
    with open_tool_file(path) as file:
        [checked] = check_examples(file, call_format=name)
    assert checked.writable and checked.passed


@pytest.mark.parametrize("name", NAMES)
def test_a_head_begins_the_call_and_ends_with_the_name(name):
    own = next(one for one in formats() if one.name == name)
    head = call_head("find", own)
    assert own.write([ToolCall("find", {"query": "x"})]).startswith(head)
    assert head.rstrip('">({[').endswith("find")


SHAPES = {
    "openai": FIND,
    "openai, function only": FIND["function"],
    "openai responses": {"type": "function", **FIND["function"], "strict": True},
    "anthropic": {"name": "find", "description": "Find.", "input_schema": PARAMETERS},
    "mcp": {"name": "find", "description": "Find.", "inputSchema": PARAMETERS},
    "json schema": {"title": "find", "description": "Find.", **PARAMETERS},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_tool_dicts_of_every_maker_become_one(tiny, shape):
    chat = SteeredChatModel(tiny, max_tokens=1)
    for bound in (chat.bind_tools([SHAPES[shape]]), chat.bind(tools=[SHAPES[shape]])):
        question, _ = chat._question([HumanMessage("a mug")], None, **bound.kwargs)
        [shown] = question.request.tools
        assert shown == FIND
    assert Toolkit([SHAPES[shape]]).schemas() == [FIND]


ODD_NAMES = ["from", "class", "user-id", "a b", "a.b", "a:b", "a=b", "ключ", "ñ", "名前", 'a"b',
             "a>", "a<b", "x}", "a,b", "a\nb", "", "१"]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_argument_of_any_name_reads_back_or_is_refused(name):
    parameters = {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
    tool = {"type": "function", "function": {"name": "odd", "parameters": parameters}}
    refused = set()
    for one in formats():
        arguments = {name: "v, x"}
        try:
            text = format_call(ToolCall("odd", arguments), tools=[tool], call_format=one)
        except TrimtabError:
            refused.add(one.name)
            with pytest.raises(TrimtabError):
                call_grammar([tool], call_format=one)
            continue
        assert [c.arguments for c in parse_calls(text, tools=[tool], call_format=one)] == [
            arguments
        ]
        matcher = LLMatcher(LLTokenizer("byte"), call_grammar([tool], call_format=one), log_level=0)
        assert matcher.consume_tokens(list(text.encode())) and matcher.is_accepting(), one.name
    assert refused <= {"xml", "glm", "minimax"}
    assert not refused or name in ('a"b', "a>", "a<b", "a\nb", "")


def test_a_name_that_a_model_made_up_does_not_end_the_conversation(scripted, toolkit):
    odd = '{"name": "look at", "arguments": {"a>b": 1}}'
    model = scripted([odd, "Sorry."])
    end = build_agent(model, toolkit, decode="free", call_format="xml").invoke(
        {"messages": [("user", "a mug")]}
    )
    assert end["outcome"] == "done"


def test_a_call_reads_back_in_its_own_format_whatever_stands_in_it():
    nasty = {"query": '</tool_call> <|tool_call>call:x{} [TOOL_CALLS] ```json {"name": 1}'}
    for one in formats():
        text = format_call(ToolCall("find", nasty), tools=[FIND], call_format=one)
        assert [c.arguments for c in parse_calls(text, tools=[FIND], call_format=one)] == [nasty]
