"""ReAct prompting (arXiv 2210.03629): a thought, then an action, as text; results as observations.

A step is two short answers: the thought, unsteered, and the action after it. So steering starts
where the action starts, as it does without a thought, however long the thought is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage

from ..calling.calls import call_grammar
from ..chat.messages import to_message

if TYPE_CHECKING:
    from ...steering.generation.requests import Completion
    from .step_request import StepRequest

THOUGHT, ACTION, OBSERVATION = "Thought:", "Action:", "Observation:"
_THOUGHT_TOKENS = 64
_INSTRUCTIONS = """The functions that you may call, one JSON schema a line:
{schemas}

Write each step as two lines:
Thought: one sentence on what this user means and what to do about it.
Action: {{"name": "<function name>", "arguments": <JSON object>}}
You are then told the result as an observation."""


def ask_with_thought(ask: StepRequest) -> AIMessage:
    """A step in the form of ReAct; the message's content is the thought."""
    return _constrained(ask) if ask.constrained else _free(ask)


def react_system(system: str | None, tools: Sequence[Mapping[str, Any]]) -> str:
    """The system message of ReAct: the prompt, the tools' schemas, and how a step is written."""
    schemas = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    return "\n\n".join(filter(None, [system, _INSTRUCTIONS.format(schemas=schemas)]))


def as_text(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    """A conversation as the text of thoughts, actions and observations."""
    turns = []
    for message in messages:
        if isinstance(message, AIMessage):
            turns.append({"role": "assistant", "content": _written(message)})
        elif isinstance(message, ToolMessage):
            turns.append({"role": "user", "content": f"{OBSERVATION} {message.text}"})
        else:
            role = "system" if isinstance(message, SystemMessage) else "user"
            turns.append({"role": role, "content": message.text})
    return turns


def read_step(text: str) -> tuple[str, str]:
    """The thought and the action that a free answer holds; the action is "" where it has none.

    Example:
        >>> read_step('I search. Action: {"name": "search"}')
        ('I search.', '{"name": "search"}')
    """
    thought, _, action = text.partition(ACTION)
    thought = thought.strip().removeprefix(THOUGHT)
    # What a model makes up after its action is not its to say.
    return " ".join(thought.split()), action.partition(OBSERVATION)[0].strip()


def _constrained(ask: StepRequest) -> AIMessage:
    [first] = _generate(ask, THOUGHT, max_new_tokens=_THOUGHT_TOKENS, stop=("\n", ACTION))
    thought = " ".join(first.text.split())
    begun = f"{THOUGHT} {thought}\n{ACTION}"
    grammar = call_grammar(ask.tools, marked=False)
    [second] = _generate(
        ask, begun, steering=ask.steering, grammar=grammar, max_new_tokens=ask.max_new_tokens
    )
    both = replace(
        second,
        tokens=(*first.tokens, *second.tokens),
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
    )
    return _message(ask, both, thought)


def _free(ask: StepRequest) -> AIMessage:
    [whole] = _generate(
        ask, steering=ask.steering, max_new_tokens=_THOUGHT_TOKENS + ask.max_new_tokens
    )
    thought, action = read_step(whole.text)
    if not action and ask.talks:
        return to_message(replace(whole, text=thought), "text")
    return _message(ask, replace(whole, text=action or whole.text), thought)


def _generate(
    ask: StepRequest,
    begun: str = "",
    *,
    steering: Any = None,
    grammar: str | None = None,
    **options: Any,
) -> list[Completion]:
    from ...steering.generation.requests import Request

    messages = [
        {"role": "system", "content": react_system(ask.system, ask.tools)},
        *as_text(ask.messages),
    ]
    if begun:
        messages.append({"role": "assistant", "content": begun})
    request = Request(messages=messages, steering=steering, grammar=grammar)
    return ask.generate(request, **options)


def _message(ask: StepRequest, completion: Completion, thought: str) -> AIMessage:
    message = to_message(completion, "call", tools=ask.tools, most_calls=1)
    if message.tool_calls:
        message.content = thought
    return message


def _written(message: AIMessage) -> str:
    calls: list[Mapping[str, Any]] = [*message.tool_calls]
    if not calls:
        return message.text
    action = {"name": calls[0]["name"], "arguments": calls[0]["args"]}
    return f"{THOUGHT} {message.text}\n{ACTION} {json.dumps(action, ensure_ascii=False)}"
