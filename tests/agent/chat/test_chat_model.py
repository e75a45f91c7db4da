"""The chat model: LangChain's interface in front, our requests behind."""

import asyncio
import threading

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from trimtab.agent.calling.calls import call_grammar
from trimtab.agent.chat.chat_model import SteeredChatModel
from trimtab.errors import TrimtabError
from trimtab.tools import ToolSpec

ANN, BOB = ({"configurable": {"user_id": user}} for user in ("ann", "bob"))


@tool
def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return f"sunny in {city}"


def add(left: int, right: int) -> int:
    """Add two numbers.

    Args:
        left: One.
        right: The other.
    """
    return left + right


class Answer(BaseModel):
    """A structured answer."""

    score: int


def test_text_in_text_out(scripted):
    model = scripted(["Hello, Ann."])
    answer = SteeredChatModel(model).invoke("Hi")
    assert isinstance(answer, AIMessage)
    assert answer.content == "Hello, Ann."
    assert answer.usage_metadata == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "scripted"
    [request] = model.requests
    assert list(request.messages) == [{"role": "user", "content": "Hi"}]
    assert (request.tools, request.grammar, request.steering) == ((), None, None)


def test_a_conversation_becomes_openai_dicts(scripted):
    model = scripted(["done"])
    SteeredChatModel(model).invoke(
        [
            SystemMessage("be brief"),
            HumanMessage([{"type": "text", "text": "weather?"}]),
            AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "1"}]),
            ToolMessage("rain", tool_call_id="1", name="weather"),
        ]
    )
    system, human, assistant, result = model.requests[0].messages
    assert system == {"role": "system", "content": "be brief"}
    assert human == {"role": "user", "content": "weather?"}
    assert assistant["tool_calls"] == [
        {
            "type": "function",
            "id": "1",
            "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
        }
    ]
    assert result == {
        "role": "tool",
        "content": "rain",
        "tool_call_id": "1",
        "name": "weather",
    }


def test_any_kind_of_tool_can_be_bound(scripted):
    model = scripted(lambda request: "no")
    chat = SteeredChatModel(model)
    dicts = {"type": "function", "function": {"name": "d", "description": "x", "parameters": {}}}
    chat.bind_tools([ToolSpec.from_function(add), weather, Answer, dicts]).invoke("hi")
    names = [item["function"]["name"] for item in model.requests[0].tools]
    assert names == ["add", "weather", "Answer", "d"]


@pytest.mark.parametrize(
    ("choice", "only"),
    [
        ("any", None),
        ("required", None),
        (True, None),
        ("weather", ["weather"]),
        ({"type": "function", "function": {"name": "add"}}, ["add"]),
    ],
)
def test_a_forced_choice_is_constrained(scripted, call, choice, only):
    model = scripted([call("weather", city="Oslo")])
    chat = SteeredChatModel(model).bind_tools(
        [ToolSpec.from_function(add), weather], tool_choice=choice
    )
    answer = chat.invoke("weather?")
    [request] = model.requests
    assert request.grammar == call_grammar(request.tools, only=only)
    assert answer.content == ""
    [made] = answer.tool_calls
    assert (made["name"], made["args"]) == ("weather", {"city": "Oslo"})


def test_a_free_choice_may_be_text_or_calls(scripted, call):
    both = call("weather", city="Oslo") + "\n" + call("weather", city="Rome")
    model = scripted(['It is {"hot": 1}.', f"Let me see. {both}", "<tool_call>oops"])
    chat = SteeredChatModel(model).bind_tools([weather])
    text, calls, broken = (chat.invoke("weather?") for _ in range(3))
    free = call_grammar(model.requests[0].tools, parallel=True, or_text=True)
    assert [request.grammar for request in model.requests] == [free] * 3
    assert text.content == 'It is {"hot": 1}.' and not text.tool_calls
    assert calls.content == "Let me see."
    assert [made["args"]["city"] for made in calls.tool_calls] == ["Oslo", "Rome"]
    assert len({made["id"] for made in calls.tool_calls}) == 2
    assert not broken.tool_calls and broken.invalid_tool_calls[0]["error"]


def test_calls_are_numbered_on_through_a_conversation(scripted, call):
    model = scripted(lambda request: call("weather", city="Oslo"))
    chat = SteeredChatModel(model).bind_tools([weather], tool_choice="any")
    first = chat.invoke("weather?")
    second = chat.invoke(
        [
            HumanMessage("weather?"),
            first,
            ToolMessage("rain", tool_call_id=first.tool_calls[0]["id"]),
            HumanMessage("again?"),
        ]
    )
    assert first.tool_calls[0]["id"] != second.tool_calls[0]["id"]


def test_choice_none_shows_tools_and_reads_text(scripted, call):
    model = scripted([call("weather", city="Oslo")])
    answer = SteeredChatModel(model).bind_tools([weather], tool_choice="none").invoke("weather?")
    assert model.requests[0].tools
    assert not answer.tool_calls and "tool_call" in answer.content


def test_an_unknown_choice_is_refused(scripted):
    with pytest.raises(TrimtabError, match="one of weather; got 'wether'"):
        SteeredChatModel(scripted([])).bind_tools([weather], tool_choice="wether")


def test_the_user_of_the_config_selects_the_dictionary(scripted, dictionary):
    model = scripted(lambda request: "ok")
    chat = SteeredChatModel(model, store={"ann": dictionary("ann", "coat", "lamp", "mug")})
    answer = chat.invoke([HumanMessage("x"), AIMessage("y"), HumanMessage("coat")], ANN)
    assert answer.response_metadata["picked"][0]["sample_id"] == "ann-0"
    chat.invoke("coat", BOB)
    chat.invoke("coat", {"configurable": {"user_id": "ann", "before": 1}})
    first, bobs, early = model.requests
    assert len(first.steering.picked) == 3
    assert bobs.steering is None
    assert [picked.entry.sample_id for picked in early.steering.picked] == ["ann-0"]
    with pytest.raises(TrimtabError, match="user_id"):
        chat.invoke("coat")


