"""The texts of two answers that are set against each other: what was chosen, what was rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...steering.prompts.conversation import tidy_call
from .calls import ToolCall, call_head, schemas_of
from .formats.call_format import CallFormat


def sides(
    chosen: Mapping[str, Any],
    rejected: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]],
    call_format: CallFormat,
) -> tuple[str, str]:
    """Both answers as the model would write them.

    Two calls of different tools end with the tools' names: their tokens are where the two differ
    by what the user meant, and the arguments that follow would drown it.

    Args:
        chosen: An assistant's message: ``content``, or ``tool_calls`` in OpenAI's form.
        rejected: Another.
        tools: OpenAI tool dicts.
        call_format: The form of calls that the model is taught.

    Raises:
        TrimtabError: Arguments of a call that are not JSON.
    """
    calls = [_calls(side) for side in (chosen, rejected)]
    first, other = ([call.name for call in side[:1]] for side in calls)
    if first and other and first != other:
        return call_head(first[0], call_format), call_head(other[0], call_format)
    schemas = schemas_of(tools)
    one, two = (
        call_format.write(own, schemas) if own else str(side.get("content") or "")
        for own, side in zip(calls, (chosen, rejected), strict=True)
    )
    return one, two


def _calls(side: Mapping[str, Any]) -> list[ToolCall]:
    functions = [tidy_call(call)["function"] for call in side.get("tool_calls") or ()]
    return [ToolCall(each["name"], each.get("arguments", {})) for each in functions]
