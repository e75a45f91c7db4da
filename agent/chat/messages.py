"""One model call: LangChain messages in, a request for the model; its completion, a message out.

The graph and the chat model both go through here, so a message has one form in front of the model
and a tool call one form behind it.
"""

from __future__ import annotations

import secrets
import string
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
from ...steering.prompts.conversation import content_text, tidy_call
from ...tools.toolkit import ToolError
from ..calling.calls import ToolCall, parse_call, read_answer
from ..calling.formats.call_format import CallFormat
from ..calling.formats.table import HERMES

if TYPE_CHECKING:
    from ...steering.generation.requests import Completion, Request
    from ...steering.vectors.steering import Steering

Answer = Literal["call", "text", "either"]
"""What an answer is read as: one tool call, plain text, or whichever of the two it is."""

_ID_LETTERS = string.ascii_letters + string.digits


def to_request(
    messages: Sequence[BaseMessage],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    steering: Steering | None = None,
    grammar: str | None = None,
    call_format: CallFormat = HERMES,
    teach: bool = False,
) -> Request:
    """The model's request for the next message of a conversation.

    Args:
        messages: The conversation so far.
        tools: OpenAI tool dicts that the model is shown.
        steering: What is added inside the forward pass.
        grammar: What the answer must fit, from ``call_grammar``; None is free-form.
        call_format: In which earlier calls are written for a template that shows none.
        teach: As for ``as_taught``.

    Raises:
        TrimtabError: A message holds something else than text and tool calls.
    """
    from ...steering.generation.requests import Request

    dicts = [to_dict(message) for message in messages]
    shown, given = as_taught(dicts, tools, call_format, teach=teach)
    return Request(messages=shown, tools=given, steering=steering, grammar=grammar)


def to_message(
    completion: Completion,
    answer: Answer,
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    most_calls: int | None = None,
    call_format: CallFormat = HERMES,
) -> AIMessage:
    """What the model answered, as a message with proper tool calls and token counts.

    Where a call was expected and none can be read, the text is kept as it was, with an
    ``invalid_tool_calls`` entry that says what is wrong.

    Args:
        completion: The model's answer.
        answer: What it is to be read as.
        tools: What could be called. Without call marks, ``either`` reads only these as calls.
        most_calls: Calls after this many are dropped; None keeps all.
        call_format: The form of calls that the model is taught.
    """
    text = completion.text
    made: dict[str, Any] = {}
    if answer != "text":
        read = read_answer(text, tools=tools, call_format=call_format)
        calls = read.calls[:most_calls]
        marked = has_call_mark(text, call_format)
        if answer == "either" and not marked:
            known = {tool["function"]["name"] for tool in tools}
            calls = calls if all(call.name in known for call in calls) else ()
        if calls:
            made["tool_calls"] = [
                tool_call(name=call.name, args=call.arguments, id=new_call_id()) for call in calls
            ]
        elif answer == "call" or has_call_mark(read.text, call_format):
            problem = parse_call(text, tools=tools, call_format=call_format)
            error = problem.message if isinstance(problem, ToolError) else "expected another tool"
            made["invalid_tool_calls"] = [
                invalid_tool_call(name=None, args=text, id=new_call_id(), error=error)
            ]
        if read.thought:
            made["additional_kwargs"] = {"reasoning_content": read.thought}
        if calls or not read.calls:
            text = read.text
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


def new_call_id() -> str:
    """An id that no other call has, in the form that the strictest templates want.

    Calls are not counted for it: a conversation of which only the last messages are shown would
    give an old number again.
    """
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(9))


def has_call_mark(text: str, call_format: CallFormat) -> bool:
    """Whether a text holds what calls in this format, or in Hermes form, begin with."""
    own = call_format.mark
    return HERMES.mark in text or (bool(own) and own in text)


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


def to_dict(message: BaseMessage) -> dict[str, Any]:
    """A message as an OpenAI-style dict.

    Raises:
        TrimtabError: It holds something else than text and tool calls.
    """
    plain = message.model_copy(update={"content": content_text(message.content)})
    made = convert_to_openai_messages(plain, text_format="string")
    assert isinstance(made, dict)
    return made


def as_taught(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    call_format: CallFormat,
    *,
    teach: bool = False,
) -> tuple[list[Mapping[str, Any]], tuple[Mapping[str, Any], ...]]:
    """A conversation and tools as a prompt shows them to a model of some call format.

    Calls also stand as text in their messages, in this format: templates that show no calls take
    that.

    Args:
        messages: OpenAI-style dicts.
        tools: OpenAI tool dicts.
        call_format: The form of calls.
        teach: Show the tools, calls and results as text: the model's template has another form.

    Returns:
        The messages, and the tools that the template is given.

    Raises:
        TrimtabError: Arguments of a call that are not JSON.
    """
    shown = [_with_calls_as_text(message, call_format) for message in messages]
    if not (teach and tools):
        return shown, tuple(tools)
    from ...steering.prompts.render import with_tools_as_text

    example = ToolCall("function_name", {"argument": "value"})
    return [*with_tools_as_text(shown, tools, call_format.write([example]))], ()


def _with_calls_as_text(message: Mapping[str, Any], call_format: CallFormat) -> Mapping[str, Any]:
    if call_format is HERMES or not message.get("tool_calls"):
        return message
    calls = [tidy_call(call)["function"] for call in message["tool_calls"]]
    read = [ToolCall(call["name"], call.get("arguments", {})) for call in calls]
    try:
        return {**message, "calls_as_text": call_format.write(read)}
    except TrimtabError:  # a name that a model made up, and that this format has no room for
        return message
