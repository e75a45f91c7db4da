"""LangChain tools that are given more than the model's arguments, in the agent's graph."""

from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolArg, InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, InjectedStore, ToolNode, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt

from trimtab.agent import build_agent
from trimtab.errors import TrimtabError
from trimtab.tools import Toolkit


def ask(text, **more):
    return {"messages": [("user", text)], **more}


class Cart(TypedDict, total=False):
    cart: list[str]


class Who(TypedDict):
    name: str


@tool
def everything(
    query: str,
    call_id: Annotated[str, InjectedToolCallId],
    state: Annotated[dict, InjectedState],
    cart: Annotated[list, InjectedState("cart")],
    store: Annotated[BaseStore, InjectedStore],
    runtime: ToolRuntime,
    config: RunnableConfig,
) -> str:
    """Look at all there is."""
    store.put(("seen",), query, {"id": call_id})
    assert runtime.tool_call_id == call_id and runtime.store is store
    assert runtime.state["messages"][-1].tool_calls[0]["id"] == call_id
    asked = state["messages"][0].content
    user = config["configurable"]["user_id"]
    return f"{query} of {user} ({runtime.context['name']}): {asked}, {cart}"


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # LangChain's own tracing of a runtime
def test_injected_arguments_are_hidden_and_filled_in(scripted, call):
    model = scripted([call("everything", query="q"), "done"])
    store = InMemoryStore()
    agent = build_agent(
        model,
        Toolkit([everything]),
        decode="free",
        state_schema=Cart,
        context_schema=Who,
        tool_store=store,
    )
    end = agent.invoke(
        ask("hello", cart=["mug"]),
        {"configurable": {"user_id": "ann"}},
        context={"name": "Ann"},
    )
    [shown] = model.requests[0].tools
    assert list(shown["function"]["parameters"]["properties"]) == ["query"]
    assert end["steps"][0]["content"] == "q of ann (Ann): hello, ['mug']"
    assert end["outcome"] == "done" and end["messages"][-1].content == "done"
    [kept] = store.search(("seen",))
    assert kept.value["id"] == end["messages"][1].tool_calls[0]["id"]


def test_what_is_injected_cannot_be_written_by_the_model(scripted, call):
    @tool
    def peek(query: str, cart: Annotated[list, InjectedState("cart")]) -> str:
        """Look at the cart."""
        return f"{query}: {cart}"

    model = scripted([call("peek", query="q", cart=["forged"]), "done"])
    agent = build_agent(model, Toolkit([peek]), decode="free", state_schema=Cart)
    assert agent.invoke(ask("hello", cart=["mug"]))["steps"][0]["content"] == "q: ['mug']"


@tool
async def later(query: str, state: Annotated[dict, InjectedState]) -> str:
    """Look, later."""
    return f"{query} after {len(state['messages'])} messages"


def own_function(query: str, runtime: ToolRuntime, times: int = 1) -> dict[str, Any]:
    """Look.

    Args:
        query: What for.
        times: How often.
    """
    return {"query": query * times, "id": bool(runtime.tool_call_id)}


def test_async_tools_and_plain_functions_are_injected_too(scripted, call):
    model = scripted([call("later", query="q"), call("own_function", query="ab", times=2), "done"])
    toolkit = Toolkit([later, own_function])
    shown = toolkit.spec("own_function").parameters
    assert list(shown["properties"]) == ["query", "times"]
    assert shown["properties"]["query"]["description"] == "What for."
    end = build_agent(model, toolkit, decode="free").invoke(ask("hello"))
    assert [step["content"] for step in end["steps"][:2]] == [
        "q after 2 messages",
        '{"query": "abab", "id": true}',
    ]
    assert end["steps"][1]["value"] == {"query": "abab", "id": True}


def test_injected_tools_answer_outside_a_graph_as_far_as_they_can():
    toolkit = Toolkit([own_function, later, everything])
    assert toolkit.call("own_function", {"query": "a"}).ok
    assert toolkit.call("later", {"query": "a"}).content == "a after 1 messages"
    missing = toolkit.call("everything", {"query": "a"})
    assert missing.error is not None and "\n" not in missing.error.message

    @tool
    def private(query: str, user: Annotated[str, InjectedToolArg]) -> str:
        """Nobody but the program says who."""
        return query + user

    assert Toolkit([private]).call("private", {"query": "a"}).error.kind == "failed"


@tool
def add(item: str, call_id: Annotated[str, InjectedToolCallId], runtime: ToolRuntime) -> Command:
    """Put something in the cart."""
    return Command(
        update={
            "cart": [*runtime.state.get("cart", []), item],
            "messages": [ToolMessage(f"added {item}", tool_call_id=call_id)],
        }
    )


def test_a_command_writes_the_state(scripted, call):
    model = scripted([call("add", item="mug"), call("add", item="pen"), "two things"])
    agent = build_agent(
        model,
        Toolkit([add]),
        decode="free",
        state_schema=Cart,
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "1"}}
    end = agent.invoke(ask("hello"), config)
    assert end["cart"] == ["mug", "pen"]
    assert agent.get_state(config).values["cart"] == ["mug", "pen"]
    shown = [m for m in end["messages"] if isinstance(m, ToolMessage)]
    assert [m.content for m in shown] == ["added mug", "added pen"]
    assert shown[0].tool_call_id == end["messages"][1].tool_calls[0]["id"]
    assert model.requests[1].messages[-1]["content"] == "added mug"


