"""Async tools on the shared loop, and signals of the graph's that are no errors of a tool's."""

import asyncio
import multiprocessing
import os
import threading

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from trimtab.tools.spec import ToolSpec
from trimtab.tools.toolkit import Toolkit


def kept_client():
    """A tool that keeps a client, bound to the loop of its first use, as network clients are."""
    client = {}

    async def fetch(key: str) -> str:
        """Fetch a value."""
        if not client:
            client["asked"], client["answered"] = asyncio.Queue(), asyncio.Queue()

            async def work():
                while True:
                    await client["answered"].put((await client["asked"].get()).upper())

            client["task"] = asyncio.get_running_loop().create_task(work())
        await client["asked"].put(key)
        return await client["answered"].get()

    return fetch


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_kept_client_lives_on(timeout):
    toolkit = Toolkit([ToolSpec.from_function(kept_client(), timeout=timeout)])

    async def within_a_loop(key):
        return toolkit.call("fetch", {"key": key})

    assert toolkit.call("fetch", {"key": "a"}).content == "A"
    assert toolkit.call("fetch", {"key": "b"}).content == "B"
    assert asyncio.run(within_a_loop("c")).content == "C"
    found = []
    thread = threading.Thread(target=lambda: found.append(toolkit.call("fetch", {"key": "d"})))
    thread.start()
    thread.join()
    assert found[0].content == "D"


def test_an_async_tool_that_is_late_is_cancelled_and_the_next_call_is_answered():
    begun, cancelled = threading.Event(), threading.Event()

    async def wait(long: bool) -> str:
        """Wait."""
        begun.set()
        try:
            if long:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "done"

    timeout = 0.05
    while not begun.is_set():  # what is late before it has begun never begins
        toolkit = Toolkit([ToolSpec.from_function(wait, timeout=timeout)])
        assert toolkit.call("wait", {"long": True}).error.kind == "timeout"
        timeout *= 2
    assert cancelled.wait(60)
    slow = Toolkit([ToolSpec.from_function(wait)])
    assert slow.call("wait", {"long": False}).content == "done"


def test_an_async_tool_may_call_another():
    async def inner() -> str:
        """Say it."""
        await asyncio.sleep(0)
        return "inside"

    async def outer() -> str:
        """Ask."""
        return Toolkit([inner]).call("inner", {}).content

    assert Toolkit([outer]).call("outer", {}).content == "inside"


@pytest.mark.parametrize("raised", [SystemExit(2), asyncio.CancelledError(), ValueError("no")])
def test_whatever_an_async_tool_raises_the_loop_lives_on(raised):
    async def fail() -> None:
        """Fail."""
        raise raised

    async def work() -> str:
        """Work."""
        return "works"

    toolkit = Toolkit([fail, work])
    assert toolkit.call("fail", {}).error.kind == "failed"
    assert toolkit.call("work", {}).content == "works"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_gets_a_loop_of_its_own():
    async def say() -> str:
        """Say."""
        return "here"

    toolkit = Toolkit([say])
    assert toolkit.call("say", {}).content == "here"
    context = multiprocessing.get_context("fork")
    said = context.Queue()
    child = context.Process(target=lambda: said.put(toolkit.call("say", {}).content))
    child.start()
    assert said.get(timeout=60) == "here"
    child.join()


class Words(TypedDict):
    said: str


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_interrupt_in_a_tool_pauses_the_graph(timeout, asynchronous):
    def pay(euros: int) -> str:
        """Pay."""
        return f"paid {euros}: {interrupt('really?')}"

    async def pay_later(euros: int) -> str:
        """Pay."""
        return pay(euros)

    function = pay_later if asynchronous else pay
    toolkit = Toolkit([ToolSpec.from_function(function, name="pay", timeout=timeout)])
    graph = StateGraph(Words)
    graph.add_node("call", lambda state: {"said": toolkit.call("pay", {"euros": 5}).content})
    graph.add_edge(START, "call")
    graph.add_edge("call", END)
    made = graph.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    paused = made.invoke({"said": ""}, config)
    assert paused["__interrupt__"][0].value == "really?"
    assert made.invoke(Command(resume="yes"), config)["said"] == "paid 5: yes"


def test_an_interrupt_outside_a_graph_reaches_the_caller():
    def stop() -> None:
        """Stop."""
        raise GraphInterrupt

    with pytest.raises(GraphInterrupt):
        Toolkit([ToolSpec.from_function(stop, timeout=60)]).call("stop", {})
