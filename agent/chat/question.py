"""One question to a model and how its answer is read, for whoever speaks in OpenAI's terms.

The chat model and the server both ask through here, so that a tool choice, a stop text and a
schema mean the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage

from ..calling.detection import call_format_of, shown_by_template
from ..calling.formats.call_format import CallFormat
from ..calling.grammar import json_grammar, or_json
from ..calling.tool_choice import ToolChoice, answer_grammar, as_dict, read_choice, several_calls
from .messages import Answer, as_taught, before_any, to_message
from .streaming import AnswerReader

if TYPE_CHECKING:
    from ...steering.generation.requests import Completion, Request
    from ...steering.vectors.steering import Steering


@dataclass(frozen=True)
class Question:
    """What is asked, and how the answer is read.

    Attributes:
        request: What the model is asked.
        answer: What its answer is read as.
        stop: Texts that end the answer; tool calls are not cut by them.
        most_calls: Calls after this many are dropped; None keeps all.
        call_format: The form of calls that the model is taught.
        tools: What it may call, as OpenAI tool dicts.
    """

    request: Request
    answer: Answer
    stop: tuple[str, ...]
    most_calls: int | None
    call_format: CallFormat
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def decoding_stop(self) -> tuple[str, ...]:
        """The texts at which decoding ends; where calls may come, the text is cut afterwards."""
        return self.stop if self.answer == "text" else ()

    def reader(self) -> AnswerReader:
        """What tells the parts of a streamed answer apart."""
        return AnswerReader(
            self.answer,
            strict=self.request.grammar is not None,
            stop=self.stop,
            call_format=self.call_format,
        )

    def message(self, completion: Completion) -> AIMessage:
        """The whole answer."""
        message = to_message(
            completion,
            self.answer,
            tools=self.tools,
            most_calls=self.most_calls,
            call_format=self.call_format,
        )
        if self.answer != "call" and isinstance(message.content, str):
            message.content = before_any(message.content, self.stop)
        return message


def question_of(
    model: object,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    tool_choice: ToolChoice = None,
    parallel_tool_calls: bool | None = None,
    stop: Sequence[str] = (),
    schema: Mapping[str, Any] | None = None,
    steering: Steering | None = None,
    draws: str = "",
    call_format: CallFormat | str | None = None,
) -> Question:
    """The question that a conversation and its options come to.

    Args:
        model: A ``SteeredModel``, whose template says in which form it calls tools.
        messages: OpenAI-style dicts.
        tools: OpenAI tool dicts, or dicts of other makers' forms.
        tool_choice: In any of OpenAI's and LangChain's forms.
        parallel_tool_calls: Whether an answer may hold several calls. None: where the choice is
            the model's own.
        stop: Texts that end an answer.
        schema: A JSON Schema that an answer in words fits; None leaves the words free.
        steering: What is added inside the forward pass.
        draws: Names what is drawn; see ``Request``.
        call_format: The form of calls, or its name; None is that of the model's template.

    Raises:
        TrimtabError: A call format that nobody knows, a tool choice that is none of these, or a
            schema that cannot be enforced.
    """
    from ...steering.generation.requests import Request

    tools = [as_dict(dict(tool)) for tool in tools]
    choice = read_choice(tool_choice, [tool["function"]["name"] for tool in tools])
    answer: Answer = "text"
    if tools and choice != "none":
        answer = "either" if choice is None else "call"
    own = call_format_of(model, call_format)
    grammar = None
    if answer == "text":
        grammar = None if schema is None else json_grammar(schema)
    elif schema is None or answer == "call":
        grammar = answer_grammar(tools, choice, parallel_tool_calls, own)
    else:
        calls = answer_grammar(tools, "any", parallel_tool_calls is not False, own)
        assert calls is not None  # a choice of "any" has a grammar, or is refused
        grammar = or_json(calls, schema)
    shown, given = as_taught(messages, tools, own, teach=not shown_by_template(model, own))
    request = Request(
        messages=shown,
        tools=given,
        steering=steering,
        grammar=grammar,
        draws=draws,
    )
    most_calls = None if several_calls(choice, parallel_tool_calls) else 1
    stops = tuple(word for word in stop if word)
    return Question(request, answer, stops, most_calls, own, tuple(tools))
