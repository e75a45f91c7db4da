"""Streams: whatever the pieces, they add up to the message that the whole answer makes."""

import json
import random

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool

from trimtab.agent.chat.chat_model import SteeredChatModel
from trimtab.agent.chat.messages import to_message
from trimtab.agent.chat.streaming import AnswerReader
from trimtab.steering.generation.requests import Completion

SEARCH = {"type": "function", "function": {"name": "search", "parameters": {}}}


def call(**arguments):
    made = json.dumps({"name": "search", "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{made}\n</tool_call>"


NESTED = {"q": 'a "}" {b} \\', "more": [{"x": "]}"}, {"y": [1, {}]}]}
ANSWERS = {
    "text": "Hello there.\n\nA < b, and <tool is no mark.",
    "spaces": "  Hello  \n",
    "one call": call(q="lamp"),
    "nested": call(**NESTED),
    "two calls": call(q="lamp") + "\n" + call(q="mug"),
    "text, then a call": f"Let me see.\n{call(**NESTED)}",
    "cut in the arguments": f"Hm. {call(q='lamp')}"[:-18],
    "a cut mark": "Well <tool_ca",
    "letters": call(q="Ärla 😀\n"),
    "no arguments": call(),
}
LOOSE = {
    "single quotes": "<tool_call>{'name': 'search', 'arguments': {'q': 'x'}}</tool_call>",
    "bare": '{"name": "search", "arguments": {"q": "x"}}',
    "fenced": '```json\n{"name": "search", "arguments": {"q": "x"}}\n```',
    "text, then a fence": 'I look:\n```json\n{"name": "search", "arguments": {"q": "x"}}\n```',
    "a fence of code": "Like so:\n```python\nx = {}\n```\nThat is all ``` here.",
    "a fence of JSON": 'Like so:\n```json\n{"a": 1}\n```\nThat is all.',
    "code": 'I say:\n<tool_call>search(q="x")</tool_call>',
    "json that is no call": '{"a": 1}',
    "another tool's": '{"name": "fly", "arguments": {}}',
    "not a call": "Well. <tool_call>oops",
}


def pieces(text, seed):
    draw = random.Random(seed)
    while text:
        size = draw.randint(1, draw.choice([1, 4, 30]))
        yield text[:size]
        text = text[size:]


def completion(text):
    return Completion(text, tuple(range(5)), 3, 1, "stop")


def added_up(reader, text, whole, seed):
    """Text and calls as their parts add up, and how many parts there were."""
    deltas = [delta for piece in pieces(text, seed) for delta in reader.feed(piece)]
    deltas += reader.finish(whole)
    calls = {}
    for delta in deltas:
        if delta.call is not None:
            made = calls.setdefault(delta.call, ["", ""])
            made[0] += delta.name or ""
            made[1] += delta.arguments
    return "".join(d.text for d in deltas), list(calls.values()), len(deltas)


@pytest.mark.parametrize("stop", [(), ("e",), ("there.",)])
@pytest.mark.parametrize("kind", [*ANSWERS, *LOOSE])
def test_the_parts_add_up_to_the_whole(kind, stop):
    text = {**ANSWERS, **LOOSE}[kind]
    whole = to_message(completion(text), "either", tools=[SEARCH])
    for word in stop:
        whole.content = whole.content.partition(word)[0]
    exact = kind in ANSWERS or "fence" in kind or kind == "bare"
    for strict in (False, True) if exact else (False,):
        for seed in range(20):
            reader = AnswerReader("either", strict=strict, stop=stop)
            said, calls, _ = added_up(reader, text, whole, seed)
            assert said == whole.content
            assert [name for name, _ in calls] == [made["name"] for made in whole.tool_calls]
            if not kind.startswith("cut"):
                assert [json.loads(given) for _, given in calls] == [
                    made["args"] for made in whole.tool_calls
                ]


def test_a_plain_answer_is_passed_on_as_it_comes():
    reader = AnswerReader("text", strict=False)
    text = call(q="x")
    assert [delta.text for piece in text for delta in reader.feed(piece)] == list(text)


def test_arguments_come_before_the_call_ends():
    reader = AnswerReader("call", strict=True)
    early = [d for piece in call(q="lamp")[:-20] for d in reader.feed(piece)]
    assert early[0].name == "search"
    assert "".join(d.arguments for d in early) == '{"q": "'


# ---- the chat model ----------------------------------------------------------------------------


@tool
def search(q: str) -> str:
    """Search."""
    return q


@pytest.fixture
def piecewise(scripted):
    """A scripted model that streams too, a few characters at a time."""

    def make(*answers):
        model = scripted(list(answers))

        def stream(request, **options):
            [done] = model.generate([request], **options)
            yield from pieces(done.text, 0)
            return done

        model.stream = stream
        return model

    return make


def total(chunks):
    whole = AIMessageChunk("")
    for chunk in chunks:
        whole += chunk
    return whole


def test_a_stream_adds_up_to_the_answer(piecewise):
    text = f"I look.\n{call(**NESTED)}\n{call(q='mug')}"
    chat = SteeredChatModel(piecewise(text, text)).bind_tools([search])
    chunks = list(chat.stream("a lamp"))
    whole, answer = total(chunks), chat.invoke("a lamp")
    assert len(chunks) > 10
    assert whole.content == answer.content
    assert without_ids(whole.tool_calls) == without_ids(answer.tool_calls)
    assert [made["args"] for made in whole.tool_calls] == [NESTED, {"q": "mug"}]
    assert whole.usage_metadata == answer.usage_metadata
    assert whole.response_metadata == answer.response_metadata
    assert chunks[-1].chunk_position == "last"


def without_ids(calls):
    return [{**made, "id": None} for made in calls]


def test_calls_of_a_conversation_have_ids_of_their_own(piecewise):
    chat = SteeredChatModel(piecewise(call(q="a"), call(q="b"))).bind_tools([search])
    first = total(chat.stream("a"))
    from langchain_core.messages import ToolMessage

    result = ToolMessage("none", tool_call_id=first.tool_calls[0]["id"])
    second = total(chat.stream([HumanMessage("a"), first, result]))
    ids = [m.tool_calls[0]["id"] for m in (first, second)]
    assert len(set(ids)) == 2
    assert all(len(one) == 9 and one.isalnum() for one in ids)


def test_the_user_of_the_config_steers_a_stream(piecewise, dictionary):
    import asyncio

    model = piecewise("hello there", "hello again")
    chat = SteeredChatModel(model, store={"ann": dictionary("ann", "coat")})
    config = {"configurable": {"user_id": "ann"}}
    assert total(chat.stream("coat", config)).content == "hello there"

    async def drained():
        return [chunk async for chunk in chat.astream("coat", config)]

    assert total(asyncio.run(drained())).content == "hello again"
    assert all(request.steering.picked for request in model.requests)


def test_callbacks_are_told_of_each_token(piecewise):
    from langchain_core.callbacks import BaseCallbackHandler

    class Heard(BaseCallbackHandler):
        tokens = ""

        def on_llm_new_token(self, token, **kwargs):
            self.tokens += token

    heard = Heard()
    list(SteeredChatModel(piecewise("hello there")).stream("hi", {"callbacks": [heard]}))
    assert heard.tokens == "hello there"


@pytest.mark.parametrize("choice", ["any", "auto", None])
def test_a_real_model_streams_what_it_answers(tiny, choice):
    chat = SteeredChatModel(tiny, temperature=1.0, max_new_tokens=60, seed=3)
    bound = chat.bind_tools([search], tool_choice=choice) if choice else chat
    chunks = list(bound.stream("a lamp"))
    whole, answer = total(chunks), bound.invoke("a lamp")
    assert len(chunks) > 3
    assert whole.content.strip() == answer.content.strip()
    assert without_ids(whole.tool_calls) == without_ids(answer.tool_calls)
    assert answer.tool_calls or choice != "any"
