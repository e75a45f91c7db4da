"""A small MCP server that the tests start as a process of its own.

Usage: mcp_server.py stdio, or mcp_server.py http PORT.
"""

import sys
import threading
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

server = MCPServer("demo")


class Price(BaseModel):
    amount: float
    currency: str = "EUR"


@server.tool()
def add(left: int, right: int = 1) -> int:
    """Add two numbers."""
    return left + right


@server.tool()
def price(of: str, quantity: int = 1) -> Price:
    """Tell a price."""
    return Price(amount=2.5 * quantity)


@server.tool(name="shop/find it")
def find(query: str, colours: list[str] | None = None) -> str:
    """Find something."""
    return f"{query} in {', '.join(colours or ['any colour'])}"


@server.tool()
def fail(why: str) -> str:
    """Fail."""
    raise ToolError(why)


@server.tool()
def wait() -> str:
    """Answer when it is too late."""
    threading.Event().wait(30)
    return "late"


@server.tool()
def end() -> str:
    """End the server's process."""
    import os

    os._exit(1)


@server.tool()
def seen() -> dict[str, Any]:
    """What the environment holds."""
    import os

    return {"shop": os.environ.get("SHOP"), "folder": os.getcwd()}


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
