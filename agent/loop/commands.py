"""What a tool does to the graph around it: LangGraph's commands, in the agent's loop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, get_type_hints

from langchain_core.messages import BaseMessage, ToolMessage, convert_to_messages
from langgraph.graph import END
from typing_extensions import TypedDict

from ...errors import TrimtabError
from .state import AgentInput, AgentState, LoopState

OWN_FIELDS = frozenset(get_type_hints(LoopState)) - {"messages"}
"""What only the loop itself writes."""


class StateSchemas(NamedTuple):
    """The graph's schemas, with the fields that tools read and write of their own."""

    state: Any
    input: Any
    output: Any
    fields: frozenset[str]


def state_schemas(own: type | None) -> StateSchemas:
    """The loop's schemas with a person's own fields.

    Args:
        own: A typed dict or another class whose annotations are further fields; None is none.

    Raises:
        TrimtabError: It has no annotations, or changes a field of the loop's.
    """
    if own is None:
        return StateSchemas(LoopState, AgentInput, AgentState, frozenset())
    theirs = get_type_hints(own, include_extras=True)
    ours = get_type_hints(LoopState, include_extras=True)
    changed = sorted(name for name in theirs if name in ours and theirs[name] != ours[name])
    further = {name: kind for name, kind in theirs.items() if name not in ours}
    if changed or not further:
        wrong = f"one that changes {', '.join(changed)}" if changed else "one that adds none"
        raise TrimtabError(
            f"expected a state schema that adds fields to the agent's, got {wrong}: {own!r}"
        )

    def widened(schema: type) -> Any:
        hints = get_type_hints(schema, include_extras=True)
        return TypedDict(schema.__name__, {**hints, **further}, total=False)  # type: ignore[operator]

    return StateSchemas(
        widened(LoopState), widened(AgentInput), widened(AgentState), frozenset(further)
    )


class Applied(NamedTuple):
    """What commands do here: fields to write, messages to show after the result, an end."""

    update: dict[str, Any]
    messages: list[BaseMessage]
    ends: bool


def applied(commands: Sequence[Any], call_id: str, fields: Collection[str]) -> Applied:
    """What a tool's commands do to the agent's own graph.

    Args:
        commands: LangGraph's, of one call.
        call_id: The call's; the message that answers it is left out, since the loop shows it.
        fields: Of the state, those that tools may write.

    Raises:
        TrimtabError: One writes what the state does not have or what is the loop's, or goes to a
            node.
    """
    update: dict[str, Any] = {}
    messages: list[BaseMessage] = []
    ends = False
    for command in commands:
        wanted = command.goto if isinstance(command.goto, Sequence) else [command.goto]
        wanted = [command.goto] if isinstance(command.goto, str) else wanted
        if any(node != END for node in wanted):
            raise TrimtabError(
                f"a tool can end the agent with goto END or go to a node of the parent graph; "
                f"got goto {command.goto!r}"
            )
        ends |= bool(wanted)
        given = command.update or {}
        if not isinstance(given, Mapping):
            given = {"messages": given}
        unknown = sorted(set(given) - set(fields) - {"messages"})
        if unknown:
            whose = "fields of the loop's" if set(unknown) <= OWN_FIELDS else "no fields of it"
            raise TrimtabError(
                f"a tool writes {', '.join(unknown)} in the agent's state, which are {whose}; "
                "declare fields of your own with build_agent(state_schema=...)"
            )
        for message in convert_to_messages(given.get("messages") or []):
            if not (isinstance(message, ToolMessage) and message.tool_call_id == call_id):
                messages.append(message)
        update |= {name: value for name, value in given.items() if name != "messages"}
    return Applied(update, messages, ends)
