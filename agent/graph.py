"""The agent: a LangGraph loop that recalls, steers, acts, calls the tool, and observes.

    START -> recall -> steer -> act -> call -> observe -> END
                         ^                        |
                         +------------------------+

``recall`` puts what is remembered in the user's message. ``steer`` asks the user's dictionary
about the current request, anew at every step. ``act`` is one model call. ``call`` runs the tool.
``observe`` shows the model what came of it, and either ends the episode or goes back to ``steer``:
after an error for another try, after a tool that is not a final one for the next step.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels import UntrackedValue
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import Command
from pydantic_core import to_jsonable_python

from ..errors import TrimtabError
from ..tools.toolkit import ToolError, ToolResult
from .calls import call_grammar
from .memory import Memory, remembered_lines
from .messages import last_request, picked_entries, steering_for, to_message, to_request
from .prompt import SYSTEM_PROMPT, user_message

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Checkpointer

    from ..steering.dictionary import SteeringDictionary
    from ..steering.settings import SteeringSettings
    from ..tools.toolkit import Toolkit

Decode = Literal["constrained", "free"]
Outcome = Literal["done", "gave up", "step limit"]


class AgentInput(TypedDict):
    """What an episode starts from.

    Attributes:
        messages: The user's request as the last human message.
        user_id: Whose request; ``configurable: {"user_id": ...}`` of the config does as well.
        before: The request's time; nothing of this time or later is recalled or picked.
        purchases: Lines that describe what the user bought lately.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    user_id: NotRequired[str]
    before: NotRequired[int]
    purchases: NotRequired[list[str]]


class AgentState(AgentInput):
    """What the nodes pass on; plain data, so that a checkpoint holds all of it.

    Attributes:
        request: The user's own words of the current request.
        remembered: The memory lines that the prompt shows.
        picked: The dictionary entries picked for the current step, see ``picked_entries``.
        steering: What those entries make. Never in a checkpoint: it is selected again.
        result: The last ``ToolResult``.
        steps: One record a step so far, the fields of ``episode.Step``.
        outcome: How the episode ended; None while it goes on.
    """

    request: str
    remembered: list[str]
    picked: list[dict[str, Any]]
    steering: Annotated[Any, UntrackedValue]
    result: dict[str, Any]
    steps: list[dict[str, Any]]
    outcome: Outcome | None


