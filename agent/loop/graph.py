"""The agent: a LangGraph loop that recalls, steers, acts, calls the tool, and observes.

    START -> recall -> steer -> act -> call -> observe -> END
                         ^                        |
                         +--------(user)----------+

``recall`` puts what is remembered in the user's message. ``steer`` asks the user's dictionary
about the current request, anew at every step. ``act`` is one step of the model. ``call`` runs the
tool. ``observe`` shows the model what came of it, and either ends the episode or goes back to
``steer``: after an error for another try, after a tool that is not a final one for the next step.
Where the agent talks with a user, ``user`` brings what they answer to what was said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, get_args

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from ...errors import TrimtabError
from ...tools.quoting import without_control_tokens
from ...tools.shop.toolkit import RESPOND, STOP, conversation_tools
from ...tools.toolkit import ToolError, ToolResult
from ..calling.calls import call_grammar
from ..chat.messages import last_request, picked_entries, steering_for
from ..users.conversation import Conversation, User
from ..users.user_goal import Errand
from .memory import Memory, remembered_lines
from .plain_values import plain_value
from .prompt import REMINDER, SYSTEM_PROMPT, conversation_prompt, user_message
from .prompting import PROMPTINGS, Ask, next_step
from .state import (
    AgentInput,
    AgentState,
    LoopState,
    Outcome,
    asked,
    is_asked,
    step_record,
    user_of,
)

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Checkpointer

    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.settings import SteeringSettings
    from ...tools.toolkit import Toolkit

Decode = Literal["constrained", "free"]

SINGLE_TURN_STEPS, MULTI_TURN_STEPS = 8, 10
"""Step limits; PersonalWAB's multi-turn track has 10."""
_RETRIES = 2

# Nodes that are still to run when `observe` goes back: steer, act, call, observe; and `user`.
_ROUND = 4


