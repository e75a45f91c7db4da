"""What the agent starts from, what its nodes pass on, and what they read from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels import UntrackedValue
from langgraph.graph import add_messages
from langgraph.managed import RemainingSteps

Outcome = Literal["done", "gave up", "step limit", "user left"]


class AgentInput(TypedDict):
    """What an episode starts from.

    Attributes:
        messages: The user's request as the last human message.
        user_id: Whose request; ``configurable: {"user_id": ...}`` of the config does as well.
        before: The request's time; nothing of this time or later is recalled or picked.
        purchases: Lines that describe what the user bought lately.
        profile: A text about the user, for the prompt.
        draws: Names the episode's draws, where tokens are drawn.
        user_goal: What the user came for, ``UserGoal.to_json()``; a simulated user goes by it, and
            no prompt of the agent's holds it.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    user_id: NotRequired[str]
    before: NotRequired[int]
    purchases: NotRequired[list[str]]
    profile: NotRequired[str]
    draws: NotRequired[str]
    user_goal: NotRequired[dict[str, Any]]


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


class LoopState(AgentState):
    """The same inside the graph, with what is left of LangGraph's recursion limit."""

    remaining_steps: RemainingSteps


def user_of(state: AgentState, config: RunnableConfig) -> Any:
    """Whose request it is, as it was given; None where neither the config nor the input says."""
    named = config.get("configurable", {}).get("user_id")
    return named if named is not None else state.get("user_id")


def is_asked(messages: Sequence[AnyMessage]) -> bool:
    """Whether the next step is the answer to what the user said, or another try at it."""
    last = messages[-1]
    return not isinstance(last, ToolMessage) or last.status == "error"


def asked(state: AgentState) -> str:
    """All that the user asked for so far, in their own words, the latest last."""
    return "\n".join([state["request"], *(s["reply"] for s in state["steps"] if s["reply"])])


def step_record(
    message: AIMessage, result: dict[str, Any], picked: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record of one step; see ``episode.Step``."""
    made = message.tool_calls[0] if message.tool_calls else None
    usage = message.usage_metadata or {"input_tokens": 0, "output_tokens": 0}
    return {
        "text": message.text if made is None else "",
        "thought": "" if made is None else message.text,
        "call": made and {"name": made["name"], "arguments": made["args"], "id": made["id"]},
        "content": result["content"],
        "value": result["value"],
        "error": result["error"],
        "reply": None,
        "picked": picked,
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "forced_tokens": message.response_metadata["forced_tokens"],
        "seconds": message.response_metadata["seconds"],
    }
