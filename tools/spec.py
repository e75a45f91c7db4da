"""What a tool is: a name, a description, a schema of its arguments, and what it calls."""

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ..errors import TrimtabError
from .context import CallContext
from .docstring import read_docstring
from .langchain_tools import calling, injected_parameters, langchain_tool
from .schema import checked_schema, model_schema
from .signature import arguments_model, keyword_arguments

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NO_ARGUMENTS = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class ToolSpec:
    """A tool, checked when it is made: a spec that exists can be shown to a model.

    Attributes:
        name: 1 to 64 letters, digits, ``_``, ``.`` or ``-``.
        description: What the model is told about when to use it.
        parameters: JSON Schema (draft 2020-12) of an object; a copy of what was handed in.
        function: Called with the arguments by keyword; plain or async. None for a tool that is
            only shown, never called here.
        timeout: Seconds after which a call is given up; None waits for ever. The call's thread
            cannot be stopped and runs on in the background.
        convert: Turns JSON arguments that fit ``parameters`` into the keyword arguments of
            ``function``, for instance into instances of pydantic models. None leaves them as
            they are.
        in_context: Makes the function of one call from what surrounds it, in the place of
            ``function``, for tools that are given more than the model's arguments.
        return_direct: A successful call's result is the agent's answer.

    Raises:
        TrimtabError: The name, the description, the schema or the timeout is not valid.

    Example:
        >>> def add(a: int, b: int = 1) -> int:
        ...     '''Add two numbers.
        ...
        ...     Args:
        ...         a: The first.
        ...     '''
        ...     return a + b
        >>> spec = ToolSpec.from_function(add)
        >>> spec.parameters["properties"]["a"]
        {'type': 'integer', 'description': 'The first.'}
    """

    name: str
    description: str
    parameters: dict[str, Any] = field(hash=False)
    function: Callable[..., Any] | None = None
    timeout: float | None = None
    convert: Callable[[dict[str, Any]], dict[str, Any]] | None = field(
        default=None, repr=False, compare=False
    )
    in_context: Callable[[CallContext], Callable[..., Any]] | None = field(
        default=None, repr=False, compare=False
    )
    return_direct: bool = False

    def __post_init__(self) -> None:
        """Check everything once, and take a copy of the schema."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise TrimtabError(
                "expected a tool name of 1 to 64 letters, digits, '_', '.' or '-'; "
                f"got {self.name!r}"
            )
        if not isinstance(self.description, str):
            raise TrimtabError(
                f"expected the description of tool {self.name} as text, got {self.description!r}"
            )
        if self.function is not None and not callable(self.function):
            raise TrimtabError(
                f"expected the function of tool {self.name} to be callable, got {self.function!r}"
            )
        if self.timeout is not None and not self.timeout > 0:
            raise TrimtabError(
                f"expected the timeout of tool {self.name} in seconds above 0, got {self.timeout!r}"
            )
        parameters = checked_schema(self.parameters, f"tool {self.name}")
        object.__setattr__(self, "parameters", parameters)

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> "ToolSpec":
        """Make a tool of a typed function and its docstring, in any style of ``read_docstring``.

        Literals, enums, optional and nested types, dataclasses, typed dicts, pydantic models and
        ``Annotated[..., Field(...)]`` become JSON Schema, and arrive in the function as instances.
        Parameters that LangGraph injects (``ToolRuntime``, ``InjectedState``, ...) are filled in
        when the tool is called, and not shown to the model.

        Raises:
            TrimtabError: A parameter has no type, cannot be given by keyword, or its type has no
                JSON Schema.
        """
        called = name or str(getattr(function, "__name__", ""))
        model = arguments_model(function, called or repr(function))
        text = read_docstring(inspect.getdoc(function)).description
        made = cls(
            name=called,
            description=text if description is None else description,
            parameters=model_schema(model, f"tool {called}"),
            function=function,
            timeout=timeout,
            convert=partial(keyword_arguments, model),
        )
        if not injected_parameters(function):
            return made
        tool = langchain_tool(function, called, made.description)
        in_context = calling(tool, made.parameters["properties"])
        return replace(
            made, function=in_context(CallContext()), convert=None, in_context=in_context
        )

    @classmethod
    def from_pydantic(
        cls,
        model: type[BaseModel],
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> "ToolSpec":
        """Make a tool whose arguments are the fields of a pydantic model.

        Its name and docstring are the tool's unless given. ``function`` is called with every
        field by keyword, under the field's Python name.

        Raises:
            TrimtabError: It is no pydantic model, or one of its types has no JSON Schema.
        """
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TrimtabError(f"expected a pydantic model, got {model!r}")
        called = name or model.__name__
        text = inspect.cleandoc(model.__doc__ or "") if description is None else description

        def fields(arguments: dict[str, Any]) -> dict[str, Any]:
            values = model.model_validate(arguments)
            return {name: getattr(values, name) for name in model.model_fields}

        return cls(
            name=called,
            description=text,
            parameters=model_schema(model, f"tool {called}"),
            function=function,
            timeout=timeout,
            convert=fields,
        )

    @classmethod
    def from_json_schema(
        cls,
        schema: Mapping[str, Any],
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> "ToolSpec":
        """Make a tool of a JSON Schema, whose ``title`` and ``description`` are the tool's.

        A ``name`` or ``description`` that is given comes before them.

        Raises:
            TrimtabError: There is no name, or the schema is not a valid one of an object.
        """
        if not isinstance(schema, Mapping):
            raise TrimtabError(f"expected a JSON Schema, got {schema!r}")
        called = schema.get("title") if name is None else name
        if called is None:
            raise TrimtabError("a tool needs a name: give name=..., or the schema a title")
        text = schema.get("description", "") if description is None else description
        parameters = {k: v for k, v in schema.items() if k not in ("title", "description")}
        return cls(called, text, parameters, function, timeout)

    @classmethod
    def from_openai(
        cls,
        tool: Mapping[str, Any],
        function: Callable[..., Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> "ToolSpec":
        """Make a tool of an OpenAI tool dict, with or without its outer ``function`` layer.

        Raises:
            TrimtabError: It has no name, or its parameters are not valid.
        """
        if not isinstance(tool, Mapping):
            raise TrimtabError(f"expected an OpenAI tool dict, got {tool!r}")
        inner = tool.get("function", tool)
        if not isinstance(inner, Mapping) or "name" not in inner:
            raise TrimtabError(
                'expected an OpenAI tool dict {"type": "function", "function": {"name": ...}}, '
                f"got the keys {sorted(map(str, tool))}"
            )
        return cls(
            name=inner["name"],
            description=inner.get("description") or "",
            parameters=inner.get("parameters") or _NO_ARGUMENTS,
            function=function,
            timeout=timeout,
        )

    @classmethod
    def from_mcp(
        cls,
        tool: Any,
        function: Callable[..., Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> "ToolSpec":
        """Make a tool of one item of an MCP server's tool list, as a dict or the SDK's object.

        An Anthropic tool dict differs only in how it writes ``input_schema``.

        Only the conversion is done here: give the ``function`` that calls the server.

        Raises:
            TrimtabError: It has no name, or its input schema is not valid.
        """
        item = tool.model_dump(by_alias=True) if isinstance(tool, BaseModel) else tool
        if not isinstance(item, Mapping) or "name" not in item:
            raise TrimtabError(
                f'expected an MCP tool {{"name": ..., "inputSchema": ...}}, got {tool!r}'
            )
        return cls(
            name=item["name"],
            description=item.get("description") or "",
            parameters=item.get("inputSchema") or item.get("input_schema") or _NO_ARGUMENTS,
            function=function,
            timeout=timeout,
        )

    @classmethod
    def from_langchain(cls, tool: "BaseTool", *, timeout: float | None = None) -> "ToolSpec":
        """Make a tool of a LangChain tool.

        Arguments that LangChain or LangGraph injects are not shown to the model; they are filled
        in when an agent's graph calls the tool. Its messages, artifacts and commands are read.

        Raises:
            TrimtabError: It is no LangChain tool, or its schema is not valid.
        """
        schema = getattr(tool, "tool_call_schema", None)
        if schema is None or not hasattr(tool, "invoke"):
            raise TrimtabError(f"expected a LangChain tool, got {tool!r}")
        if isinstance(schema, Mapping):
            parameters = {k: v for k, v in schema.items() if k not in ("title", "description")}
        else:
            parameters = model_schema(schema, f"tool {tool.name}")
        parameters = {**_NO_ARGUMENTS, **parameters}
        in_context = calling(tool, parameters["properties"])
        return cls(
            name=tool.name,
            description=tool.description,
            parameters=parameters,
            function=in_context(CallContext()),
            timeout=timeout,
            in_context=in_context,
            return_direct=tool.return_direct,
        )

    def to_openai(self) -> dict[str, Any]:
        """The OpenAI tool dict, which chat templates take too. It is the caller's to change."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": copy.deepcopy(self.parameters),
            },
        }
