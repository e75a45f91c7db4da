"""Whatever describes a tool, made a ``ToolSpec``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ..errors import TrimtabError
from .spec import ToolSpec


def tool_spec(source: Any) -> ToolSpec:
    """The tool that something describes.

    Args:
        source: A ``ToolSpec``; a typed function or bound method; a pydantic model; a LangChain
            tool; an OpenAI or Anthropic tool dict; a JSON Schema with a ``title``; an item of an
            MCP server's tool list.

    Raises:
        TrimtabError: It describes no tool, or one that is not valid.

    Example:
        >>> tool_spec({"title": "add", "type": "object", "properties": {}}).name
        'add'
    """
    if isinstance(source, ToolSpec):
        return source
    if isinstance(source, type) and issubclass(source, BaseModel):
        # A model's own title is its name for LangChain's parsers too.
        return ToolSpec.from_pydantic(source, name=source.model_config.get("title"))
    if hasattr(source, "tool_call_schema"):
        return ToolSpec.from_langchain(source)
    if isinstance(source, BaseModel) and hasattr(source, "name"):
        return ToolSpec.from_mcp(source)
    if isinstance(source, Mapping):
        if "inputSchema" in source or "input_schema" in source:
            return ToolSpec.from_mcp(source)
        if "function" in source or "name" in source:
            return ToolSpec.from_openai(source)
        return ToolSpec.from_json_schema(source)
    if inspect.isroutine(source) or (callable(source) and not isinstance(source, type)):
        return ToolSpec.from_function(source)
    raise TrimtabError(
        "expected a tool: a typed function, a pydantic model, a JSON Schema, an OpenAI, Anthropic "
        f"or MCP tool dict, a LangChain tool or a ToolSpec; got {source!r}"
    )
