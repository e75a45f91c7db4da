"""The ecosystem through a really running server: LangChain, LangGraph, and the real small model."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from openai import AsyncOpenAI, OpenAI

from trimtab.serve.opening import open_service
from trimtab.steering.model import SteeredModel

from .conftest import SETTINGS, running


@tool
def stock(item: str) -> str:
    """How many of an item there are."""
    return f"3 of {item}"


def chat_of(url: str, **options) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, **options)


def test_langchain_answers_and_streams(server: str) -> None:
    chat = chat_of(server, model="tiny", temperature=1, seed=5, max_tokens=12)
    whole = chat.invoke("Which lamp?")
    assert whole.usage_metadata["output_tokens"] == 12
    pieces = list(chat.stream("Which lamp?"))
    assert "".join(piece.text for piece in pieces) == whole.text


def test_langchain_binds_tools_and_schemas(server: str) -> None:
    chat = chat_of(server, model="tiny", max_tokens=400)
    [call] = chat.bind_tools([stock], tool_choice="stock").invoke("Which lamp?").tool_calls
    assert (call["name"], set(call["args"])) == ("stock", {"item"})
    streamed = None
    for piece in chat.bind_tools([stock], tool_choice="any").stream("Which lamp?"):
        streamed = piece if streamed is None else streamed + piece
    assert {one["name"] for one in streamed.tool_calls} == {"stock"}
    schema = {
        "title": "size",
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}},
        "required": ["size"],
        "additionalProperties": False,
    }
    found = chat.with_structured_output(schema, method="json_schema").invoke("Which lamp?")
    assert found["size"] in ("small", "large")


def test_a_langgraph_agent_calls_tools_and_streams_as_its_user(
    server: str, http: httpx.Client
) -> None:
    told = {"request": "Which lamp?", "chosen": "This.", "rejected": "That."}
    http.post("/v1/users/ann-graph/interactions", json=told)
    as_ann = {"model_kwargs": {"user": "ann-graph"}}
    chat = chat_of(server, model="tiny", max_tokens=400, **as_ann)
    calls = chat.bind_tools([stock], tool_choice="stock")
    words = chat_of(server, model="tiny", temperature=1, seed=5, max_tokens=12, **as_ann)

    def ask(state: MessagesState) -> dict:
        answered = isinstance(state["messages"][-1], ToolMessage)
        return {"messages": [(words if answered else calls).invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_node("tools", ToolNode([stock]))
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", tools_condition)
    graph.add_edge("tools", "ask")
    before = steered_answers(http)
    pieces, state = [], {}
    given = {"messages": [("user", "Which lamp?")]}
    for mode, part in graph.compile().stream(given, stream_mode=["messages", "values"]):
        if mode == "values":
            state = part
        else:
            pieces.append(part[0])
    *_, called, result, answered = state["messages"]
    assert called.tool_calls[0]["name"] == "stock"
    assert result.text == f"3 of {called.tool_calls[0]['args']['item']}"
    assert answered.text and not answered.tool_calls
    streamed = [piece for piece in pieces if piece.id == answered.id]
    assert len(streamed) > 1 and "".join(piece.text for piece in streamed) == answered.text
    assert steered_answers(http) == before + 2


def steered_answers(http: httpx.Client) -> float:
    """How many answers the server has steered."""
    lines = http.get("/metrics").text.splitlines()
    wanted = 'trimtab_answers_total{reason="",steered="true"}'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


async def _gathered(server: str) -> list[str]:
    async with AsyncOpenAI(base_url=f"{server}/v1", api_key="none") as client:
        ask = [{"role": "user", "content": "Which lamp?"}]
        stream = await client.chat.completions.create(
            model="tiny", messages=ask, stream=True, max_tokens=5, logprobs=True, top_logprobs=2
        )
        tokens = []
        async for chunk in stream:
            for choice in chunk.choices:
                if choice.logprobs:
                    assert all(len(one.top_logprobs) == 2 for one in choice.logprobs.content)
                    tokens += [one.token for one in choice.logprobs.content]
        return tokens


def test_logprobs_are_given_plain_and_streamed(server: str, client: OpenAI) -> None:
    ask = [{"role": "user", "content": "Which lamp?"}]
    whole = client.chat.completions.create(
        model="tiny", messages=ask, max_tokens=5, logprobs=True, top_logprobs=2
    )
    content = whole.choices[0].logprobs.content
    assert len(content) == 5
    for one in content:  # greedy: what came is the likeliest
        assert one.top_logprobs[0].token == one.token
        assert one.logprob == one.top_logprobs[0].logprob <= 0
    assert asyncio.run(_gathered(server)) == [one.token for one in content]


@pytest.fixture(scope="module")
def small(smollm2_path: str, tmp_path_factory) -> Iterator[str]:
    """A server of SmolLM2-135M."""
    model = SteeredModel.from_pretrained(smollm2_path, dtype="float32")
    store = tmp_path_factory.mktemp("small") / "users.db"
    with running(open_service(model, store, settings=SETTINGS, name="smollm2")) as url:
        yield url


@pytest.mark.model
def test_a_real_model_answers_in_words(small: str) -> None:
    chat = chat_of(small, model="smollm2", max_tokens=24)
    assert "Paris" in chat.invoke("What is the capital of France? Answer in one word.").text
