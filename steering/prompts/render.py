"""Chat prompts as text: the model's own template where it has one, and tools for every model.

A template that knows tools gets them. For one that does not, the tools are described in the
system message and calls and results are written as text, in the form that Hermes and Qwen models
are taught. A base model without a template gets a plain transcript. A thought that a template
opens is closed again: answers here are short, and constrained ones could not hold it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError
from .conversation import FIXES, Message, call_text, content_text, tidied
from .marks import THOUGHTS, ThoughtMarks
from .template import Template, applied, refusals

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TOOLS_TEXT = """# Tools

These functions can be called, one JSON schema a line:
<tools>
{schemas}
</tools>

To call one, write its name and its arguments {form}"""

_HERMES_FORM = """as a JSON object between <tool_call> tags:
<tool_call>
{"name": "<function name>", "arguments": <JSON object>}
</tool_call>"""


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The prompt up to where the assistant's answer starts.

    A last message of the assistant without tool calls is the start of the answer: the prompt ends
    with it. Special tokens written out in what a user or a tool says are broken up, so that no
    text can pose as another role. Reasoning in the history is left out. The prompt holds every
    special token that it needs; tokenise it with ``tokenize``.

    What a template cannot take is brought into a form that it can: ids of nine letters or digits,
    one call a message, arguments as a text, no system message, roles that take turns.

    Args:
        tokenizer: Of the model that will answer.
        messages: OpenAI-style dicts: ``role``, ``content``, and of an assistant ``tool_calls``,
            whose arguments may be a mapping or a JSON string.
        tools: OpenAI tool dicts.

    Raises:
        TrimtabError: No messages, or some that the model's template refuses.
    """
    if not messages:
        raise TrimtabError("expected at least one message to answer, got none")
    plain = tidied(messages, _control_tokens(tokenizer))
    if tokenizer.chat_template is None:
        return _transcript(tokenizer, with_tools_as_text(plain, tools))
    template = Template.of(tokenizer)
    if tools and template.writes_tools:
        return _rendered(tokenizer, template.fitted(plain), tools)
    return _rendered(tokenizer, with_tools_as_text(plain, tools), ())


def tokenize(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a rendered prompt, or of what follows one; no special token is added."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@lru_cache(maxsize=16)
def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Matches the text of every special token."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    longest_first = sorted(special | set(tokenizer.all_special_tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
) -> str:
    refused: Exception | None = None
    for fix in FIXES:
        try:
            text = applied(tokenizer, fix(messages), tools)
        except refusals() as error:
            refused = error
            continue
        return text + _closed_thought(tokenizer, text, messages)
    reason = (str(refused).strip() or type(refused).__name__).splitlines()[0]
    raise TrimtabError(
        f"the chat template of {tokenizer.name_or_path or 'the model'} refuses the messages "
        f"(roles {', '.join(m['role'] for m in messages)}): {reason}"
    ) from refused


def _closed_thought(
    tokenizer: PreTrainedTokenizerBase, prompt: str, messages: Sequence[Message]
) -> str:
    """What closes the thought that a prompt ends inside of; empty if it does not."""
    if messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls"):
        return ""
    end = prompt.rstrip()
    marks = next((marks for marks in THOUGHTS if end.endswith(marks.opening)), None)
    if marks is None:
        return ""
    own = _own_closing(tokenizer, json.dumps(tokenizer.chat_template), marks)
    # The template's own closing follows a thought, which is empty here.
    return own.lstrip("\n") if own and prompt.endswith("\n") else own


@lru_cache(maxsize=16)
def _own_closing(tokenizer: PreTrainedTokenizerBase, template: str, marks: ThoughtMarks) -> str:
    """How a template closes a thought in the history; ``template`` is part of the cache's key."""
    answer = {"role": "assistant", "content": "an answer", "reasoning_content": "a thought"}
    asked = {"role": "user", "content": "a question"}
    for talk in ([asked, answer], [asked, {**answer, "reasoning": "a thought"}, asked]):
        try:
            text = applied(tokenizer, talk, (), prompts=False)
        except refusals():
            continue
        between = text.rpartition("a thought")[2].partition("an answer")
        if between[1] and marks.closing in between[0]:
            return between[0]
    return f"{marks.closing}\n\n"


def with_tools_as_text(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], form: str = ""
) -> list[Message]:
    """Messages of text alone: tools in the system message, calls and results as text.

    Args:
        messages: OpenAI-style dicts. The text of a message's calls stands under
            ``calls_as_text``; without it they are written in Hermes form.
        tools: OpenAI tool dicts.
        form: A call as the model is to write one; empty is Hermes form.
    """
    written: list[Any] = []
    after_result = False
    for message in messages:
        if message["role"] == "tool":
            result = f"<tool_response>\n{content_text(message['content'])}\n</tool_response>"
            if after_result:
                written[-1]["content"] += "\n" + result
            else:
                written.append({"role": "user", "content": result})
        else:
            calls = [call_text(call["function"]) for call in message.get("tool_calls") or ()]
            if calls and message.get("calls_as_text"):
                calls = [message["calls_as_text"]]
            said = content_text(message.get("content"))
            text = "\n".join(part for part in (said, *calls) if part)
            written.append({"role": message["role"], "content": text})
        after_result = message["role"] == "tool"
    if tools:
        schemas = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        shown = f"in this form:\n{form}" if form else _HERMES_FORM
        described = _TOOLS_TEXT.format(schemas=schemas, form=shown)
        if written[0]["role"] == "system":
            written[0]["content"] += "\n\n" + described
        else:
            written.insert(0, {"role": "system", "content": described})
    return written


def _transcript(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """A conversation as a base model may have read one, ending where the assistant speaks."""
    lines = [
        message["content"]
        if message["role"] == "system"
        else f"{message['role'].capitalize()}: {message['content']}"
        for message in messages
    ]
    if messages[-1]["role"] != "assistant":
        lines.append("Assistant:")
    # The tokenizer would begin a text with this token, but `tokenize` adds none.
    start: list[int] = tokenizer("")["input_ids"]
    begins = bool(start) and start[0] == tokenizer.bos_token_id
    return (tokenizer.bos_token if begins else "") + "\n\n".join(lines)
