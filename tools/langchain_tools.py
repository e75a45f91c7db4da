"""LangChain's tools: called with what LangGraph injects, their results read in every form."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, get_args, get_origin

from .context import CallContext
from .result import ToolError, ToolResult

if TYPE_CHECKING:
    from langchain_core.messages import ToolMessage
    from langchain_core.tools import BaseTool

# LangChain's own parameters of a tool's method, which it fills in by itself.
_OWN = frozenset(("self", "args", "kwargs", "config", "callbacks", "run_manager"))
_RUNTIME = "__pregel_runtime"  # where LangGraph keeps its runtime in a config


def is_injected(annotation: Any) -> bool:
    """Whether a parameter is filled in by LangChain or LangGraph, and not by the model.

    So are ``InjectedToolCallId``, ``InjectedState``, ``InjectedStore``, ``ToolRuntime``, whatever
    else is an ``InjectedToolArg``, and ``RunnableConfig``.
    """
    marks = [annotation, *get_args(annotation)]
    if get_origin(annotation) is not None:
        marks.append(get_origin(annotation))
    kinds = [mark if isinstance(mark, type) else type(mark) for mark in marks]
    # Whoever annotates with one of these has imported its module.
    wanted = [
        getattr(sys.modules.get(module), name, None)
        for module, name in (
            ("langchain_core.tools.base", "InjectedToolArg"),
            ("langgraph.prebuilt.tool_node", "ToolRuntime"),
        )
    ]
    bases = tuple(kind for kind in wanted if isinstance(kind, type))
    config = getattr(sys.modules.get("langchain_core.runnables.config"), "RunnableConfig", None)
    return any(issubclass(kind, bases) for kind in kinds) or (
        config is not None and any(mark is config for mark in marks)
    )


def injected_parameters(function: Callable[..., Any]) -> list[str]:
    """The parameters of a function that are filled in for the model."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError):
        return []
    return [name for name, one in signature.parameters.items() if is_injected(one.annotation)]


def langchain_tool(function: Callable[..., Any], name: str, description: str) -> BaseTool:
    """A function as a LangChain tool, so that LangGraph fills in what it injects."""
    from langchain_core.tools import StructuredTool

    is_async = inspect.iscoroutinefunction(function)
    return StructuredTool.from_function(
        func=None if is_async else function,
        coroutine=function if is_async else None,
        name=name,
        description=description or name,
    )


def calling(tool: BaseTool, shown: Iterable[str]) -> Callable[[CallContext], Callable[..., Any]]:
    """What calls a LangChain tool in a context.

    Args:
        tool: The tool.
        shown: The names of the arguments that the model writes.
    """
    only_async = bool(getattr(tool, "coroutine", None)) and not getattr(tool, "func", None)
    known = set(shown)
    injects = bool(set(_parameters(tool)) - known - _OWN)
    in_words = (
        tool.response_format == "content"
        and not tool.handle_tool_error
        and not tool.handle_validation_error
    )

    def in_context(context: CallContext) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            if injects:
                return _through_a_node(tool, arguments, context, only_async)
            if in_words:
                asked: Any = arguments
            else:
                asked = _tool_call(tool, arguments, context)
            read = partial(result_of, call_id=context.call_id)
            if only_async:
                return _later(tool.ainvoke(asked, context.config), read)
            return read(tool.invoke(asked, context.config))

        return call

    return in_context


def result_of(returned: Any, call_id: str) -> Any:
    """What a LangChain tool returned: a ``ToolResult`` where it is a message or a command.

    A command's message for this call is what the model is shown; the command itself is kept for
    the graph.
    """
    from langchain_core.messages import ToolMessage
    from langgraph.types import Command

    if isinstance(returned, ToolMessage):
        return _of_message(returned)
    parts = returned if isinstance(returned, list) else [returned]
    commands = [part for part in parts if isinstance(part, Command)]
    if not commands or not all(isinstance(part, Command | ToolMessage) for part in parts):
        return returned
    messages = [part for part in parts if isinstance(part, ToolMessage)]
    messages += [message for command in commands for message in _messages(command)]
    own = next((m for m in messages if m.tool_call_id == call_id), None)
    result = ToolResult("") if own is None else _of_message(own)
    return ToolResult(result.content, result.value, result.error, tuple(commands))


