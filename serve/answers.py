"""From what the model answered to OpenAI's form: messages, pieces of them, finish and usage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage

from ..agent.chat.messages import new_call_id
from ..agent.chat.streaming import Delta
from ..files import encodable
from ..steering.generation.requests import Completion
from ..steering.model import SteeredModel
from .wire import (
    AnsweredCall,
    AnsweredFunction,
    AnsweredMessage,
    ChatTokenLogprob,
    Finish,
    Logprobs,
    TopLogprob,
    Usage,
)


def message_of(message: AIMessage) -> AnsweredMessage:
    """A whole answer."""
    calls = [
        AnsweredCall(
            id=call["id"],
            function=AnsweredFunction(
                name=call["name"], arguments=json.dumps(call["args"], ensure_ascii=False)
            ),
        )
        for call in message.tool_calls
    ]
    text = encodable(message.text)
    return AnsweredMessage(
        role="assistant",
        content=text if text or not calls else None,
        reasoning_content=message.additional_kwargs.get("reasoning_content"),
        tool_calls=calls or None,
    )


def chunks_of_delta(deltas: Iterable[Delta], ids: dict[int, str]) -> Iterator[AnsweredMessage]:
    """Pieces of a streamed answer.

    Args:
        deltas: What came.
        ids: Of the answer's calls so far; new ones are added.
    """
    for delta in deltas:
        if delta.call is None:
            yield AnsweredMessage(content=encodable(delta.text))
            continue
        named = delta.name is not None
        part = AnsweredCall(
            index=delta.call,
            id=ids.setdefault(delta.call, new_call_id()) if named else None,
            type="function" if named else None,
            function=AnsweredFunction(name=delta.name, arguments=encodable(delta.arguments)),
        )
        yield AnsweredMessage(tool_calls=[part])


def finish_of(message: AIMessage, completion: Completion) -> Finish:
    """Why an answer ended."""
    if message.tool_calls:
        return "tool_calls"
    return "stop" if completion.finish == "stop" else "length"


def usage_of(completions: Sequence[Completion]) -> Usage:
    """The tokens of a request's answers; its prompt counts once."""
    prompt = max((completion.prompt_tokens for completion in completions), default=0)
    new = sum(len(completion.tokens) for completion in completions)
    return Usage(prompt_tokens=prompt, completion_tokens=new, total_tokens=prompt + new)


def logprobs_of(model: SteeredModel, found: Any) -> Logprobs | None:
    """How likely tokens were, with their texts; None where it was not asked for."""
    if found is None:
        return None
    return Logprobs(
        content=[
            ChatTokenLogprob(
                **_token(model, one.token, one.logprob),
                top_logprobs=[TopLogprob(**_token(model, *other)) for other in one.top],
            )
            for one in found
        ]
    )


def _token(model: SteeredModel, token: int, logprob: float) -> dict[str, Any]:
    text = model.tokenizer.decode([token])
    assert isinstance(text, str)
    known = None if "\ufffd" in text else list(text.encode())
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": known}
