"""Chat prompts as text: the model's own template where it has one, and tools for every model.

A template that knows tools gets them. For one that does not, the tools are described in the
system message and calls and results are written as text, in the form that Hermes and Qwen models
are taught. A base model without a template gets a plain transcript.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SENTINEL = {
    "type": "function",
    "function": {
        "name": "trimtab_sentinel_tool",
        "description": "Tells whether a template writes tools.",
        "parameters": {"type": "object", "properties": {}},
    },
}

_TOOLS_TEXT = """# Tools

These functions can be called, one JSON schema a line:
<tools>
{schemas}
</tools>

To call one, write its name and its arguments as a JSON object between <tool_call> tags:
<tool_call>
{{"name": "<function name>", "arguments": <JSON object>}}
</tool_call>"""


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The prompt up to where the assistant's answer starts.

    A last message of the assistant without tool calls is the start of the answer: the prompt ends
    with it. Special tokens written out in what a user or a tool says are broken up, so that no
    text can pose as another role. The prompt holds every special token that it needs; tokenise it
    with ``tokenize``.

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
    plain = [_tidy(message, _control_tokens(tokenizer)) for message in messages]
    if tokenizer.chat_template is None:
        return _transcript(tokenizer, _with_tools_as_text(plain, tools))
    if tools and _writes_tools(tokenizer, json.dumps(tokenizer.chat_template)):
        return _apply(tokenizer, plain, tools)
    return _apply(tokenizer, _with_tools_as_text(plain, tools), ())


def tokenize(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a rendered prompt, or of what follows one; no special token is added."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _tidy(message: Mapping[str, Any], control: re.Pattern[str]) -> dict[str, Any]:
    """The message with its content as harmless text and its calls' arguments as mappings."""
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(part if isinstance(part, str) else part["text"] for part in content)
    content = content.encode("utf-8", "replace").decode("utf-8")  # no tokenizer takes surrogates
    if message["role"] in ("user", "tool"):
        # Written out in a text, `<|im_end|>` would end the message and let the rest of the text
        # speak in another role.
        content = control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", content)
    tidy = {**message, "content": content}
    calls = [_tidy_call(call) for call in message.get("tool_calls") or ()]
    if calls:
        tidy["tool_calls"] = calls
    else:
        tidy.pop("tool_calls", None)
    return tidy


def _tidy_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function", call))
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except ValueError as error:
            raise TrimtabError(
                f"expected the arguments of the call of {function.get('name')!r} as JSON, "
                f"got {function['arguments']!r}"
            ) from error
    return {"id": call.get("id", ""), "type": "function", "function": function}


@lru_cache(maxsize=16)
def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Matches the text of every special token."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    longest_first = sorted(special | set(tokenizer.all_special_tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


@lru_cache(maxsize=16)
def _writes_tools(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    """Whether the chat template shows tools; ``template`` is only part of the cache's key."""
    text = _apply(tokenizer, [{"role": "user", "content": "x"}], [_SENTINEL])
    return "trimtab_sentinel_tool" in text


def _apply(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
) -> str:
    from jinja2 import TemplateError

    answer_begun = messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")

    def apply(conversation: Sequence[Mapping[str, Any]]) -> str:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in conversation],
            tools=[dict(tool) for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=not answer_begun,
            continue_final_message=answer_begun,
            # Templates of models that can think aloud first read this; others ignore it. Answers
            # here are short, and constrained ones could not hold the thoughts.
            enable_thinking=False,
        )
        assert isinstance(text, str)
        return text

    try:
        return apply(messages)
    except TemplateError:
        pass
    try:
        # Some families' templates know no system role and insist that the others take turns.
        return apply(_turns(messages))
    except TemplateError as error:
        raise TrimtabError(
            f"the chat template of {tokenizer.name_or_path or 'the model'} refuses the messages "
            f"(roles {', '.join(m['role'] for m in messages)}): {str(error).splitlines()[0]}"
        ) from error


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """User and assistant in turns: system text opens the user's, neighbours are joined."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += "\n\n" + message["content"]
        else:
            turns.append({**message, "role": role})
    return turns


def _with_tools_as_text(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Messages of text alone: tools in the system message, calls and results in Hermes form."""
    written: list[dict[str, Any]] = []
    after_result = False
    for message in messages:
        if message["role"] == "tool":
            result = f"<tool_response>\n{message['content']}\n</tool_response>"
            if after_result:
                written[-1]["content"] += "\n" + result
            else:
                written.append({"role": "user", "content": result})
        else:
            calls = [_call_text(call["function"]) for call in message.get("tool_calls", ())]
            text = "\n".join(part for part in (message["content"], *calls) if part)
            written.append({"role": message["role"], "content": text})
        after_result = message["role"] == "tool"
    if tools:
        schemas = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        described = _TOOLS_TEXT.format(schemas=schemas)
        if written[0]["role"] == "system":
            written[0]["content"] += "\n\n" + described
        else:
            written.insert(0, {"role": "system", "content": described})
    return written


def _call_text(function: Mapping[str, Any]) -> str:
    call = {"name": function["name"], "arguments": function.get("arguments", {})}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


def _transcript(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]]) -> str:
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
