"""A set of tools, and the calling of them: whatever a model asks for, the answer is a result."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import TrimtabError
from .context import CallContext
from .quoting import quoted, without_control_tokens
from .result import ErrorKind as ErrorKind
from .result import ToolError as ToolError
from .result import ToolResult as ToolResult
from .running import failed, run_tool
from .schema import misfit, shown, validator
from .sources import tool_spec
from .spec import ToolSpec

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool


class Toolkit:
    """Tools by name. It is a value: ``with_tools`` and ``without`` return another one.

    Args:
        specs: The tools, in the order in which they are shown to the model: `ToolSpec`s, or
            whatever `tool_spec` makes one of.
        limit: Characters of a result's content that the model is shown; the rest is cut and the
            content says how much.

    Raises:
        TrimtabError: Two tools have the same name, something is no tool, or ``limit`` is too small
            to say anything.

    Example:
        >>> def double(number: int) -> int:
        ...     '''Double a number.'''
        ...     return 2 * number
        >>> toolkit = Toolkit([double])
        >>> toolkit.call("double", {"number": 21}).content
        '42'
        >>> toolkit.call("double", {"number": "21"}).content
        'Error: number: expected an integer, got "21"'
    """

    def __init__(self, specs: Iterable[Any] = (), *, limit: int = 8_000) -> None:
        self._specs: dict[str, ToolSpec] = {}
        for spec in map(tool_spec, specs):
            if spec.name in self._specs:
                raise TrimtabError(
                    f"two tools are called {spec.name!r}; rename one with ToolSpec(name=...), "
                    "or replace it by Toolkit.with_tools"
                )
            self._specs[spec.name] = spec
        if limit < 200:
            raise TrimtabError(f"expected a limit of at least 200 characters, got {limit}")
        self.limit = limit
        self._validators = {name: validator(spec.parameters) for name, spec in self._specs.items()}

    @property
    def names(self) -> list[str]:
        """The tools' names, in order."""
        return list(self._specs)

    def __iter__(self) -> Iterator[ToolSpec]:
        """The tools, in order."""
        return iter(self._specs.values())

    def __len__(self) -> int:
        """How many tools there are."""
        return len(self._specs)

    def __contains__(self, name: object) -> bool:
        """Whether there is a tool of that name."""
        return isinstance(name, str) and name in self._specs

    def spec(self, name: str) -> ToolSpec:
        """The tool of that name.

        Raises:
            TrimtabError: There is none.
        """
        if name not in self:
            raise TrimtabError(self._unknown(name).message)
        return self._specs[name]

    def schemas(self) -> list[dict[str, Any]]:
        """The tools as OpenAI tool dicts, as chat templates take them."""
        return [spec.to_openai() for spec in self]

    def to_langchain(self) -> "list[BaseTool]":
        """The tools as LangChain tools: content is what the model is shown, artifact the value.

        Arguments are checked as everywhere; an error becomes a tool message of status ``error``.
        """
        return [self._langchain_tool(spec) for spec in self]

    def _langchain_tool(self, spec: ToolSpec) -> "BaseTool":
        from langchain_core.tools import StructuredTool, ToolException
        from langgraph.prebuilt import ToolRuntime

        def answered(result: ToolResult) -> Any:
            if not result.ok:
                raise ToolException(result.content)
            return list(result.commands) or (result.content, result.value)

        def run(**arguments: Any) -> Any:
            return answered(self.call(spec.name, arguments))

        def run_in_context(runtime: ToolRuntime, **arguments: Any) -> Any:
            context = CallContext(runtime.tool_call_id or "", runtime.state, runtime.config)
            return answered(self.call(spec.name, arguments, context=context))

        return StructuredTool.from_function(
            run if spec.in_context is None else run_in_context,
            name=spec.name,
            description=spec.description,
            args_schema=spec.to_openai()["function"]["parameters"],
            response_format="content_and_artifact",
            return_direct=spec.return_direct,
            handle_tool_error=True,
            infer_schema=False,
        )

    def with_tools(self, *specs: Any) -> "Toolkit":
        """A toolkit with these tools too, each in the place of one that has its name."""
        added = [tool_spec(spec) for spec in specs]
        names = [spec.name for spec in added]
        if len(set(names)) < len(names):
            raise TrimtabError(f"two of the tools to add have the same name: {', '.join(names)}")
        merged = {**self._specs, **{spec.name: spec for spec in added}}
        return Toolkit(merged.values(), limit=self.limit)

    def without(self, *names: str) -> "Toolkit":
        """A toolkit that lacks these tools.

        Raises:
            TrimtabError: There is no tool of one of the names.
        """
        for name in names:
            self.spec(name)
        return Toolkit([spec for spec in self if spec.name not in names], limit=self.limit)

    def validate(self, name: Any, arguments: Any) -> ToolError | None:
        """Say what is wrong with a call before making it; None if nothing is."""
        if name not in self:
            return self._unknown(name)
        fault = misfit(self._validators[name], _given(arguments))
        if fault is None:
            return None
        where = f"{fault.path}: " if fault.path else ""
        message = f"{where}expected {fault.expected}, got {fault.got}"
        return ToolError("invalid_arguments", quoted(message, limit=500), fault.path)

    def call(self, name: Any, arguments: Any, *, context: CallContext | None = None) -> ToolResult:
        """Call a tool. Whatever the name and the arguments are, the answer is a result.

        A function that raises gives a result with the error ``failed``, one that takes longer
        than its timeout ``timeout``. LangGraph's own signals, such as that of ``interrupt()``, are
        no errors: they reach the graph. A function may return a ``ToolResult`` to show the model
        something else than what scoring uses; any other value is shown as it is if it is text,
        else as JSON.

        Args:
            name: The tool's.
            arguments: As the model wrote them.
            context: What surrounds the call, for tools that are given more; None is nothing.
        """
        error = self.validate(name, arguments)
        if error is not None:
            return ToolResult.of_error(error)
        spec = self._specs[name]
        function = spec.function
        if context is not None and spec.in_context is not None:
            function = spec.in_context(context)
        if function is None:
            return failed(f"tool {name} has no function to call here")
        result = run_tool(
            function, _given(arguments), name=name, convert=spec.convert, timeout=spec.timeout
        )
        return replace(result, content=_fitted(result.content, self.limit))

    def _unknown(self, name: Any) -> ToolError:
        asked = quoted(str(name), limit=64) if isinstance(name, str) else shown(name)
        near = difflib.get_close_matches(asked, self.names, n=2, cutoff=0.6)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        known = ", ".join(self.names) or "none"
        return ToolError(
            "unknown_tool", f'there is no tool "{asked}".{hint} The tools are: {known}'
        )


def _given(arguments: Any) -> Any:
    """The arguments; nothing at all, as some models write it, is an object without members."""
    return {} if arguments is None or arguments == "" else arguments


def _fitted(content: str, limit: int) -> str:
    """Make content fit for the model: no chat markup, and no longer than ``limit``."""
    content = without_control_tokens(content)
    if len(content) <= limit:
        return content
    kept = limit - 50
    return f"{content[:kept]}\n[{len(content) - kept:,} more characters were cut]"