def build_agent(
    model: Any,
    toolkit: Toolkit,
    *,
    dictionaries: Mapping[str, SteeringDictionary] | None = None,
    settings: SteeringSettings | None = None,
    memory: Memory | None = None,
    decode: Decode = "constrained",
    final_tools: Collection[str] | None = None,
    max_retries: int = 2,
    step_limit: int = 8,
    max_new_tokens: int = 128,
    checkpointer: Checkpointer = None,
) -> CompiledStateGraph[AgentState, None, AgentInput, AgentState]:
    """Build the agent as a compiled LangGraph graph.

    Args:
        model: A ``SteeredModel``, or a ``BatchedModel`` to run many episodes at once.
        toolkit: The tools that it may call.
        dictionaries: By user; None is no steering.
        settings: Which entries are picked and how they are added; None is the default.
        memory: What of the past goes in the prompt; None is nothing.
        decode: ``constrained`` calls always fit the tools' schemas; ``free`` ones are parsed.
        final_tools: A successful call of one of these ends the episode. Default: any tool, as in
            PersonalWAB's single-turn track.
        max_retries: How many failed calls are answered with their error for another try.
        step_limit: At most this many model calls.
        max_new_tokens: At most this many tokens a model call.
        checkpointer: LangGraph's, to keep and resume episodes.

    Raises:
        TrimtabError: A final tool that the toolkit does not have, or a limit out of range.

    Example:
        >>> agent = build_agent(model, toolkit, dictionaries={"u1": d})  # doctest: +SKIP
        >>> agent.invoke(
        ...     {"messages": [("user", "something for rainy days")]},
        ...     {"configurable": {"user_id": "u1"}},
        ... )["steps"]  # doctest: +SKIP
    """
    unknown = sorted(set(final_tools or ()) - set(toolkit.names))
    if unknown:
        raise TrimtabError(f"expected final tools among {', '.join(toolkit.names)}; got {unknown}")
    if decode not in ("constrained", "free"):
        raise TrimtabError(f"expected decode constrained or free, got {decode!r}")
    if max_retries < 0 or step_limit < 1:
        raise TrimtabError(
            "expected max_retries of at least 0 and step_limit of at least 1; got "
            f"{max_retries} and {step_limit}"
        )
    final = frozenset(toolkit.names if final_tools is None else final_tools)
    tools = toolkit.schemas()
    grammar = call_grammar(tools) if decode == "constrained" else None

    def select(state: AgentState, config: RunnableConfig) -> Any:
        return steering_for(
            model,
            dictionaries,
            _user_of(state, config),
            state["request"],
            before=state.get("before"),
            settings=settings,
        )

    def recall(state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        said = last_request(state["messages"])
        request = said.text
        lines: list[str] = []
        if memory is not None:
            user_id = _user_of(state, config)
            if user_id is None:
                raise TrimtabError(
                    "memory needs to know the user; pass config={'configurable': {'user_id': ...}}"
                )
            lines = remembered_lines(memory.recall(user_id, request, state.get("before")))
        content = user_message(request, purchases=state.get("purchases", ()), memory=lines)
        return {
            "messages": [HumanMessage(content, id=said.id)],  # in the place of what was said
            "request": request,
            "remembered": lines,
            "steps": [],
            "outcome": None,
        }

    def steer(state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        steering = select(state, config)
        return {"steering": steering, "picked": picked_entries(steering)}

    def act(state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        steering = state.get("steering")
        if steering is None and state["picked"]:  # resumed from a checkpoint before this node
            steering = select(state, config)
        request = to_request(
            [SystemMessage(SYSTEM_PROMPT), *state["messages"]],
            tools,
            steering=steering,
            grammar=grammar,
        )
        started = time.perf_counter()
        [completion] = model.generate([request], max_new_tokens=max_new_tokens)
        message = to_message(completion, "call", messages=state["messages"], most_calls=1)
        message.response_metadata["seconds"] = time.perf_counter() - started
        return {"messages": [message]}

    def call(state: AgentState) -> dict[str, Any]:
        message = state["messages"][-1]
        assert isinstance(message, AIMessage)
        if message.tool_calls:
            wanted = message.tool_calls[0]
            result = toolkit.call(wanted["name"], wanted["args"])
        else:
            reason = message.invalid_tool_calls[0]["error"] or "there is no tool call"
            result = ToolResult.of_error(ToolError("unparsable", reason))
        # A tool may return anything; a checkpoint and a record hold plain data.
        plain = replace(result, value=to_jsonable_python(result.value, fallback=str))
        return {"result": asdict(plain)}

    def observe(state: AgentState) -> Command[Literal["steer", "__end__"]]:
        message, result = state["messages"][-1], state["result"]
        assert isinstance(message, AIMessage)
        wanted = (message.tool_calls or message.invalid_tool_calls)[0]
        failed = result["error"] is not None
        shown = ToolMessage(
            content=result["content"],
            tool_call_id=wanted["id"] or "",
            name=wanted["name"],
            status="error" if failed else "success",
        )
        steps = [*state["steps"], _step(message, result, state["picked"])]
        outcome: Outcome | None = None
        if not failed and wanted["name"] in final:
            outcome = "done"
        elif sum(step["error"] is not None for step in steps) > max_retries:
            outcome = "gave up"
        elif len(steps) >= step_limit:
            outcome = "step limit"
        goto: Literal["steer", "__end__"] = "__end__" if outcome else "steer"
        update = {"messages": [shown], "steps": steps, "outcome": outcome}
        return Command(update=update, goto=goto)

    graph = StateGraph(AgentState, input_schema=AgentInput)
    graph.add_node("recall", recall)
    graph.add_node("steer", steer)
    graph.add_node("act", act)
    graph.add_node("call", call)
    graph.add_node("observe", observe)
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "steer")
    graph.add_edge("steer", "act")
    graph.add_edge("act", "call")
    graph.add_edge("call", "observe")
    return graph.compile(checkpointer=checkpointer, name="trimtab")


def _user_of(state: AgentState, config: RunnableConfig) -> str | None:
    named = config.get("configurable", {}).get("user_id")
    return named if named is not None else state.get("user_id")


def _step(
    message: AIMessage, result: dict[str, Any], picked: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record of one step; see ``episode.Step``."""
    made = message.tool_calls[0] if message.tool_calls else None
    usage = message.usage_metadata or {"input_tokens": 0, "output_tokens": 0}
    return {
        "text": message.text if made is None else "",
        "call": made and {"name": made["name"], "arguments": made["args"], "id": made["id"]},
        "content": result["content"],
        "value": result["value"],
        "error": result["error"],
        "picked": picked,
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "forced_tokens": message.response_metadata["forced_tokens"],
        "seconds": message.response_metadata["seconds"],
    }
