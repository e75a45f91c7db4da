"""Which tools a chat model is shown, which it may or must call, and what its answer must fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import isroutine
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from ...errors import TrimtabError
from ...tools.sources import tool_spec
from ...tools.spec import ToolSpec
from .formats.call_format import CallFormat
from .grammar import call_grammar

Tool = ToolSpec | BaseTool | type | Callable[..., Any] | dict[str, Any]
"""Whatever describes a tool to a chat model."""

ToolChoice = str | bool | dict[str, Any] | None
"""A tool choice in any of LangChain's and OpenAI's forms."""


def read_choice(wanted: ToolChoice, names: Sequence[str]) -> str | None:
    """A tool choice as ``any``, ``none``, a tool's name, or None where it is the model's own.

    Raises:
        TrimtabError: It is none of these.
    """
    if isinstance(wanted, Mapping):
        wanted = cast("str | None", wanted.get("function", wanted).get("name"))
    if wanted is None or wanted is False or wanted == "auto":
        return None
    if wanted is True or wanted in ("any", "required"):
        return "any"
    if wanted == "none" or wanted in names:
        return wanted
    raise TrimtabError(
        f"expected tool_choice auto, any, required, none or one of {', '.join(names)}; "
        f"got {wanted!r}"
    )


def several_calls(choice: str | None, wanted: bool | None) -> bool:
    """Whether an answer may hold several calls; if nobody says, where the choice is the model's."""
    return choice is None if wanted is None else wanted


def as_dict(tool: Tool) -> dict[str, Any]:
    """The tool as an OpenAI dict. LangChain's own conversion loses recursive types."""
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        inner = tool["function"]
        if "name" in inner and isinstance(inner.get("parameters"), dict):
            return tool
    model = isinstance(tool, type) and issubclass(tool, BaseModel)
    named = isinstance(tool, dict) and ("name" in tool or "function" in tool)
    if model or named or isroutine(tool) or isinstance(tool, ToolSpec | BaseTool):
        return tool_spec(tool).to_openai()
    return convert_to_openai_tool(tool)


def answer_grammar(
    tools: Sequence[Mapping[str, Any]],
    choice: str | None,
    parallel: bool | None,
    call_format: CallFormat | None = None,
) -> str | None:
    """What an answer that may hold calls must fit; None is free-form."""
    several = several_calls(choice, parallel)
    if choice is not None:
        only = None if choice == "any" else [choice]
        return call_grammar(tools, only=only, parallel=several, call_format=call_format)
    try:
        return call_grammar(tools, parallel=several, or_text=True, call_format=call_format)
    except TrimtabError:
        return None  # text is an answer too, so a schema that cannot be enforced is no obstacle
