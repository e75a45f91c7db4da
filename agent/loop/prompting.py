"""How the model is asked for its next step: by plain function calling, or as ReAct does.

A prompting is a function from what is asked to the model's message. ``PROMPTINGS`` names them;
adding one is adding a function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.messages.tool import tool_call

from ...tools.shop.toolkit import RESPOND
from ..calling.calls import call_grammar
from ..chat.messages import to_message, to_request
from .plain_values import plain_value
from .react import ask_with_thought

if TYPE_CHECKING:
    from ...steering.vectors.steering import Steering


@dataclass(frozen=True)
class Ask:
    """What the model is asked for a step.

    Attributes:
        model: A ``SteeredModel``.
        system: The system prompt.
        messages: The conversation so far.
        tools: OpenAI dicts of the tools that it may call.
        steering: What is added inside the forward pass.
        constrained: Whether the call is held to the tools' schemas.
        talks: Whether an answer that is no call is something said to the user.
        max_new_tokens: At most this many tokens a call.
    """

    model: Any
    system: str
    messages: Sequence[BaseMessage]
    tools: Sequence[Mapping[str, Any]]
    steering: Steering | None
    constrained: bool
    talks: bool
    max_new_tokens: int


Prompting = Callable[[Ask], AIMessage]


def ask_for_call(ask: Ask) -> AIMessage:
    """Plain function calling: the answer is a call in the form that models are taught."""
    request = to_request(
        [SystemMessage(ask.system), *ask.messages],
        ask.tools,
        steering=ask.steering,
        grammar=call_grammar(ask.tools) if ask.constrained else None,
    )
    [completion] = ask.model.generate([request], max_new_tokens=ask.max_new_tokens)
    return to_message(
        completion,
        "either" if ask.talks and not ask.constrained else "call",
        messages=ask.messages,
        tools=ask.tools,
        most_calls=1,
    )


PROMPTINGS: Mapping[str, Prompting] = {"call": ask_for_call, "react": ask_with_thought}


def next_step(prompting: str, ask: Ask) -> AIMessage:
    """The model's next step, with a call or with what is wrong in its place.

    Where the model talks with a user, plain text is said to that user: a call of ``respond``, as
    PersonalWAB counts it. ``response_metadata["seconds"]`` is how long it took.
    """
    started = time.perf_counter()
    message = PROMPTINGS[prompting](ask)
    if not message.tool_calls and not message.invalid_tool_calls:
        said = tool_call(
            name=RESPOND, args={"content": message.text}, id=f"said_{len(ask.messages)}"
        )
        message = message.model_copy(update={"content": "", "tool_calls": [said]})
    for call in message.tool_calls:
        call["args"] = plain_value(call["args"])
    message.response_metadata["seconds"] = time.perf_counter() - started
    return message
