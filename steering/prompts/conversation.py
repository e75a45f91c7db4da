"""Conversations in the forms that chat templates can take."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import TrimtabError

Message = Mapping[str, Any]
"""An OpenAI-style message whose content is text and whose calls' arguments are mappings."""

REASONING_BLOCKS = frozenset(
    ("reasoning", "reasoning_content", "thinking", "redacted_thinking", "reasoning_summary")
)
"""Types of content blocks in which models of other makers think; they are no part of the text."""

CALL_BLOCKS = frozenset(
    ("tool_use", "tool_call", "function_call", "invalid_tool_call", "input_json_delta")
)
"""Types of content blocks that repeat what stands in a message's ``tool_calls``."""


def tidied(messages: Sequence[Mapping[str, Any]], control: re.Pattern[str]) -> list[Message]:
    """Messages with their content as harmless text and their calls' arguments as mappings.

    Args:
        messages: OpenAI-style dicts.
        control: Matches what would end a message if it stood in its text.
    """
    tidy = [_tidy(message, control) for message in messages]
    names = {
        call["id"]: call["function"].get("name")
        for message in tidy
        for call in message.get("tool_calls", ())
    }
    for message in tidy:
        # Some templates write a result under the name of its tool.
        name = names.get(message.get("tool_call_id"))
        if message["role"] == "tool" and not message.get("name") and name:
            message["name"] = name
    return list(tidy)


def content_text(content: Any) -> str:
    """The text of a message's content, without blocks of reasoning.

    Raises:
        TrimtabError: It holds something else than text.
    """
    if content is None or isinstance(content, str):
        return content or ""
    texts, other = [], set()
    for part in content:
        kind = "text" if isinstance(part, str) else str(part.get("type", "text"))
        if kind in REASONING_BLOCKS or kind in CALL_BLOCKS:
            continue
        text = part if isinstance(part, str) else part.get("text", part.get("refusal"))
        if isinstance(text, str):
            texts.append(text)
        else:
            other.add(kind)
    if other:
        raise TrimtabError(f"expected messages of text alone, got content of type {sorted(other)}")
    return "".join(texts)


def _tidy(message: Mapping[str, Any], control: re.Pattern[str]) -> dict[str, Any]:
    content = content_text(message.get("content"))
    content = content.encode("utf-8", "replace").decode("utf-8")  # no tokenizer takes surrogates
    if message["role"] in ("user", "tool"):
        # Written out in a text, `<|im_end|>` would end the message and let the rest of the text
        # speak in another role.
        content = control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", content)
    tidy = {**message, "content": content}
    calls = [tidy_call(call) for call in message.get("tool_calls") or ()]
    if calls:
        tidy["tool_calls"] = calls
    else:
        tidy.pop("tool_calls", None)
    return tidy


def tidy_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its arguments as a mapping.

    Raises:
        TrimtabError: Its arguments are not JSON.
    """
    function = dict(call.get("function", call))
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"] or "{}")
        except ValueError as error:
            raise TrimtabError(
                f"expected the arguments of the call of {function.get('name')!r} as JSON, "
                f"got {function['arguments']!r}"
            ) from error
    return {"id": call.get("id") or "", "type": "function", "function": function}


# ---- forms -------------------------------------------------------------------------------------


def with_ids(
    messages: Sequence[Message], new: Callable[[Mapping[str, Any], int], str]
) -> list[Message]:
    """Every call with an id of another form, and the results that refer to them.

    Args:
        messages: The conversation.
        new: Gives the id for a call and its number in the conversation.
    """
    ids: dict[str, str] = {}
    changed: list[Message] = []
    number = 0
    for message in messages:
        made = dict(message)
        if "tool_calls" in message:
            calls = []
            for call in message["tool_calls"]:
                ids[call["id"]] = new(call, number)
                calls.append({**call, "id": ids[call["id"]]})
                number += 1
            made["tool_calls"] = calls
        elif message["role"] == "tool":
            known = message.get("tool_call_id") or ""
            made["tool_call_id"] = ids.get(known) or nine_letters(known)
        changed.append(made)
    return changed


def nine_letters(text: str) -> str:
    """Nine letters or digits that stand for a text; a text of nine is itself."""
    if re.fullmatch(r"[A-Za-z0-9]{9}", text):
        return text
    number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "big")
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    made = ""
    for _ in range(9):
        number, index = divmod(number, len(letters))
        made += letters[index]
    return made


def short_ids(messages: Sequence[Message]) -> list[Message]:
    """Ids of nine letters or digits, as Mistral's templates want them."""
    return with_ids(messages, lambda call, number: nine_letters(call["id"] or str(number)))


