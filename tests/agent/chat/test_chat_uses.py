"""The chat model where people use one: ready-made agents, structured output, threads."""

import asyncio
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import jsonschema
import pytest
from langchain_core.messages import HumanMessage, ToolMessage, trim_messages
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from trimtab.agent.chat.chat_model import SteeredChatModel
from trimtab.errors import TrimtabError

ANN = {"configurable": {"user_id": "ann"}}


@tool
def find(query: str, limit: int = 3) -> str:
    """Find products.

    Args:
        query: What to look for.
        limit: How many.
    """
    return f"{limit} x {query}"


def ready_made(kind, chat):
    if kind == "langchain":
        from langchain.agents import create_agent

        return create_agent(chat, [find], system_prompt="You shop.")
    from langgraph.prebuilt import create_react_agent

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has moved to langchain, and is used all the same
        return create_react_agent(chat, [find], prompt="You shop.")


@pytest.mark.parametrize("kind", ["langchain", "langgraph"])
def test_a_ready_made_agent_calls_tools_and_is_steered(kind, scripted, call, dictionary):
    model = scripted([call("find", query="lamp", limit=2), "Here they are."])
    chat = SteeredChatModel(model, store={"ann": dictionary("ann", "lamp")})
    agent = ready_made(kind, chat)
    said = agent.invoke({"messages": [("user", "two lamps")]}, ANN)["messages"]
    assert [type(message).__name__ for message in said] == [
        "HumanMessage", "AIMessage", "ToolMessage", "AIMessage"
    ]  # fmt: skip
    assert said[2].content == "2 x lamp"
    assert said[3].content == "Here they are."
    first, second = model.requests
    assert first.messages[0] == {"role": "system", "content": "You shop."}
    assert first.steering.picked and second.steering.picked
    assert second.messages[-1]["content"] == "2 x lamp"


@pytest.mark.parametrize("kind", ["langchain", "langgraph"])
def test_a_ready_made_agent_on_a_model_that_may_say_anything(kind, tiny):
    chat = SteeredChatModel(tiny, temperature=1.5, max_new_tokens=48)
    agent = ready_made(kind, chat)
    for seed in range(6):
        chat.seed = seed
        state = agent.invoke({"messages": [("user", "lamps")]}, {"recursion_limit": 4}, debug=False)
        for message in state["messages"]:
            if isinstance(message, ToolMessage):
                assert message.status == "success", message.content


def test_an_agents_tokens_can_be_streamed(tiny):
    agent = ready_made("langchain", SteeredChatModel(tiny, temperature=1.0, max_new_tokens=20))
    config = {"recursion_limit": 4}
    pieces = list(agent.stream({"messages": [("user", "hi")]}, config, stream_mode="messages"))
    assert len([chunk for chunk, about in pieces if about["langgraph_node"] == "model"]) > 3


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=8)
    size: Literal["small", "large"]
    friends: list["Person"] = Field(default=[], max_length=2)


class Listed(TypedDict):
    """A person."""

    name: str
    size: Literal["small", "large"]


JSON_SCHEMA = {
    "title": "Person",
    "description": "A person.",
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"enum": ["small", "large"]}},
    "required": ["name", "size"],
}


@pytest.mark.parametrize("schema", [Person, Listed, JSON_SCHEMA])
@pytest.mark.parametrize("raw", [False, True])
def test_structured_output_in_every_form(tiny, schema, raw):
    chat = SteeredChatModel(tiny, temperature=1.5, max_new_tokens=160)
    for seed in range(3):
        chat.seed = seed
        made = chat.with_structured_output(schema, include_raw=raw).invoke("who?")
        if raw:
            assert made["parsing_error"] is None and made["raw"].tool_calls
            made = made["parsed"]
        if schema is Person:
            assert isinstance(made, Person)
        else:
            jsonschema.validate(made, JSON_SCHEMA)


def test_an_agent_with_a_response_format(scripted, call):
    from langchain.agents import create_agent

    made = {"name": "Person", "arguments": {"name": "Ann", "size": "small"}}
    model = scripted([call("find", query="ann"), f"<tool_call>{json.dumps(made)}</tool_call>"])
    agent = create_agent(SteeredChatModel(model), [find], response_format=Person)
    state = agent.invoke({"messages": [("user", "who is it?")]})
    assert state["structured_response"] == Person(name="Ann", size="small")