def build_agent(
    model: Any,
    toolkit: Toolkit,
    *,
    store: Mapping[str, SteeringDictionary] | None = None,
    settings: SteeringSettings | None = None,
    memory: Memory | None = None,
    user: User | None = None,
    prompting: str = "call",
    decode: Decode = "constrained",
    final_tools: Collection[str] | None = None,
    max_retries: int | None = None,
    step_limit: int | None = None,
    max_new_tokens: int = 128,
    checkpointer: Checkpointer = None,
) -> CompiledStateGraph[AgentState, None, AgentInput, AgentState]:
    """Build the agent as a compiled LangGraph graph.

    Args:
        model: A ``SteeredModel``, or a ``BatchedModel`` to run many episodes at once.
        toolkit: The tools that it may call.
        store: The users' dictionaries, a ``SteeringStore`` or any mapping by user; None is no
            steering.
        settings: Which entries are picked and how they are added; None is the default.
        memory: What of the past goes in the prompt; None is nothing.
        user: Whom the agent talks with, as in PersonalWAB's multi-turn track: it gets the tools
            ``respond`` and ``stop`` besides. None is the single-turn track.
        prompting: A name in ``PROMPTINGS``: plain function calls, or ReAct's thoughts and actions.
        decode: ``constrained`` calls always fit the tools' schemas; ``free`` ones are parsed.
        final_tools: A successful call of one of these ends the episode. Default: with a user
            ``stop``, else any tool.
        max_retries: How many failed calls are answered with their error for another try.
            Default: with a user as many as there are steps, else 2.
        step_limit: At most this many steps. Default: with a user 10, else 8.
        max_new_tokens: At most this many tokens a call.
        checkpointer: LangGraph's, to keep and resume episodes.

    Raises:
        TrimtabError: A final tool that the toolkit does not have, an unknown prompting or way to
            decode, or a limit out of range.

    Example:
        >>> agent = build_agent(model, toolkit, store={"u1": dictionary})  # doctest: +SKIP
        >>> agent.invoke(
        ...     {"messages": [("user", "something for rainy days")]},
        ...     {"configurable": {"user_id": "u1"}},
        ... )["steps"]  # doctest: +SKIP
    """
    if user is not None:
        toolkit = toolkit.with_tools(*conversation_tools())
        final_tools = [STOP] if final_tools is None else final_tools
    unknown = sorted(set(final_tools or ()) - set(toolkit.names))
    if unknown:
        raise TrimtabError(f"expected final tools among {', '.join(toolkit.names)}; got {unknown}")
    if decode not in get_args(Decode):
        raise TrimtabError(f"expected decode constrained or free, got {decode!r}")
    if prompting not in PROMPTINGS:
        raise TrimtabError(f"expected prompting {' or '.join(PROMPTINGS)}, got {prompting!r}")
    if step_limit is None:
        step_limit = SINGLE_TURN_STEPS if user is None else MULTI_TURN_STEPS
    if max_retries is None:
        max_retries = _RETRIES if user is None else step_limit
    if max_retries < 0 or step_limit < 1:
        raise TrimtabError(
            "expected max_retries of at least 0 and step_limit of at least 1; got "
            f"{max_retries} and {step_limit}"
        )
    final = frozenset(toolkit.names if final_tools is None else final_tools)
    tools = toolkit.schemas()
    if decode == "constrained":
        call_grammar(tools)  # refuses now what could not be held to later
    system = SYSTEM_PROMPT if user is None else conversation_prompt(step_limit)

    def select(state: AgentState, config: RunnableConfig) -> Any:
        return steering_for(
            model,
            store,
            user_of(state, config),
            asked(state),
            before=state.get("before"),
            settings=settings,
        )

    def recall(state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        said = last_request(state["messages"])
        request = said.text
        lines: list[str] = []
        if memory is not None:
            user_id = user_of(state, config)
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
        steering = select(state, config) if is_asked(state["messages"]) else None
        return {"steering": steering, "picked": picked_entries(steering)}

    def act(state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        steering = state.get("steering")
        if steering is None and state["picked"]:  # resumed from a checkpoint before this node
            steering = select(state, config)
        ask = Ask(
            model=model,
            system=system,
            messages=state["messages"],
            tools=tools,
            steering=steering,
            constrained=decode == "constrained",
            talks=user is not None,
            max_new_tokens=max_new_tokens,
        )
        return {"messages": [next_step(prompting, ask)]}

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
        return {
            "result": {
                "content": result.content,
                "value": plain_value(result.value),
                "error": result.error and asdict(result.error),
            }
        }

    def observe(state: LoopState) -> Command[Literal["steer", "user", "__end__"]]:
        message, result = state["messages"][-1], state["result"]
        assert isinstance(message, AIMessage)
        wanted = (message.tool_calls or message.invalid_tool_calls)[0]
        failed = result["error"] is not None
        goes_on = user is not None and not failed and wanted["name"] not in {RESPOND, *final}
        shown = ToolMessage(
            content=f"{result['content']}\n\n{REMINDER}" if goes_on else result["content"],
            tool_call_id=wanted["id"] or "",
            name=wanted["name"],
            status="error" if failed else "success",
        )
        steps = [*state["steps"], step_record(message, result, state["picked"])]
        spoke = user is not None and not failed and wanted["name"] == RESPOND
        outcome: Outcome | None = None
        if not failed and wanted["name"] in final:
            outcome = "done"
        elif sum(step["error"] is not None for step in steps) > max_retries:
            outcome = "gave up"
        elif len(steps) >= step_limit or state["remaining_steps"] <= _ROUND + spoke:
            outcome = "step limit"  # LangGraph's own limit would raise, and lose what was done
        goto: Literal["steer", "user", "__end__"] = "user" if spoke else "steer"
        update = {"messages": [shown], "steps": steps, "outcome": outcome}
        return Command(update=update, goto="__end__" if outcome else goto)

    def answer(state: AgentState) -> Command[Literal["steer", "__end__"]]:
        assert user is not None
        errand = Errand.from_json(state["errand"]) if state.get("errand") else None
        reply = user.answer(Conversation.of(errand, state["request"], state["steps"]))
        text = without_control_tokens(reply.text)
        update: dict[str, Any] = {
            "steps": [*state["steps"][:-1], {**state["steps"][-1], "reply": text}]
        }
        if reply.leaves:
            return Command(update={**update, "outcome": "user left"}, goto="__end__")
        return Command(update={**update, "messages": [HumanMessage(text)]}, goto="steer")

    graph = StateGraph(LoopState, input_schema=AgentInput, output_schema=AgentState)
    graph.add_node("recall", recall)
    graph.add_node("steer", steer)
    graph.add_node("act", act)
    graph.add_node("call", call)
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "steer")
    graph.add_edge("steer", "act")
    graph.add_edge("act", "call")
    graph.add_edge("call", "observe")
    if user is None:
        graph.add_node("observe", observe, destinations=("steer", END))
    else:
        graph.add_node("observe", observe)
        graph.add_node("user", answer)
    compiled: Any = graph.compile(checkpointer=checkpointer, name="trimtab")
    return compiled
