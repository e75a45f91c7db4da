"""The tools of a running MCP server, over stdio or streamable HTTP.

The session lives in a thread of its own with an event loop of its own, so calls go through from
plain and from async code. It needs the official SDK: ``pip install 'trimtab[mcp]'``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import TrimtabError
from ..spec import ToolSpec
from ..toolkit import ToolError, ToolResult

if TYPE_CHECKING:
    from mcp import Client
    from mcp.client.client import Transport
    from mcp.types import CallToolResult

T = TypeVar("T")


@dataclass(frozen=True)
class _Address:
    """Where a server is; see ``McpServer``."""

    command: tuple[str, ...]
    url: str | None
    env: Mapping[str, str] | None
    cwd: Path | str | None
    headers: Mapping[str, str] | None


_log = logging.getLogger(__name__)

_NAME_CHARACTERS = 64
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]")
_PATIENCE = 10.0  # seconds for a session to end
_CONNECT_SECONDS, _STREAM_SECONDS = 30.0, 300.0
_REQUEST_TIMEOUT = -32001  # the SDK's code of an error that it makes itself


class McpServer:
    """A session with an MCP server; a context manager, that ends it.

    Args:
        command: Starts a server that talks over its standard input and output; or
        url: Where one listens for streamable HTTP.
        env: More environment variables for the command, which inherits only the common ones.
        cwd: The command's folder.
        headers: Sent with every HTTP request, such as an authorisation.
        timeout: Seconds that opening the session, and then each call, may take.

    Raises:
        TrimtabError: Neither a command nor a URL, the SDK is not installed, or the server cannot
            be reached.

    Example:
        >>> with McpServer(command=["uvx", "mcp-server-time"]) as server:  # doctest: +SKIP
        ...     toolkit = Toolkit(server.tools)
        ...     toolkit.call("get_current_time", {"timezone": "Europe/Oslo"})
    """

    def __init__(
        self,
        *,
        command: Sequence[str] | None = None,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        if bool(command) == bool(url) or isinstance(command, str):
            raise TrimtabError(
                "expected either command=[program, argument, ...] or url='http...' of an MCP "
                f"server, got command={command!r} and url={url!r}"
            )
        if not timeout > 0:
            raise TrimtabError(f"expected a timeout in seconds above 0, got {timeout!r}")
        self.name = url or " ".join(command or ())
        self.timeout = timeout
        self._loop = asyncio.new_event_loop()
        self._client: Client | None = None
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        opened: Future[list[ToolSpec]] = Future()
        where = _Address(tuple(command or ()), url, env, cwd, headers)
        self._thread = threading.Thread(
            target=self._run, args=(where, opened), name="trimtab-mcp", daemon=True
        )
        self._thread.start()
        try:
            self.tools: list[ToolSpec] = opened.result(timeout)
        except BaseException as error:
            self.close()
            if isinstance(error, TrimtabError | KeyboardInterrupt):
                raise
            raise TrimtabError(
                f"cannot use the MCP server {self.name}: {_told(error, timeout)}"
            ) from error

    def __enter__(self) -> McpServer:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session, and the server if a command has started it."""
        with suppress(RuntimeError):  # the session may have ended by itself, and its loop with it
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join(_PATIENCE)

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call a tool by the server's own name for it.

        Returns:
            The result: content is the text, value the structured content where there is one. An
            error that the tool reports, a session that is gone, and no answer within the timeout
            are results too.
        """
        if self._client is None or not self._thread.is_alive():
            return _failed(f"the session with the MCP server {self.name} has ended")
        try:
            answer = self._wait(
                self._client.call_tool(name, dict(arguments), read_timeout_seconds=self.timeout),
                self.timeout + 1,  # the session's own timeout also tells the server
            )
        except Exception as error:
            fault = _told(error, self.timeout)
            if _is_timeout(error):
                return ToolResult.of_error(ToolError("timeout", f"tool {name}: {fault}"))
            return _failed(f"the MCP server {self.name} did not answer the call: {fault}")
        return _result(answer)

    def _wait(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        try:
            waiting = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop has just been closed
            coroutine.close()
            raise
        try:
            return waiting.result(timeout)
        except FutureTimeout:
            waiting.cancel()
            raise

    def _run(self, where: _Address, opened: Future[list[ToolSpec]]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._session(where, opened))
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)
        finally:
            self._client = None
            self._loop.close()

    async def _session(self, where: _Address, opened: Future[list[ToolSpec]]) -> None:
        """Open, list the tools, and keep open until the end; all in one task, as anyio wants."""
        try:
            from mcp import Client
        except ImportError as error:
            raise TrimtabError(
                "tools of an MCP server need the package mcp; run: pip install 'trimtab[mcp]'"
            ) from error
        self._task = asyncio.current_task()
        async with AsyncExitStack() as stack:
            transport = await _transport(stack, where)
            client = await stack.enter_async_context(
                Client(transport, read_timeout_seconds=self.timeout)
            )
            self._client = client
            opened.set_result(self._specs(await _all_tools(client)))
            await self._ended.wait()

    def refresh(self) -> list[ToolSpec]:
        """List the tools anew, for a server whose list changes; they are ``tools`` from now on.

        Raises:
            TrimtabError: The session has ended, or the server does not answer.
        """
        if self._client is None or not self._thread.is_alive():
            raise TrimtabError(f"the session with the MCP server {self.name} has ended")
        try:
            listed = self._wait(_all_tools(self._client), self.timeout)
        except Exception as error:
            raise TrimtabError(
                f"cannot list the tools of the MCP server {self.name}: {_told(error, self.timeout)}"
            ) from error
        self.tools = self._specs(listed)
        return self.tools

    def _specs(self, listed: Sequence[Any]) -> list[ToolSpec]:
        """The tools that can be used; of each other one the log says why not."""
        items = [tool.model_dump(by_alias=True) for tool in listed]
        specs = []
        for item, name in zip(items, shown_names([item["name"] for item in items]), strict=True):
            try:
                specs.append(self._spec(item, name))
            except TrimtabError as error:
                _log.warning(
                    "the tool %r of the MCP server %s is left out: %s",
                    item["name"],
                    self.name,
                    error,
                )
        return specs

    def _spec(self, item: dict[str, Any], name: str) -> ToolSpec:
        own = item["name"]

        def call(**arguments: Any) -> ToolResult:
            return self.call(own, arguments)

        return replace(ToolSpec.from_mcp({**item, "name": name}), function=call)

    def _end(self) -> None:
        if self._client is not None:
            self._ended.set()
        elif self._task is not None:
            self._task.cancel()  # still opening


def shown_names(names: Sequence[str]) -> list[str]:
    """A server's names of tools in characters, and of a length, that every format has room for.

    Names that would become the same are told apart by a digest of the server's own name, so that
    a tool keeps its name whatever else a server lists.

    Example:
        >>> shown_names(["find", "shop/find it", "shop_find_it"])
        ['find', 'shop_find_it-142fe8', 'shop_find_it']
    """
    fit = [_UNFIT.sub("_", name)[:_NAME_CHARACTERS] or "tool" for name in names]
    taken = {name for name, own in zip(fit, names, strict=True) if name == own}
    shown = []
    for name, own in zip(fit, names, strict=True):
        if name != own and (fit.count(name) > 1 or name in taken):
            digest = hashlib.sha256(own.encode("utf-8", "replace")).hexdigest()[:6]
            name = f"{name[: _NAME_CHARACTERS - 7]}-{digest}"
        shown.append(name)
    return shown


async def _all_tools(client: Client) -> list[Any]:
    """Every page of the list; a server that gives the same page for ever is stopped."""
    listed = await client.list_tools()
    tools, seen = list(listed.tools), set()
    while listed.next_cursor and listed.next_cursor not in seen:
        seen.add(listed.next_cursor)
        listed = await client.list_tools(cursor=listed.next_cursor)
        tools += listed.tools
    return list({tool.name: tool for tool in tools}.values())


async def _transport(stack: AsyncExitStack, where: _Address) -> Transport:
    if where.command:
        from mcp import StdioServerParameters, stdio_client

        program, *arguments = where.command
        return stdio_client(
            StdioServerParameters(
                command=program, args=arguments, env=dict(where.env or {}), cwd=where.cwd
            )
        )
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    # A server may hold the stream of its answers open for long.
    patience = httpx2.Timeout(_CONNECT_SECONDS, read=_STREAM_SECONDS)
    http = httpx2.AsyncClient(headers=dict(where.headers or {}), timeout=patience)
    await stack.enter_async_context(http)
    return streamable_http_client(str(where.url), http_client=http)


def _result(answer: CallToolResult) -> ToolResult:
    """What a model is shown: texts as they are, all else as what it is."""
    content = "\n".join(_shown(block) for block in answer.content)
    value = answer.structured_content
    if not content and value is not None:
        content = json.dumps(value, ensure_ascii=False)
    if answer.is_error:
        return _failed(content or "the tool reported an error")
    if isinstance(value, dict) and set(value) == {"result"}:
        value = value["result"]  # how the SDK's servers wrap what is no object
    return ToolResult(content=content, value=content if value is None else value)


def _shown(block: Any) -> str:
    """One block of a result as text: what it holds if that is text, else what it is."""
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            return f"[{block.type}, {block.mime_type}, {_size(block.data)}]"
        case "resource":
            held = block.resource
            kind = f", {held.mime_type}" if held.mime_type else ""
            text = getattr(held, "text", None)
            if text is not None:
                return f"[resource {held.uri}{kind}]\n{text}"
            return f"[resource {held.uri}{kind}, {_size(held.blob)}]"
        case "resource_link":
            about = [block.name, block.description, block.mime_type]
            return f"[link {block.uri}: {', '.join(part for part in about if part)}]"
        case other:
            return f"[{other}]"


def _size(base64: str) -> str:
    return f"{len(base64.rstrip('=')) * 3 // 4:,} bytes"


def _failed(reason: str) -> ToolResult:
    return ToolResult.of_error(ToolError("failed", reason))


def _is_timeout(error: BaseException) -> bool:
    return (
        isinstance(error, TimeoutError | FutureTimeout)
        or getattr(error, "code", None) == _REQUEST_TIMEOUT
    )


def _told(error: BaseException, timeout: float) -> str:
    """The reason in one line; of a group of errors, that of the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if _is_timeout(error):
        return f"no answer within {timeout:g} seconds"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
