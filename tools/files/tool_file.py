"""A file of tools, as a person writes one: Python, YAML or JSON.

A Python file names its tools in a list ``tools`` (anything that ``tool_spec`` takes, or an
``McpServer``); without that list, every public function in it is a tool. A YAML or JSON file has

    tools:            # each a name, a description, a schema, and what is called
      - function: shop.py:refund            # all else is read from the typed function
      - name: opening_hours
        description: Tell when the shop is open.
        parameters: {type: object, properties: {day: {type: string}}, required: [day]}
        returns: 9 to 5                     # a fixed answer; or a function
    mcp:              # servers whose tools are added
      - command: [uvx, mcp-server-time]
      - url: https://example.org/mcp
        headers: {Authorization: "Bearer ${TOKEN}"}
    examples:         # calls that `trimtab tools check` tries
      - {tool: opening_hours, arguments: {day: Monday}}
      - {tool: opening_hours, arguments: {}, valid: false}

In a Python file ``examples`` is a list of such dicts. Loading a file runs the Python in it.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import TrimtabError
from ..sources import tool_spec
from ..spec import ToolSpec
from ..toolkit import Toolkit
from .mcp import McpServer

_TEXT_FILES = (".yaml", ".yml", ".json")
_TOOL_KEYS = ("name", "description", "parameters", "function", "returns", "timeout")
_MCP_KEYS = ("command", "url", "env", "cwd", "headers", "timeout", "only")
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")
_EXAMPLE_KEYS = ("tool", "arguments", "valid", "request")


@dataclass(frozen=True)
class ToolExample:
    """A call that a file gives as an example.

    Attributes:
        tool: The tool's name.
        arguments: What it is called with.
        valid: Whether the arguments are right; else they must be refused.
        request: What a user may say for it.
    """

    tool: str
    arguments: Any = field(default_factory=dict)
    valid: bool = True
    request: str = ""


@dataclass(frozen=True)
class ToolFile:
    """The tools of a file; a context manager, that ends the sessions with MCP servers.

    Attributes:
        path: The file.
        toolkit: Its tools.
        examples: Its examples.
    """

    path: Path
    toolkit: Toolkit
    examples: tuple[ToolExample, ...]
    _open: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)

    def added_to(self, toolkit: Toolkit) -> Toolkit:
        """Another toolkit with these tools too, each in the place of one that has its name."""
        return toolkit.with_tools(*self.toolkit)

    def close(self) -> None:
        """End the sessions with MCP servers."""
        self._open.close()

    def __enter__(self) -> ToolFile:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()


def open_tool_file(path: Path | str) -> ToolFile:
    """Read a file of tools, and connect to the MCP servers that it names.

    Raises:
        TrimtabError: There is no such file, it cannot be read or run, or something in it is not a
            tool; one line that names the place.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise TrimtabError(f"there is no file of tools {path}; give a .py, .yaml or .json file")
    with ExitStack() as stack:
        if path.suffix == ".py":
            specs, examples = _of_module(_run(path), stack)
        elif path.suffix in _TEXT_FILES:
            specs, examples = _of_document(_document(path), path, stack)
        else:
            raise TrimtabError(f"expected a .py, .yaml or .json file of tools, got {path.name}")
        if not specs:
            raise TrimtabError(
                f"{path.name} has no tools; name them in a list `tools`"
                + (", or write a public function" if path.suffix == ".py" else "")
            )
        with _at(path.name):
            toolkit = Toolkit(specs)
            checked = tuple(_example(each, number) for number, each in enumerate(examples, 1))
        return ToolFile(path, toolkit, checked, stack.pop_all())


# ---- Python ------------------------------------------------------------------------------------