def named_ids(messages: Sequence[Message]) -> list[Message]:
    """Ids that hold the tool's name and the call's number, which Kimi's template writes as it."""
    return with_ids(messages, lambda call, number: f"functions.{call['function']['name']}:{number}")


def one_call_each(messages: Sequence[Message]) -> list[Message]:
    """A message for every call, each followed by its own result."""
    split: list[Message] = []
    taken: set[int] = set()
    for place, message in enumerate(messages):
        if place in taken:
            continue
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            split.append(message)
            continue
        results: dict[Any, int] = {}
        for later in range(place + 1, len(messages)):
            if messages[later]["role"] != "tool":
                break
            results.setdefault(messages[later].get("tool_call_id"), later)
        for number, call in enumerate(calls):
            split.append(
                {**message, "content": message["content"] if number == 0 else "",
                 "tool_calls": [call]}
            )  # fmt: skip
            if call["id"] in results and results[call["id"]] not in taken:
                taken.add(results[call["id"]])
                split.append(messages[results[call["id"]]])
    return split


def in_turns(messages: Sequence[Message]) -> list[Message]:
    """User and assistant in turns: system text opens the user's, neighbours are joined."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "user" if message["role"] in ("system", "developer") else message["role"]
        before = turns[-1] if turns else {}
        if before.get("role") == role and role != "tool":
            before["content"] = "\n\n".join(
                part for part in (before["content"], message["content"]) if part
            )
            if message.get("tool_calls"):
                before["tool_calls"] = [*before.get("tool_calls", ()), *message["tool_calls"]]
        else:
            turns.append({**message, "role": role})
    return list(turns)


def calls_as_text(messages: Sequence[Message]) -> list[Message]:
    """Calls as part of what the assistant said, for templates that show none.

    A message's own text for them, under ``calls_as_text``, is in the form that the model is taught.
    """
    changed: list[Message] = []
    for message in messages:
        made = dict(message)
        calls = made.pop("tool_calls", ())
        written = made.pop("calls_as_text", "") or "\n".join(
            call_text(call["function"]) for call in calls
        )
        if calls:
            made["content"] = "\n".join(part for part in (made["content"], written) if part)
        changed.append(made)
    return changed


def call_text(function: Mapping[str, Any]) -> str:
    """A call as Hermes and Qwen models write it."""
    call = {"name": function["name"], "arguments": function.get("arguments", {})}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


def results_as_text(messages: Sequence[Message]) -> list[Message]:
    """Results as messages of the user, for templates that know no other way."""
    return [
        {
            "role": "user",
            "content": f"<tool_response>\n{message['content']}\n</tool_response>",
        }
        if message["role"] == "tool"
        else message
        for message in messages
    ]


def _both(
    first: Callable[..., list[Message]], then: Callable[..., list[Message]]
) -> Callable[[Sequence[Message]], list[Message]]:
    return lambda messages: then(first(messages))


FIXES: tuple[Callable[[Sequence[Message]], Sequence[Message]], ...] = (
    lambda messages: messages,
    short_ids,
    one_call_each,
    in_turns,
    _both(short_ids, one_call_each),
    _both(short_ids, in_turns),
    _both(_both(short_ids, one_call_each), in_turns),
    _both(results_as_text, in_turns),
    _both(_both(_both(short_ids, one_call_each), results_as_text), in_turns),
)
"""What is tried, in this order, until a template takes a conversation."""
