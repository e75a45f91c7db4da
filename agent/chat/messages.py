"""One model call: LangChain messages in, a request for the model; its completion, a message out.

The graph and the chat model both go through here, so a message has one form in front of the model
and a tool call one form behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    convert_to_openai_messages,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call

from ...errors import TrimtabError
from ...tools.toolkit import ToolError
from ..calling.calls import parse_call, parse_calls

if TYPE_CHECKING:
    from ...steering.generation.requests import Completion, Request
    from ...steering.vectors.steering import Steering

Answer = Literal["call", "text", "either"]
"""What an answer is read as: one tool call, plain text, or whichever of the two it is."""

_CALL_MARK = "<tool_call>"


def to_request(
    messages: Sequence[BaseMessage],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    steering: Steering | None = None,
    grammar: str | None = None,
) -> Request:
    """The model's request for the next message of a conversation.

    Args:
        messages: The conversation so far.
        tools: OpenAI tool dicts that the model is shown.
        steering: What is added inside the forward pass.
        grammar: What the answer must fit, from ``call_grammar``; None is free-form.

    Raises:
        TrimtabError: A message holds something else than text and tool calls.
    """
    from ...steering.generation.requests import Request

    dicts = [_to_dict(message) for message in messages]
    return Request(messages=dicts, tools=tuple(tools), steering=steering, grammar=grammar)


def to_message(
    completion: Completion,
    answer: Answer,
    *,
    messages: Sequence[BaseMessage] = (),
    tools: Sequence[Mapping[str, Any]] = (),
    most_calls: int | None = None,
) -> AIMessage:
    """What the model answered, as a message with proper tool calls and token counts.

    Where a call was expected and none can be read, the text is kept as it was, with an
    ``invalid_tool_calls`` entry that says what is wrong.

    Args:
        completion: The model's answer.
        answer: What it is to be read as.
        messages: The conversation that it answers; its calls are counted on from there.
        tools: What could be called. Without call marks, ``either`` reads only these as calls.
        most_calls: Calls after this many are dropped; None keeps all.
    """
    text = completion.text
    before = calls_so_far(messages)
    calls = parse_calls(text)[:most_calls] if answer != "text" else []
    if answer == "either" and _CALL_MARK not in text:
        known = {tool["function"]["name"] for tool in tools}
        calls = calls if all(call.name in known for call in calls) else []
    made: dict[str, Any] = {}
    if calls:
        made["tool_calls"] = [
            tool_call(name=call.name, args=call.arguments, id=f"call_{before + number}")
            for number, call in enumerate(calls)
        ]
        text = _before_calls(text)
    elif answer == "call" or (answer == "either" and _CALL_MARK in text):
        problem = parse_call(text)
        assert isinstance(problem, ToolError)
        made["invalid_tool_calls"] = [
            invalid_tool_call(name=None, args=text, id=f"call_{before}", error=problem.message)
        ]
    return AIMessage(
        content=text,
        usage_metadata={
            "input_tokens": completion.prompt_tokens,
            "output_tokens": len(completion.tokens),
            "total_tokens": completion.prompt_tokens + len(completion.tokens),
        },
        response_metadata={
            "finish_reason": completion.finish,
            "forced_tokens": completion.forced_tokens,
        },
        **made,
    )


def calls_so_far(messages: Sequence[BaseMessage]) -> int:
    """How many calls a conversation holds; the next one has this number."""
    return sum(
        len(message.tool_calls) + len(message.invalid_tool_calls)
        for message in messages
        if isinstance(message, AIMessage)
    )


def before_any(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop text."""
    return text[: min((text.index(word) for word in stop if word in text), default=None)]


def picked_entries(steering: Steering | None) -> list[dict[str, Any]]:
    """Which dictionary entries a steering was made of, as plain data."""
    return [
        {
            "sample_id": picked.entry.sample_id,
            "key": picked.entry.key,
            "similarity": picked.similarity,
            "weight": picked.weight,
        }
        for picked in (steering.picked if steering else ())
    ]


def last_request(messages: Sequence[BaseMessage]) -> HumanMessage:
    """The user's latest message.

    Raises:
        TrimtabError: The user has said nothing.
    """
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return message
    raise TrimtabError(f"expected a message of the user among {len(messages)} messages, got none")


def _before_calls(text: str) -> str:
    """What was said before the first call: before its mark, or before the fence it stands in."""
    mark = _CALL_MARK if _CALL_MARK in text else "```"
    before, found, _ = text.partition(mark)
    return before.rstrip() if found else ""


def _to_dict(message: BaseMessage) -> dict[str, Any]:
    made = convert_to_openai_messages(message, text_format="string")
    assert isinstance(made, dict)
    if not isinstance(made["content"], str):
        kinds = sorted({str(block.get("type")) for block in made["content"]})
        raise TrimtabError(f"expected messages of text alone, got content of type {kinds}")
    return made