@pytest.mark.parametrize("parallel", [None, True, False])
@pytest.mark.parametrize("choice", ["any", "auto", "find"])
def test_parallel_calls_come_where_they_may(scripted, call, choice, parallel):
    model = scripted([call("find", query="a") + "\n" + call("find", query="b")])
    chat = SteeredChatModel(model).bind_tools(
        [find], tool_choice=choice, parallel_tool_calls=parallel
    )
    several = parallel or (parallel is None and choice == "auto")
    assert len(chat.invoke("both").tool_calls) == (2 if several else 1)
    assert ('more: ("\\n" call)' in model.requests[0].grammar) == several


def test_a_schema_that_cannot_be_enforced_is_refused_only_where_a_call_is_asked_for(scripted):
    schema = {"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]}
    odd = {"type": "function", "function": {"name": "odd", "parameters": schema}}
    chat = SteeredChatModel(scripted(["No."]))
    with pytest.raises(TrimtabError, match="odd"):
        chat.bind_tools([odd], tool_choice="any").invoke("hi")
    answer = chat.bind_tools([odd]).invoke("hi")
    assert (answer.content, answer.response_metadata["constrained"]) == ("No.", False)


def test_one_model_serves_many_threads(tiny, dictionary):
    store = {user: dictionary(user, "coat") for user in ("ann", "bob")}
    chat = SteeredChatModel(tiny, temperature=1.0, max_new_tokens=24).bind_tools([find])
    asks = [f"something for {n} rainy days" for n in range(6)]
    alone = [chat.invoke(ask) for ask in asks]
    with ThreadPoolExecutor(6) as threads:
        invoked = list(threads.map(chat.invoke, asks))
        streamed = list(threads.map(lambda ask: sum_of(chat.stream(ask)), asks))

    async def gathered():
        return await asyncio.gather(*(chat.ainvoke(ask) for ask in asks))

    for answers in (invoked, streamed, asyncio.run(gathered())):
        for one, other in zip(alone, answers, strict=True):
            assert one.content.strip() == other.content.strip()
            assert one.tool_calls == other.tool_calls
    assert store


def sum_of(chunks):
    first, *rest = chunks
    for chunk in rest:
        first += chunk
    return first


def test_options_of_one_call_come_before_the_models_own(scripted):
    model = scripted(["a", "b", "c", "d"])
    chat = SteeredChatModel(model, max_tokens=9, stop=["x"])
    chat.invoke("hi")
    assert (model.options["max_new_tokens"], model.options["stop"]) == (9, ("x",))
    chat.invoke("hi", max_tokens=3, stop=["y"])
    assert (model.options["max_new_tokens"], model.options["stop"]) == (3, ("y",))
    chat.bind(temperature=0.5, top_p=0.9).invoke("hi")
    assert (model.options["temperature"], model.options["top_p"]) == (0.5, 0.9)
    chat.bind_tools([find], tool_choice="none", strict=True).invoke("hi")
    assert model.options["stop"] == ("x",)


def test_stop_texts_end_a_real_answer(tiny):
    chat = SteeredChatModel(tiny, temperature=1.0, max_new_tokens=40)
    whole = chat.invoke("hi").content
    word = whole[10]
    stopped = chat.invoke("hi", stop=[word])
    assert stopped.content == whole.partition(word)[0]
    assert stopped.usage_metadata["output_tokens"] < 40
    assert sum_of(chat.stream("hi", stop=[word])).content == stopped.content


def test_tokens_are_counted_by_the_models_own_tokenizer(tiny):
    chat = SteeredChatModel(tiny)
    talk = [HumanMessage(f"message {n}") for n in range(5)]
    counted = chat.get_num_tokens_from_messages(talk, tools=[find])
    assert counted == chat.bind_tools([find]).invoke(talk).usage_metadata["input_tokens"]
    assert chat.get_num_tokens("ab") == 2
    kept = trim_messages(talk, max_tokens=chat.get_num_tokens_from_messages(talk[2:]),
                         token_counter=chat)  # fmt: skip
    assert kept == talk[2:]


def test_every_sampled_call_fits_the_tool(tiny):
    chat = SteeredChatModel(tiny, temperature=1.5, max_new_tokens=100).bind_tools(
        [find, Person], tool_choice="any", parallel_tool_calls=True
    )
    answers = chat.batch([f"message {n}" for n in range(12)])
    models = {"find": find.tool_call_schema, "Person": Person}
    calls = [made for answer in answers for made in answer.tool_calls]
    assert len(calls) >= 12
    for made in calls:
        jsonschema.validate(made["args"], models[made["name"]].model_json_schema())
