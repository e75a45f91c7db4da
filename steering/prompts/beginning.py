"""What a prompt begins with before anything that a user said: instructions and tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError
from .render import render, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INSTRUCTIONS = ("system", "developer")
"""The roles of messages that give them."""

_STAND_INS = ("0", "Z")
"""In the place of what the user says; nothing but what stands before it is common to both."""


def beginning(
    tokenizer: PreTrainedTokenizerBase,
    instructions: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
) -> tuple[int, ...]:
    """The tokens that all prompts with these instructions and tools begin with.

    Nothing of them depends on what a user, the assistant or a tool said.

    Args:
        tokenizer: Of the model that will answer.
        instructions: The system messages that a conversation opens with; none is fine.
        tools: OpenAI tool dicts.
    """
    asked = ([*instructions, {"role": "user", "content": said}] for said in _STAND_INS)
    try:
        one, other = (tokenize(tokenizer, render(tokenizer, talk, tools)) for talk in asked)
    except TrimtabError:  # a template that takes no such conversation
        return ()
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return tuple(token for token, _ in alike)