def test_a_field_that_the_state_lacks_is_said_to_the_model(scripted, call):
    model = scripted([call("add", item="mug"), "sorry"])
    end = build_agent(model, Toolkit([add]), decode="free").invoke(ask("hello"))
    assert end["steps"][0]["error"]["kind"] == "failed"
    assert "cart" in end["steps"][0]["content"] and "state_schema" in end["steps"][0]["content"]


def test_a_command_may_add_messages_and_end_the_agent(scripted, call):
    @tool
    def over(call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Be done."""
        said = [ToolMessage("bye", tool_call_id=call_id), HumanMessage("thanks")]
        return Command(update={"messages": said}, goto=END)

    model = scripted([call("over")])
    end = build_agent(model, Toolkit([over]), decode="free").invoke(ask("hello"))
    assert end["outcome"] == "done" and len(model.requests) == 1
    assert [m.content for m in end["messages"][-2:]] == ["bye", "thanks"]


def test_a_command_hands_over_to_the_graph_around(scripted, call):
    @tool
    def hand_over(call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Let a person do it."""
        said = [ToolMessage("handed over", tool_call_id=call_id)]
        return Command(goto="person", update={"messages": said}, graph=Command.PARENT)

    agent = build_agent(scripted([call("hand_over")]), Toolkit([hand_over]), decode="free")
    around = StateGraph(MessagesState)
    around.add_node("agent", agent, destinations=("person",))
    around.add_node("person", lambda state: {"messages": [("ai", "a person here")]})
    around.add_edge(START, "agent")
    end = around.compile().invoke(ask("hello"))
    assert [m.content for m in end["messages"]][-2:] == ["handed over", "a person here"]


def test_a_direct_return_is_the_answer(scripted, call):
    @tool(return_direct=True)
    def answer(query: str) -> str:
        """Answer at once."""
        return f"{query}!"

    model = scripted([call("answer", query="so")])
    end = build_agent(model, Toolkit([answer]), decode="free").invoke(ask("hello"))
    assert end["outcome"] == "done" and end["messages"][-1].content == "so!"
    assert Toolkit([answer]).to_langchain()[0].return_direct


def test_an_artifact_is_the_value_and_content_is_what_is_shown():
    @tool(response_format="content_and_artifact")
    def numbers(n: int) -> tuple[str, list[int]]:
        """Count."""
        return f"{n} numbers", list(range(n))

    @tool(response_format="content_and_artifact")
    def seen(n: int, state: Annotated[dict, InjectedState]) -> tuple[list[Any], list[int]]:
        """Count, and show."""
        blocks = [{"type": "text", "text": "an image"}, {"type": "image", "mime_type": "image/png"}]
        return blocks, list(range(n))

    toolkit = Toolkit([numbers, seen])
    first, second = toolkit.call("numbers", {"n": 2}), toolkit.call("seen", {"n": 2})
    assert (first.content, first.value) == ("2 numbers", [0, 1])
    assert (second.content, second.value) == ("an image\n[image, image/png]", [0, 1])


def test_a_tool_that_handles_its_own_errors_has_failed_all_the_same():
    @tool
    def strict(n: int) -> int:
        """Refuse."""
        from langchain_core.tools import ToolException

        raise ToolException(f"not {n}")

    strict.handle_tool_error = True
    result = Toolkit([strict]).call("strict", {"n": 3})
    assert result.error is not None and result.content == "Error: not 3"


def test_an_injected_tool_pauses_the_graph(scripted, call):
    @tool
    def pay(euros: int, state: Annotated[dict, InjectedState]) -> str:
        """Pay."""
        return f"paid {euros}: {interrupt('really?')}"

    model = scripted([call("pay", euros=3), "paid"])
    agent = build_agent(model, Toolkit([pay]), decode="free", checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    paused = agent.invoke(ask("hello"), config)
    assert paused["__interrupt__"][0].value == "really?"
    end = agent.invoke(Command(resume="yes"), config)
    assert end["steps"][0]["content"] == "paid 3: yes"


def test_injection_outlives_the_way_back_to_langchain():
    made = Toolkit([own_function, add]).to_langchain()
    assert set(made[0].tool_call_schema["properties"]) == {"query", "times"}
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(made))
    graph.add_edge(START, "tools")
    calls = [{"name": "own_function", "args": {"query": "a"}, "id": "7", "type": "tool_call"}]
    end = graph.compile().invoke({"messages": [{"role": "ai", "content": "", "tool_calls": calls}]})
    assert end["messages"][-1].content == '{"query": "a", "id": true}'


@pytest.mark.parametrize("schema", [TypedDict("Same", {"request": int}), TypedDict("None_", {})])
def test_a_state_schema_adds_fields_and_changes_none(scripted, toolkit, schema):
    with pytest.raises(TrimtabError, match="adds fields"):
        build_agent(scripted([]), toolkit, state_schema=schema)