def test_the_user_reaches_a_chat_model_inside_a_chain_and_a_graph(scripted, dictionary):
    from langchain_core.runnables import RunnableLambda
    from langgraph.graph import MessagesState, StateGraph

    model = scripted(lambda request: "ok")
    chat = SteeredChatModel(model, store={"ann": dictionary("ann", "coat")})
    (RunnableLambda(lambda text: text.upper()) | chat).invoke("coat", ANN)

    graph = StateGraph(MessagesState)
    graph.add_node("chat", lambda state: {"messages": [chat.invoke(state["messages"])]})
    graph.set_entry_point("chat")
    graph.compile().invoke({"messages": [("user", "coat")]}, ANN)
    assert [request.steering.picked[0].entry.sample_id for request in model.requests] == [
        "ann-0",
        "ann-0",
    ]


def test_a_batch_of_many_users_is_one_batch_of_the_model(scripted, dictionary):
    model = scripted(lambda request: request.messages[-1]["content"].upper())
    chat = SteeredChatModel(
        model, store={user: dictionary(user, "coat") for user in ("ann", "bob")}
    )
    answers = chat.batch(["a", "b", "c"], [ANN, BOB, {"configurable": {"user_id": "eve"}}])
    assert [answer.content for answer in answers] == ["A", "B", "C"]
    [batch] = model.batches
    assert [r.steering and r.steering.picked[0].entry.sample_id for r in batch] == [
        "ann-0",
        "bob-0",
        None,
    ]


def test_bound_tools_are_batched_too(scripted, call):
    model = scripted(lambda request: call("weather", city=request.messages[-1]["content"]))
    chat = SteeredChatModel(model).bind_tools([weather], tool_choice="any")
    answers = chat.batch(["Oslo", "Rome"])
    assert [answer.tool_calls[0]["args"]["city"] for answer in answers] == ["Oslo", "Rome"]
    assert len(model.batches) == 1
    assert chat.batch([]) == []


def test_one_failure_in_a_batch_is_raised_or_returned(scripted):
    def script(request):
        if request.messages[-1]["content"] == "bad":
            raise TrimtabError("the prompt is too long")
        return "fine"

    chat = SteeredChatModel(scripted(script))
    with pytest.raises(TrimtabError, match="too long"):
        chat.batch(["good", "bad"])
    good, bad = chat.batch(["good", "bad"], return_exceptions=True)
    assert good.content == "fine"
    assert isinstance(bad, TrimtabError)


def test_async_does_the_same(scripted, dictionary):
    model = scripted(lambda request: request.messages[-1]["content"].upper())
    chat = SteeredChatModel(model, store={"ann": dictionary("ann", "coat")})

    async def both():
        return await chat.ainvoke("a", ANN), await chat.abatch(["b", "c"], ANN)

    one, (two, three) = asyncio.run(both())
    assert [one.content, two.content, three.content] == ["A", "B", "C"]
    assert [len(batch) for batch in model.batches] == [1, 2]
    assert all(request.steering for request in model.requests)


def test_structured_output_is_a_constrained_call(scripted, call):
    model = scripted([call("Answer", score=7)])
    assert SteeredChatModel(model).with_structured_output(Answer).invoke("rate") == Answer(score=7)
    assert model.requests[0].grammar


def test_stop_words_end_the_text(scripted):
    model = scripted(["one two three two"])
    assert SteeredChatModel(model).invoke("count", stop=["three", "two"]).content == "one "


def test_options_reach_the_model(scripted):
    model = scripted(["hi"])
    SteeredChatModel(model, max_new_tokens=7, temperature=0.5, seed=3).invoke("hi")
    assert model.options == {
        "max_new_tokens": 7, "temperature": 0.5, "top_p": 1.0, "seed": 3, "stop": ()
    }  # fmt: skip


def test_what_is_no_text_is_refused(scripted):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(TrimtabError, match="text alone"):
        SteeredChatModel(scripted(["x"])).invoke([HumanMessage([image])])
    with pytest.raises(TrimtabError, match="no option best_of"):
        SteeredChatModel(scripted(["x"])).invoke("hi", best_of=3)


def test_it_is_steered_by_the_function_that_is_given(scripted):
    asked = []
    chat = SteeredChatModel(scripted(["a", "b"]), steer=lambda *given: asked.append(given))
    chat.invoke("hm", {"configurable": {"user_id": 7, "before": 3}})
    assert asked == [("7", "hm", 3)]
    with pytest.raises(TrimtabError, match="needs to know the user"):
        chat.invoke("hm")


def test_settings_that_nobody_named_are_not_the_shops(scripted, dictionary):
    model = scripted(["a"])
    chat = SteeredChatModel(model, store={"ann": dictionary("ann", "coat")})
    chat.invoke("coat", {"configurable": {"user_id": "ann"}})
    steering = model.requests[0].steering
    assert (steering.strength, steering.positions) == (1.0, "answer")


def test_a_large_batch_has_few_threads(scripted):
    most = []

    def answer(request):
        most.append(sum(t.name.startswith("trimtab-job") for t in threading.enumerate()))
        return "a"

    answers = SteeredChatModel(scripted(answer)).batch(["hm"] * 300)
    assert [each.content for each in answers] == ["a"] * 300
    assert max(most) <= 48
    most.clear()
    SteeredChatModel(scripted(answer)).batch(["hm"] * 9, {"max_concurrency": 2})
    assert max(most) <= 2