def _parameters(tool: BaseTool) -> list[str]:
    function = (
        getattr(tool, "func", None)
        or getattr(tool, "coroutine", None)
        or getattr(tool, "_run", None)
    )
    if function is None:
        return []
    names = [
        name
        for name, one in inspect.signature(function).parameters.items()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    return names + injected_parameters(function)


def _tool_call(
    tool: BaseTool, arguments: Mapping[str, Any], context: CallContext
) -> dict[str, Any]:
    # Without an id LangChain gives bare content.
    call_id = context.call_id or "call"
    return {"name": tool.name, "args": dict(arguments), "id": call_id, "type": "tool_call"}


def _through_a_node(
    tool: BaseTool, arguments: Mapping[str, Any], context: CallContext, later: bool
) -> Any:
    """Call a tool as LangGraph does, which knows best what it injects."""
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import ensure_config
    from langgraph.prebuilt import ToolNode
    from langgraph.runtime import Runtime

    call = _tool_call(tool, arguments, context)
    asks = AIMessage(content="", tool_calls=[call])
    earlier = list(context.state.get("messages", ()))
    if not (earlier and call["id"] in [c["id"] for c in getattr(earlier[-1], "tool_calls", ())]):
        earlier.append(asks)
    config = ensure_config(context.config)
    configurable = config.get("configurable", {})
    if _RUNTIME not in configurable:  # the call is made outside any graph
        config = {**config, "configurable": {**configurable, _RUNTIME: Runtime()}}
    recorded, values = _recording(tool)
    node = ToolNode([recorded], handle_tool_errors=False)
    # One call of its own, whatever else its message asks for.
    state = {**context.state, "messages": earlier}
    asked = {"__type": "tool_call_with_context", "tool_call": call, "state": state}

    def read(returned: Any) -> Any:
        result = result_of(_unwrapped(returned), call["id"])
        if values and isinstance(result, ToolResult) and result.ok and not result.commands:
            return replace(result, value=values[-1])
        return result

    if later:
        return _later(node.ainvoke(asked, config), read)
    return read(node.invoke(asked, config))


async def _later(awaitable: Any, read: Callable[[Any], Any]) -> Any:
    return read(await awaitable)


def _recording(tool: BaseTool) -> tuple[BaseTool, list[Any]]:
    """A copy of a tool that keeps what its function returns: a message holds only text."""
    values: list[Any] = []
    name = next((n for n in ("func", "coroutine") if inspect.isroutine(getattr(tool, n, None))), "")
    if tool.response_format != "content" or not name:
        return tool, values
    function = getattr(tool, name)

    @wraps(function)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        values.append(function(*args, **kwargs))
        return values[-1]

    @wraps(function)
    async def recorded_later(*args: Any, **kwargs: Any) -> Any:
        values.append(await function(*args, **kwargs))
        return values[-1]

    made = recorded if name == "func" else recorded_later
    return tool.model_copy(update={name: made}), values


def _unwrapped(returned: Any) -> Any:
    """What a node gives for one call, as the tool itself gave it."""
    parts = returned if isinstance(returned, list) else [returned]
    flat: list[Any] = []
    for part in parts:
        flat += part["messages"] if isinstance(part, dict) else [part]
    return flat[0] if len(flat) == 1 else flat


def _messages(command: Any) -> list[ToolMessage]:
    from langchain_core.messages import ToolMessage

    update = command.update
    held = update.get("messages", []) if isinstance(update, Mapping) else update
    held = held if isinstance(held, list) else [held]
    return [message for message in held if isinstance(message, ToolMessage)]


def _of_message(message: ToolMessage) -> ToolResult:
    content = message.content if isinstance(message.content, str) else _shown(message.content)
    if message.status == "error":
        return ToolResult.of_error(ToolError("failed", content))
    return ToolResult(content, content if message.artifact is None else message.artifact)


def _shown(blocks: list[Any]) -> str:
    """A message's blocks as text: what they hold if that is text, else what they are."""
    return "\n".join(_block(block) for block in blocks)


def _block(block: Any) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block.get("text"), str):
        return str(block["text"])
    kind = str(block.get("type", ""))
    if kind.startswith(("image", "audio", "video", "file", "document")):
        about = [kind, str(block.get("mime_type") or block.get("media_type") or "")]
        return f"[{', '.join(part for part in about if part)}]"
    return json.dumps(block, ensure_ascii=False, default=str)
