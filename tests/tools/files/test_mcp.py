"""Tools of MCP servers that run: real processes, over both transports."""

import asyncio
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trimtab.errors import TrimtabError
from trimtab.tools import Toolkit

pytest.importorskip("mcp", reason="needs the extra mcp")
from trimtab.tools.files.mcp import McpServer, shown_names

SERVER = Path(__file__).with_name("mcp_server.py")
COMMAND = [sys.executable, str(SERVER), "stdio"]
PATIENCE = 300.0  # seconds for what is to work, however slow the machine is


@pytest.fixture(scope="module")
def url():
    """Where a server process listens."""
    command = [sys.executable, str(SERVER), "http", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        told = (re.search(r"running on (http://127\.0\.0\.1:\d+)", line) for line in process.stderr)
        place = next(filter(None, told)).group(1)
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        yield f"{place}/mcp"
        process.kill()
        reader.join()


@pytest.fixture(scope="module", params=["stdio", "http"])
def server(request):
    where = (
        {"command": COMMAND}
        if request.param == "stdio"
        else {"url": request.getfixturevalue("url")}
    )
    with McpServer(**where, timeout=PATIENCE) as opened:
        yield opened


@pytest.fixture(scope="module")
def toolkit(server):
    return Toolkit(server.tools)


def test_the_tools_have_the_servers_schemas(toolkit):
    assert toolkit.names == ["add", "price", "shop_find_it", "fail", "wait", "end", "seen"]
    add = toolkit.spec("add")
    assert add.description == "Add two numbers."
    assert add.parameters["required"] == ["left"]
    assert add.parameters["properties"]["right"]["default"] == 1


def test_calls_go_through(toolkit):
    result = toolkit.call("add", {"left": 40, "right": 2})
    assert (result.content, result.value) == ("42", 42)
    assert toolkit.call("price", {"of": "mug", "quantity": 2}).value == {
        "amount": 5.0, "currency": "EUR"
    }  # fmt: skip
    found = toolkit.call("shop_find_it", {"query": "mug", "colours": ["red", "blue"]})
    assert found.content == "mug in red, blue"


def test_arguments_are_checked_before_the_server_is_asked(toolkit):
    assert toolkit.call("add", {"left": "x"}).content == 'Error: left: expected an integer, got "x"'


def test_a_tools_own_error_is_a_result(toolkit):
    result = toolkit.call("fail", {"why": "no luck"})
    assert result.error.kind == "failed"
    assert "no luck" in result.content


def test_threads_and_event_loops_share_a_session(toolkit):
    with ThreadPoolExecutor(4) as threads:
        sums = threads.map(lambda n: toolkit.call("add", {"left": n}).value, range(8))
        assert list(sums) == list(range(1, 9))

    async def inside():
        return toolkit.call("add", {"left": 1}).value

    assert asyncio.run(inside()) == 2


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_a_call_that_takes_too_long_is_given_up(transport, request):
    where = (
        {"command": COMMAND} if transport == "stdio" else {"url": request.getfixturevalue("url")}
    )
    with McpServer(**where, timeout=PATIENCE) as server:
        server.timeout = 0.2  # opening took its own time
        result = Toolkit(server.tools).call("wait", {})
        assert result.error.kind == "timeout"
        assert result.content == "Error: tool wait: no answer within 0.2 seconds"


def test_a_server_that_ends_is_told(tmp_path):
    shop = {"env": {"SHOP": "corner"}, "cwd": tmp_path}
    with McpServer(command=COMMAND, timeout=PATIENCE, **shop) as server:
        toolkit = Toolkit(server.tools)
        assert toolkit.call("seen", {}).value == {"shop": "corner", "folder": str(tmp_path)}
        for name, arguments in (("end", {}), ("add", {"left": 1})):
            result = toolkit.call(name, arguments)
            assert result.error.kind == "failed"
            assert "MCP server" in result.content
    assert "has ended" in toolkit.call("add", {"left": 1}).content


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({}, "either command="),
        ({"command": ["a"], "url": "http://localhost"}, "either command="),
        ({"command": "python server.py"}, "either command="),
        ({"command": ["trimtab-no-such-program"]}, "cannot use the MCP server trimtab-no-such"),
        ({"command": [sys.executable, "-c", "print('hello')"]}, "cannot use the MCP server"),
        ({"url": "http://127.0.0.1:9/mcp"}, "cannot use the MCP server http://127.0.0.1:9/mcp"),
        ({"url": "http://127.0.0.1:9/mcp", "timeout": 0}, "timeout in seconds above 0"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line(where, told):
    with pytest.raises(TrimtabError, match=told) as caught:
        McpServer(**where)
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up():
    with pytest.raises(TrimtabError, match=r"no answer within 0.3 seconds"):
        McpServer(command=[sys.executable, "-c", "input()\ninput()\ninput()"], timeout=0.3)


LOOSE = """
import json, sys
fine = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
bad = {"type": "object", "properties": {"x": {"$ref": "#/$defs/gone"}}}
pages = {None: ([("get", fine)], "2"), "2": ([("bad", bad), ("rich", {})], None)}
rich = [
    {"type": "image", "data": "AAAA", "mimeType": "image/png"},
    {"type": "resource", "resource": {"uri": "file:///a", "text": "inside", "mimeType": "text/x"}},
    {"type": "resource_link", "uri": "file:///b", "name": "b"},
]
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    if asked["method"] == "initialize":
        version = asked["params"]["protocolVersion"]
        made = {"protocolVersion": version, "capabilities": {"tools": {}},
                "serverInfo": {"name": "loose", "version": "1"}}
    elif asked["method"] == "tools/list":
        listed, after = pages[(asked.get("params") or {}).get("cursor")]
        made = {"tools": [{"name": n, "description": n, "inputSchema": s or {"type": "object"}}
                          for n, s in listed]}
        if after:
            made["nextCursor"] = after
    elif asked["method"] != "tools/call":
        error = {"code": -32601, "message": "there is no such method"}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}), flush=True)
        continue
    elif asked["params"]["name"] == "rich":
        made = {"content": rich}
    else:
        made = {"content": [], "structuredContent": {"price": 5}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": made}), flush=True)
"""


def test_a_bad_tool_costs_itself_and_all_kinds_of_content_are_shown(tmp_path, caplog):
    script = tmp_path / "loose.py"
    script.write_text(LOOSE)
    with McpServer(command=[sys.executable, str(script)], timeout=PATIENCE) as server:
        toolkit = Toolkit(server.tools)
        assert toolkit.names == ["get", "rich"]
        assert "'bad'" in caplog.text and "gone" in caplog.text
        assert [spec.name for spec in server.refresh()] == ["get", "rich"]
        priced = toolkit.call("get", {"key": "a"})
        assert (priced.content, priced.value) == ('{"price": 5}', {"price": 5})
        assert toolkit.call("rich", {}).content.split("\n") == [
            "[image, image/png, 3 bytes]",
            "[resource file:///a, text/x]",
            "inside",
            "[link file:///b: b]",
        ]


def test_names_that_would_become_the_same_are_told_apart():
    same = "a" * 70
    names = ["find", "shop/find it", "shop_find_it", same + "1", same + "2", "a/b"]
    shown = shown_names(names)
    assert len(set(shown)) == len(names)
    assert all(len(name) <= 64 for name in shown)
    assert (shown[0], shown[2], shown[5]) == ("find", "shop_find_it", "a_b")
    assert shown_names(names[::-1]) == shown[::-1]
