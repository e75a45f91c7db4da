"""ReAct prompting (arXiv 2210.03629): a thought, then an action, as text; results as observations.

A step is two short answers: the thought, unsteered, and the action after it. So steering starts
where the action starts, as it does without a thought, however long the thought is. Where a step
need not be a call, an answer in words can stand in the action's place.
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
    from ...steering.vectors.steering import Steering
    from .step_request import StepRequest

THOUGHT, ACTION, OBSERVATION, ANSWER = "Thought:", "Action:", "Observation:", "Answer:"
_THOUGHT_TOKENS = 64
_INSTRUCTIONS = """The functions that you may call, one JSON schema a line:
{schemas}

Write each step as two lines:
Thought: one sentence on what this user means and what to do about it.
Action: {{"name": "<function name>", "arguments": <JSON object>}}
You are then told the result as an observation."""
_OR_ANSWER = """
When you need no function any more, write this in the action's place:
Answer: what you say to the user."""
# Words that are begun like a sentence and in which no line of another kind is written.
_WORDS = (
    r"WORDS: /[^\s{\[(<`](?s:.*)/"
    rf" & ~/(?s:.*)({THOUGHT}|{ACTION}|{OBSERVATION}|{ANSWER})(?s:.*)/"
    "\n"
)


def ask_with_thought(ask: StepRequest) -> AIMessage:
    """A step in the form of ReAct; the message's content is the thought, or an answer in words."""
    if ask.wanted == "words":
        return _answer(ask)
    return _constrained(ask) if ask.constrained else _free(ask)


def react_system(
    system: str | None, tools: Sequence[Mapping[str, Any]], *, may_answer: bool = False
) -> str:
    """The system message of ReAct: the prompt, the tools' schemas, and how a step is written.

    Args:
        system: The prompt; None is none.
        tools: OpenAI tool dicts.
        may_answer: Whether a step may be an answer in words in the place of a call.
    """
    schemas = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    instructions = _INSTRUCTIONS.format(schemas=schemas) + (_OR_ANSWER if may_answer else "")
    return "\n\n".join(filter(None, [system, instructions]))


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
    either = ask.wanted == "either"
    stop = ("\n", ACTION, *([ANSWER] if either else []))
    [first] = _generate(ask, THOUGHT, max_new_tokens=_THOUGHT_TOKENS, stop=stop)
    thought = " ".join(first.text.split())
    begun = f"{THOUGHT} {thought}\n" + ("" if either else ACTION)
    grammar = call_grammar(ask.tools, marked=False)
    if either:
        start, _, rules = grammar.partition("\n")
        action = start.removeprefix("start: ")
        grammar = f'start: "{ACTION}" {action} | "{ANSWER} " WORDS\n{rules}{_WORDS}'
    [second] = _generate(
        ask, begun, steering=ask.steering, grammar=grammar, max_new_tokens=ask.max_new_tokens
    )
    both = replace(
        second,
        tokens=(*first.tokens, *second.tokens),
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
    )
    return _said(both, ANSWER) if both.text.startswith(ANSWER) else _message(ask, both, thought)


def _answer(ask: StepRequest) -> AIMessage:
    """Words alone."""
    grammar = f'start: " " WORDS\n{_WORDS}' if ask.constrained else None
    [words] = _generate(
        ask, ANSWER, steering=ask.steering, grammar=grammar, max_new_tokens=ask.max_new_tokens
    )
    return _said(words)


def _free(ask: StepRequest) -> AIMessage:
    [whole] = _generate(
        ask, steering=ask.steering, max_new_tokens=_THOUGHT_TOKENS + ask.max_new_tokens
    )
    thought, action = read_step(whole.text)
    if not action and ask.wanted == "either":
        return _said(whole, ANSWER if ANSWER in whole.text else THOUGHT)
    if not action and ask.talks:
        return to_message(replace(whole, text=thought), "text")
    return _message(ask, replace(whole, text=action or whole.text), thought)


def _generate(
    ask: StepRequest,
    begun: str = "",
    *,
    steering: Steering | None = None,
    grammar: str | None = None,
    **options: Any,
) -> list[Completion]:
    from ...steering.generation.requests import Request

    system = _system(ask)
    messages = [{"role": "system", "content": system}] if system else []
    messages += as_text(ask.messages)
    if begun:
        messages.append({"role": "assistant", "content": begun})
    request = Request(messages=messages, steering=steering, grammar=grammar)
    return ask.generate(request, **options)


def _system(ask: StepRequest) -> str:
    if ask.wanted == "words":
        return ask.system or ""
    return react_system(ask.system, ask.tools, may_answer=ask.wanted == "either")


def _said(completion: Completion, behind: str = "") -> AIMessage:
    """Words to the user: the text behind a line's first word, or all where that is missing."""
    text = completion.text
    if behind:
        _, there, after = text.partition(behind)
        text = after if there else text
    return to_message(replace(completion, text=text.strip()), "text")


def _message(ask: StepRequest, completion: Completion, thought: str) -> AIMessage:
    completion = replace(completion, text=completion.text.removeprefix(ACTION))
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
