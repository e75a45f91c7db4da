"""Files of tools as people write them, and what is told when one is wrong."""

import json
import sys
from pathlib import Path

import pytest

from trimtab.errors import TrimtabError
from trimtab.tools import Toolkit, ToolSpec, open_tool_file

SERVER = Path(__file__).with_name("mcp_server.py")
FUNCTIONS = '''
from __future__ import annotations
from dataclasses import dataclass
from json import dumps
from helper import SHOP

@dataclass
class Place:
    city: str

def weather(place: Place, unit: str = "C") -> str:
    """Tell the weather.

    Args:
        place: Where.
    """
    return f"{SHOP}: sunny in {place.city}, {unit}"

def _hidden(x):
    return x
'''
PYTHON = """
from langchain_core.tools import tool
from pydantic import BaseModel
from trimtab.tools import ToolSpec

class Order(BaseModel):
    "Order."
    n: int

@tool
def shout(text: str) -> str:
    "Shout."
    return text.upper()

tools = [shout, Order, {"title": "plain", "type": "object", "properties": {}}]
examples = [{"tool": "shout", "arguments": {"text": "hi"}, "request": "Shout hi."}]
"""
YAML = """
tools:
  - function: shop.py:weather
    name: forecast
  - shop.py:weather
  - name: hours
    description: When it is open.
    parameters:
      type: object
      properties: {day: {type: string, enum: [Mon, Tue]}}
      required: [day]
    returns: {from: 9, to: 5}
    timeout: 3
  - type: function
    function: {name: shown, parameters: {type: object, properties: {}}}
  - function: json:dumps
    name: dumps
    parameters: {type: object, properties: {obj: {}}, required: [obj]}
examples:
  - {tool: hours, arguments: {day: Mon}}
  - {tool: hours, arguments: {day: Sun}, valid: false}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "helper.py").write_text("SHOP = 'corner'")
    (tmp_path / "shop.py").write_text(FUNCTIONS)
    (tmp_path / "mine.py").write_text(PYTHON)
    (tmp_path / "mine.yaml").write_text(YAML)
    yield tmp_path
    sys.modules.pop("helper", None)


def test_public_functions_of_a_python_file_are_tools(folder):
    with open_tool_file(folder / "shop.py") as file:
        assert file.toolkit.names == ["weather"]
        result = file.toolkit.call("weather", {"place": {"city": "Oslo"}})
        assert result.content == "corner: sunny in Oslo, C"
    assert str(folder) not in sys.path


def test_a_list_of_tools_is_taken_as_it_stands(folder):
    file = open_tool_file(folder / "mine.py")
    assert file.toolkit.names == ["shout", "Order", "plain"]
    assert file.toolkit.call("shout", {"text": "hi"}).content == "HI"
    [example] = file.examples
    assert (example.tool, example.valid, example.request) == ("shout", True, "Shout hi.")


def test_a_yaml_file_of_tools(folder):
    file = open_tool_file(folder / "mine.yaml")
    toolkit = file.toolkit
    assert toolkit.names == ["forecast", "weather", "hours", "shown", "dumps"]
    assert toolkit.call("forecast", {"place": {"city": "Rome"}}).content.endswith("Rome, C")
    assert toolkit.spec("hours").timeout == 3
    assert toolkit.call("hours", {"day": "Mon"}).value == {"from": 9, "to": 5}
    assert toolkit.call("dumps", {"obj": [1]}).value == "[1]"
    assert [example.valid for example in file.examples] == [True, False]


def test_a_json_file_is_one_too(folder):
    (folder / "mine.json").write_text(json.dumps({"tools": ["shop.py:weather"]}))
    assert open_tool_file(folder / "mine.json").toolkit.names == ["weather"]


def test_servers_are_connected_to_and_ended(folder, monkeypatch):
    pytest.importorskip("mcp", reason="needs the extra mcp")
    monkeypatch.setenv("SHOP_NAME", "corner")
    (folder / "mine.yaml").write_text(
        f"mcp:\n  - command: [{sys.executable}, {SERVER}, stdio]\n    only: [add, seen]\n"
        "    env: {SHOP: '${SHOP_NAME}'}\n"
    )
    with open_tool_file(folder / "mine.yaml") as file:
        assert file.toolkit.names == ["add", "seen"]
        assert file.toolkit.call("seen", {}).value == {"shop": "corner", "folder": str(folder)}
    assert "has ended" in file.toolkit.call("add", {"left": 1}).content


def test_a_server_of_a_python_file_is_ended_with_it(folder):
    pytest.importorskip("mcp", reason="needs the extra mcp")
    (folder / "mine.py").write_text(
        "from trimtab.tools import McpServer\n"
        f"server = McpServer(command=[{sys.executable!r}, {str(SERVER)!r}, 'stdio'], timeout=300)\n"
    )
    with open_tool_file(folder / "mine.py") as file:
        assert file.toolkit.call("add", {"left": 1}).value == 2
    assert "has ended" in file.toolkit.call("add", {"left": 1}).content


def test_its_tools_replace_and_are_added(folder):
    old = ToolSpec("weather", "Old.", {"type": "object", "properties": {}})
    kept = ToolSpec("kept", "Kept.", {"type": "object", "properties": {}})
    both = open_tool_file(folder / "mine.yaml").added_to(Toolkit([old, kept]))
    assert both.names == ["weather", "kept", "forecast", "hours", "shown", "dumps"]
    assert both.spec("weather").description == "Tell the weather."


BAD_PYTHON = [
    ("x = 1 / 0", "cannot run bad.py, line 1: ZeroDivisionError"),
    ("def f(:", "cannot run bad.py, line 1: SyntaxError"),
    ("import no_such_module", "cannot run bad.py, line 1: ModuleNotFoundError"),
    ("import sys; sys.exit(1)", "cannot run bad.py, line 1: SystemExit"),
    ("x = 1", "bad.py has no tools; name them in a list `tools`, or write a public function"),
    ("def f(x): pass", "bad.py, tool 1: parameter 'x' of f has no type"),
    ("tools = [3]", "bad.py, tool 1: expected a tool"),
    ("tools = 3", "expected `tools` and `examples` as lists"),
    ("def f(): pass\nexamples = [{'tols': 1}]", "bad.py: example 1: expected"),
    ("def f(): pass\nexamples = [{'tool': 'f', 'args': {}}]", "did you mean"),
    ("def f(): pass\ntools = [f, f]", "bad.py: two tools are called 'f'"),
]
BAD_YAML = [
    ("tools: [", "cannot read bad.yaml"),
    ("- 1", "expected `tools:` with a list, got list"),
    ("tool: []", "got 'tool'; did you mean 'tools'"),
    ("tools: 3", "expected a list under `tools`"),
    ("tools: [3]", "bad.yaml, tool 1: expected a mapping"),
    ("tools: [{name: a, descripton: b}]", "did you mean 'description'"),
    ("tools: [{function: shop}]", "expected function as file.py:name"),
    ("tools: [{function: 'gone.py:f'}]", "there is no .*gone.py"),
    ("tools: [{function: 'shop.py:gone'}]", "shop.py has no gone"),
    ("tools: [{function: 'no_such_module:f'}]", "cannot import no_such_module"),
    ("tools: [{name: a, function: 'shop.py:weather', returns: 1}]", "not both"),
    ("tools: [{name: a, parameters: {type: objct}}]", "bad.yaml, tool 1: the parameters"),
    ("mcp: [{comand: [x]}]", "bad.yaml, MCP server 1: .*did you mean 'command'"),
    ("mcp: [{command: [trimtab-no-such-program]}]", "cannot use the MCP server"),
]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [("bad.py", *bad) for bad in BAD_PYTHON] + [("bad.yaml", *bad) for bad in BAD_YAML],
)
def test_what_is_wrong_is_one_line_that_names_the_place(folder, name, text, told):
    (folder / name).write_text(text)
    with pytest.raises(TrimtabError, match=told) as caught:
        open_tool_file(folder / name)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(folder):
    with pytest.raises(TrimtabError, match="there is no file of tools"):
        open_tool_file(folder / "gone.py")
    (folder / "mine.txt").write_text("")
    with pytest.raises(TrimtabError, match=r"expected a .py, .yaml or .json file of tools, got"):
        open_tool_file(folder / "mine.txt")


def test_two_tools_of_one_file_share_its_module(tmp_path):
    (tmp_path / "shop.py").write_text(
        "held = []\ndef put(item: str) -> int:\n    held.append(item)\n    return len(held)\n"
        "def count() -> int:\n    return len(held)\n"
    )
    (tmp_path / "tools.yaml").write_text(
        "tools:\n  - function: shop.py:put\n  - function: shop.py:count\n"
    )
    toolkit = open_tool_file(tmp_path / "tools.yaml").toolkit
    toolkit.call("put", {"item": "mug"})
    assert toolkit.call("count", {}).value == 1


def test_a_variable_that_is_not_set_is_never_sent(tmp_path, monkeypatch):
    monkeypatch.delenv("TRIMTAB_TEST_TOKEN", raising=False)
    path = tmp_path / "tools.yaml"
    server = "mcp:\n  - url: http://127.0.0.1:9/mcp\n    headers: {{Authorization: 'Bearer {}'}}\n"
    path.write_text(server.format("${TRIMTAB_TEST_TOKEN}"))
    with pytest.raises(TrimtabError, match="variable TRIMTAB_TEST_TOKEN is not set"):
        open_tool_file(path)
    path.write_text(server.format("${TRIMTAB_TEST_TOKEN:-none}"))
    with pytest.raises(TrimtabError, match="cannot use the MCP server"):
        open_tool_file(path)