def _run(path: Path) -> ModuleType:
    """The file as a module; its own folder can be imported from while it runs."""
    name = f"trimtab_tool_file_{abs(hash(str(path.resolve()))):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and string annotations look their module up
    try:
        with _importing_from(path.resolve().parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, TrimtabError):
            raise TrimtabError(f"{path.name}: {error}") from error
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        raise TrimtabError(
            f"cannot run {path.name}{f', line {line}' if line else ''}: "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    return module


def _of_module(module: ModuleType, stack: ExitStack) -> tuple[list[ToolSpec], Sequence[Any]]:
    named = getattr(module, "tools", None)
    examples = getattr(module, "examples", ())
    where = Path(str(module.__file__)).name
    if named is None:
        named = [value for name, value in vars(module).items() if _is_tool(name, value, module)]
    if not isinstance(named, list | tuple | Toolkit) or not isinstance(examples, list | tuple):
        raise TrimtabError(f"{where}: expected `tools` and `examples` as lists")
    specs: list[ToolSpec] = []
    for number, source in enumerate(named, 1):
        if isinstance(source, McpServer):
            stack.callback(source.close)
            specs += source.tools
        else:
            with _at(f"{where}, tool {number}"):
                specs.append(tool_spec(source))
    return specs, examples


def _is_tool(name: str, value: Any, module: ModuleType) -> bool:
    if name.startswith("_"):
        return False
    if inspect.isfunction(value):
        return value.__module__ == module.__name__
    return isinstance(value, ToolSpec | McpServer) or (
        hasattr(value, "tool_call_schema") and not isinstance(value, type)
    )


# ---- YAML and JSON -----------------------------------------------------------------------------


def _document(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        made = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise TrimtabError(f"cannot read {path.name}: {reason}") from error
    if not isinstance(made, Mapping):
        raise TrimtabError(f"{path.name}: expected `tools:` with a list, got {type(made).__name__}")
    _check_keys(made, ("tools", "mcp", "examples"), path.name)
    for key in made:
        if not isinstance(made[key], list):
            raise TrimtabError(f"{path.name}: expected a list under `{key}`")
    return made


def _of_document(
    document: Mapping[str, Any], path: Path, stack: ExitStack
) -> tuple[list[ToolSpec], Sequence[Any]]:
    specs: list[ToolSpec] = []
    modules: dict[Path, ModuleType] = {}  # a file runs once, however many tools are in it
    for number, item in enumerate(document.get("tools", ()), 1):
        with _at(f"{path.name}, tool {number}"):
            specs.append(_tool(item, path, modules))
    for number, item in enumerate(document.get("mcp", ()), 1):
        with _at(f"{path.name}, MCP server {number}"):
            specs += _server_tools(item, path, stack)
    return specs, document.get("examples", ())


def _tool(item: Any, path: Path, modules: dict[Path, ModuleType]) -> ToolSpec:
    if isinstance(item, str):
        item = {"function": item}
    if not isinstance(item, Mapping):
        raise TrimtabError(f"expected a mapping with {', '.join(_TOOL_KEYS)}; got {item!r}")
    if isinstance(item.get("function"), Mapping):
        return ToolSpec.from_openai(item)
    _check_keys(item, _TOOL_KEYS, "a tool")
    if "function" in item and "returns" in item:
        raise TrimtabError("expected function or returns, not both")
    function = _function(item["function"], path, modules) if "function" in item else None
    if "returns" in item:
        function = _fixed(item["returns"])
    about = {key: item.get(key) for key in ("name", "description", "timeout")}
    if "parameters" in item or function is None or "returns" in item:
        schema = item.get("parameters", {"type": "object", "properties": {}})
        return ToolSpec.from_json_schema(schema, function, **about)
    spec = tool_spec(function)
    return replace(spec, **{key: value for key, value in about.items() if value is not None})


def _fixed(answer: Any) -> Callable[..., Any]:
    return lambda **arguments: answer


def _function(where: Any, path: Path, modules: dict[Path, ModuleType]) -> Callable[..., Any]:
    """What ``file.py:name`` or ``package.module:name`` stands for."""
    source, _, name = str(where).rpartition(":")
    if not source or not name:
        raise TrimtabError(f"expected function as file.py:name or module:name, got {where!r}")
    folder = path.resolve().parent
    if source.endswith(".py"):
        file = folder / source
        if not file.is_file():
            raise TrimtabError(f"there is no {file} to take {name} from")
        file = file.resolve()
        if file not in modules:
            modules[file] = _run(file)
        module = modules[file]
    else:
        try:
            with _importing_from(folder):
                module = importlib.import_module(source)
        except ImportError as error:
            raise TrimtabError(f"cannot import {source}: {error}") from error
    function = getattr(module, name, None)
    if function is None:
        raise TrimtabError(f"{source} has no {name}")
    return function


def _server_tools(item: Any, path: Path, stack: ExitStack) -> list[ToolSpec]:
    if not isinstance(item, Mapping):
        raise TrimtabError(f"expected a mapping with {', '.join(_MCP_KEYS)}; got {item!r}")
    _check_keys(item, _MCP_KEYS, "an MCP server")
    where = {key: _expanded(value) for key, value in item.items() if key != "only"}
    if "command" in where:
        where["cwd"] = path.resolve().parent / where.get("cwd", "")
    server = stack.enter_context(McpServer(**where))
    by_name = {spec.name: spec for spec in server.tools}
    only = item.get("only", list(by_name))
    missing = [name for name in only if name not in by_name]
    if missing:
        raise TrimtabError(f"it has no tool {missing[0]!r}; it has {', '.join(by_name)}")
    return [by_name[name] for name in only]


def _expanded(value: Any) -> Any:
    """The value with ``${NAME}`` and ``${NAME:-default}`` in its texts replaced.

    Raises:
        TrimtabError: The environment has no such variable, and there is no default.
    """
    if isinstance(value, str):
        return _VARIABLE.sub(_variable, value)
    if isinstance(value, Mapping):
        return {key: _expanded(item) for key, item in value.items()}
    return [_expanded(item) for item in value] if isinstance(value, list) else value


def _variable(match: re.Match[str]) -> str:
    name, default = match["name"], match["default"]
    held = os.environ.get(name) or default
    if held is None:
        raise TrimtabError(
            f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
        )
    return held


# ---- both --------------------------------------------------------------------------------------


def _example(given: Any, number: int) -> ToolExample:
    if isinstance(given, ToolExample):
        return given
    if not isinstance(given, Mapping) or "tool" not in given:
        raise TrimtabError(
            f"example {number}: expected {{tool: name, arguments: {{...}}}}, got {given!r}"
        )
    _check_keys(given, _EXAMPLE_KEYS, f"example {number}")
    return ToolExample(**given)


def _check_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = next((key for key in given if key not in known), None)
    if unknown is not None:
        near = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TrimtabError(f"{where}: expected the keys {', '.join(known)}, got {unknown!r}{hint}")


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Say where in a file something is wrong."""
    try:
        yield
    except TrimtabError as error:
        raise TrimtabError(f"{place}: {error}") from error


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
