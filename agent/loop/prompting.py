"""How the model is asked for its next step: by plain function calling, or as ReAct does.

A prompting is a function from what is asked to the model's message. ``PROMPTINGS`` names them;
adding one is adding a function.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from langchain_core.messages import AIMessage
from langchain_core.messages.tool import tool_call

from ...tools.shop.toolkit import RESPOND
from ..calling.calls import call_grammar
from ..calling.detection import call_format_of, shown_by_template
from ..calling.format_grammar import words_grammar
from ..calling.formats.call_format import CallFormat
from ..calling.tool_choice import answer_grammar
from ..chat.messages import Answer, to_message, to_request
from .plain_values import plain_value
from .react import ask_with_thought
from .step_request import Prompting, StepRequest


def ask_for_call(ask: StepRequest) -> AIMessage:
    """Plain function calling: a call is in the form that the model is taught.

    Where words alone are wanted, the tools are not shown: small models else write a call again.
    """
    own = call_format_of(ask.model, ask.call_format)
    tools = () if ask.wanted == "words" else ask.tools
    request = to_request(
        ask.conversation,
        tools,
        steering=ask.steering,
        grammar=_grammar(ask, own),
        call_format=own,
        teach=not shown_by_template(ask.model, own),
    )
    [completion] = ask.generate(request, max_new_tokens=ask.max_new_tokens)
    return to_message(completion, _answer(ask), tools=tools, most_calls=1, call_format=own)


def _grammar(ask: StepRequest, own: CallFormat) -> str | None:
    """What the step must fit; None is free-form."""
    if ask.wanted == "words":
        return words_grammar(own)
    if not ask.constrained:
        return None
    if ask.wanted == "call":
        return call_grammar(ask.tools, call_format=own)
    return answer_grammar(ask.tools, None, False, own)


def _answer(ask: StepRequest) -> Answer:
    """What the step is read as."""
    if ask.wanted == "words":
        return "text"
    if ask.wanted == "call" and (ask.constrained or not ask.talks):
        return "call"
    return "either"


PROMPTINGS: Mapping[str, Prompting] = {"call": ask_for_call, "react": ask_with_thought}


def next_step(prompting: str, ask: StepRequest) -> AIMessage:
    """The model's next step: a call, what is wrong in its place, or words.

    Where the model talks with a user, plain text is said to that user: a call of ``respond``, as
    PersonalWAB counts it. ``response_metadata["seconds"]`` is what the model spent on it, without
    the time in which it answered others; where the model does not tell, how long the step took.
    """
    started = time.perf_counter()
    message = PROMPTINGS[prompting](ask)
    if ask.talks and not message.tool_calls and not message.invalid_tool_calls:
        said = tool_call(
            name=RESPOND, args={"content": message.text}, id=f"said_{len(ask.messages)}"
        )
        message = message.model_copy(update={"content": "", "tool_calls": [said]})
    for call in message.tool_calls:
        call["args"] = plain_value(call["args"])
    message.response_metadata["seconds"] = sum(ask.seconds) or time.perf_counter() - started
    return message
