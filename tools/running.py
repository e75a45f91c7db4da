"""Running a tool's function: whatever it does, the answer is a result."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pydantic
import pydantic_core

from .event_loop import GivenUp, awaited, blocked, is_here
from .quoting import quoted
from .result import ToolError, ToolResult
from .schema import location, shown

Convert = Callable[[dict[str, Any]], dict[str, Any]]
_Outcome = ToolResult | BaseException


def run_tool(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    *,
    name: str,
    convert: Convert | None = None,
    timeout: float | None = None,
) -> ToolResult:
    """Convert the arguments, call the function, and write its value down for the model.

    Async functions run on the one loop of all async tools. Plain functions with a timeout, or
    called where an event loop runs, get a thread of their own, which sees the caller's context.

    Args:
        function: Plain or async.
        arguments: As JSON; they fit the tool's schema.
        name: The tool's, for messages.
        convert: Turns the arguments into the function's own keyword arguments.
        timeout: Seconds after which the call is given up.

    Returns:
        The result; an error of the function's is one too.

    Raises:
        GraphBubbleUp: LangGraph's own signals, such as that of ``interrupt()``, are no errors and
            reach the graph.
        KeyboardInterrupt: The user ends the program.
    """
    run = partial(_run, function, arguments, name, convert, timeout)
    if timeout is None and not _in_event_loop():
        return run()
    outcome = _in_a_thread(run, name, timeout)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def failed(reason: str) -> ToolResult:
    """The result of a function that could not be run to its end, with the reason in one line."""
    return ToolResult.of_error(ToolError("failed", quoted(reason, limit=500)))


def _run(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    name: str,
    convert: Convert | None,
    timeout: float | None,
) -> ToolResult:
    started = time.monotonic()
    try:
        keywords = convert(arguments) if convert else dict(arguments)
    except pydantic.ValidationError as error:
        return ToolResult.of_error(_unfit(error))
    except Exception as error:
        return failed(_first_line(error))
    try:
        value = function(**keywords)
        if inspect.isawaitable(value):
            left = timeout and max(timeout - (time.monotonic() - started), 0.0)
            value = awaited(value, left)
        if isinstance(value, ToolResult):
            return value
        return ToolResult(content=_written(value), value=value)
    except GivenUp:
        return _late(name, timeout)
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        if _is_the_graphs(error):
            raise
        return failed(_first_line(error))


def _in_a_thread(run: Callable[[], ToolResult], name: str, timeout: float | None) -> _Outcome:
    """Run in a daemon thread, in the caller's context; give up when the time is over."""
    finished: list[_Outcome] = []
    context = contextvars.copy_context()
    if is_here():
        context.run(blocked.set, True)

    def work() -> None:
        try:
            finished.append(context.run(run))
        except BaseException as error:
            finished.append(error)

    thread = threading.Thread(target=work, name=f"tool-{name}", daemon=True)
    thread.start()
    thread.join(timeout)
    return finished[0] if finished else _late(name, timeout)


def _late(name: str, timeout: float | None) -> ToolResult:
    message = f"tool {name} did not answer within {timeout} seconds"
    return ToolResult.of_error(ToolError("timeout", message))


def _is_the_graphs(error: BaseException) -> bool:
    """Whether LangGraph raised it to steer its graph; nothing is imported to find out."""
    errors = sys.modules.get("langgraph.errors")
    return errors is not None and isinstance(error, errors.GraphBubbleUp)


def _in_event_loop() -> bool:
    """Whether this thread runs an event loop, in which no other one can be run."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _written(value: Any) -> str:
    """Text as it is, anything else as JSON, and what JSON has no form for as its ``str``."""
    if isinstance(value, str):
        return value
    plain = pydantic_core.to_jsonable_python(value, fallback=str, bytes_mode="base64")
    return json.dumps(plain, ensure_ascii=False)


def _unfit(error: pydantic.ValidationError) -> ToolError:
    """Tell a pydantic error in the words of the other argument errors."""
    first = error.errors(include_url=False, include_context=False)[0]
    path = location(first["loc"])
    message = f"{path or 'arguments'}: {first['msg']}, got {shown(first['input'])}"
    return ToolError("invalid_arguments", quoted(message, limit=500), path)


def _first_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
