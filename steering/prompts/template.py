"""What a chat template does with tools, calls and results: found by rendering known ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .conversation import Message, calls_as_text, named_ids, one_call_each, results_as_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NAME, _OTHER, _RESULT, _ASKED = "probe_tool", "probe_other", "probe_result", "probe_question"
_ARGUMENTS = {"word": "probe value", "sure": True}
_PYTHON = "'sure': True"
_ID = "probeid01"


def _tool(name: str) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {
            "word": {"type": "string", "description": "A word."},
            "sure": {"type": "boolean", "description": "Whether."},
        },
        "required": ["word"],
    }
    return {
        "type": "function",
        "function": {"name": name, "description": "Probes.", "parameters": parameters},
    }


def _call(name: str, identity: str, arguments: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _talk(*calls: Mapping[str, Any], result: bool = True) -> list[Message]:
    asked = {"role": "user", "content": _ASKED}
    called = {"role": "assistant", "content": "", "tool_calls": list(calls)}
    probed = [
        {
            "role": "tool",
            "content": _RESULT,
            "tool_call_id": call["id"],
            "name": call["function"]["name"],
        }
        for call in calls
    ]
    return [asked, called, *(probed if result else [])]


@dataclass(frozen=True)
class Template:
    """What a template does.

    Attributes:
        writes_tools: It shows tools.
        writes_results: It shows what a tool answered.
        string_arguments: It wants a call's arguments as JSON text.
        names_by_id: It shows a call's id in the place of the tool's name.
        one_call: It shows only the first call of a message.
        shown_call: What it makes of a call of ``PROBE``; empty where it shows none.
    """

    writes_tools: bool
    writes_results: bool
    string_arguments: bool
    names_by_id: bool
    one_call: bool
    shown_call: str

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerBase) -> Template:
        """The tokenizer's template, looked at once."""
        return _looked_at(tokenizer, json.dumps(tokenizer.chat_template))

    def fitted(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The conversation as this template writes all of it."""
        if not any(message["role"] == "tool" or "tool_calls" in message for message in messages):
            return messages
        if self.names_by_id:
            messages = named_ids(messages)
        if self.one_call:
            messages = one_call_each(messages)
        if not self.shown_call:
            messages = calls_as_text(messages)
        if not self.writes_results:
            messages = results_as_text(messages)
        return _with_string_arguments(messages) if self.string_arguments else messages


PROBE: tuple[str, Mapping[str, Any]] = (_NAME, _ARGUMENTS)
"""The tool's name and the arguments of the call that ``Template.shown_call`` shows."""

PROBE_TOOL: Mapping[str, Any] = _tool(_NAME)
"""That tool."""


def applied(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    *,
    prompts: bool = True,
) -> str:
    """What the template makes of a conversation.

    Args:
        tokenizer: Whose template it is.
        messages: The conversation; of a last message of the assistant without calls, the answer
            goes on.
        tools: OpenAI tool dicts.
        prompts: Whether an answer is to follow.

    Raises:
        jinja2.TemplateError: The template refuses the conversation.
    """
    if _wants_parts(tokenizer, json.dumps(tokenizer.chat_template)):
        messages = _in_parts(messages)
    return _written(tokenizer, messages, tools, prompts=prompts)


def _written(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    *,
    prompts: bool = True,
) -> str:
    begun = prompts and messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")
    text = tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        tools=[dict(tool) for tool in tools] or None,
        tokenize=False,
        add_generation_prompt=prompts and not begun,
        continue_final_message=begun,
        # Templates of models that can think aloud first read this; others ignore it. Answers
        # here are short, and constrained ones could not hold the thoughts.
        enable_thinking=False,
    )
    assert isinstance(text, str)
    return text


@lru_cache(maxsize=16)
def _wants_parts(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    """Whether a template, as of a model that sees images, leaves out content that is plain text."""
    asked: list[Message] = [{"role": "user", "content": _ASKED}]

    def shows(messages: Sequence[Message]) -> bool:
        try:
            return _ASKED in _written(tokenizer, messages, ())
        except refusals():
            return False

    return not shows(asked) and shows(_in_parts(asked))


def _in_parts(messages: Sequence[Message]) -> list[Message]:
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if message.get("content")
        else {**message, "content": []}
        for message in messages
    ]


def refusals() -> tuple[type[Exception], ...]:
    """What a template raises that does not take a conversation."""
    from jinja2 import TemplateError

    return TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError


@lru_cache(maxsize=16)
def _looked_at(tokenizer: PreTrainedTokenizerBase, template: str) -> Template:
    tools = [_tool(_NAME), _tool(_OTHER)]
    asked = _tried(tokenizer, [{"role": "user", "content": _ASKED}], tools)
    mapped = _tail(tokenizer, _talk(_call(_NAME, _ID, _ARGUMENTS), result=False), tools)
    written = _talk(_call(_NAME, _ID, json.dumps(_ARGUMENTS)), result=False)
    as_text = _tail(tokenizer, written, tools)
    string_arguments = (not mapped or _PYTHON in mapped) and bool(as_text)
    shown = as_text if string_arguments else mapped
    arguments: Any = json.dumps(_ARGUMENTS) if string_arguments else _ARGUMENTS
    one, two = _call(_NAME, _ID, arguments), _call(_OTHER, "probeid02", arguments)
    both = _tail(tokenizer, _talk(one, two), tools)
    answered = _tail(tokenizer, _talk(one), tools)
    return Template(
        writes_tools=_NAME in asked,
        writes_results=not answered or _RESULT in answered,
        string_arguments=string_arguments,
        names_by_id=_NAME not in shown and _ID in shown,
        one_call=_NAME in both and _OTHER not in both,
        shown_call=shown if _NAME in shown or _ID in shown else "",
    )


def _tail(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
) -> str:
    """What is written behind the question; empty where the template refuses the conversation."""
    return _tried(tokenizer, messages, tools).rpartition(_ASKED)[2]


def _tried(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
) -> str:
    try:
        return applied(tokenizer, messages, tools, prompts=messages[-1]["role"] == "user")
    except refusals():
        return ""


def _with_string_arguments(messages: Sequence[Message]) -> list[Message]:
    changed = []
    for message in messages:
        calls = [
            {
                **call,
                "function": {
                    **call["function"],
                    "arguments": json.dumps(
                        call["function"].get("arguments") or {}, ensure_ascii=False
                    ),
                },
            }
            for call in message.get("tool_calls", ())
        ]
        changed.append({**message, "tool_calls": calls} if calls else message)
    return changed
