"""A tool from whatever describes one, and from nothing else."""

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, ConfigDict

from trimtab.errors import TrimtabError
from trimtab.tools import ToolSpec, tool_spec

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}


def find(q: str) -> str:
    """Find."""
    return q


class Ask(BaseModel):
    """Ask."""

    model_config = ConfigDict(title="ask")
    q: str


class Shop:
    def find(self, q: str) -> str:
        """Find."""
        return q

    def __call__(self, q: str) -> str:
        """Find."""
        return q


SPEC = ToolSpec.from_function(find)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (SPEC, "find"),
        (find, "find"),
        (Shop().find, "find"),
        (Ask, "ask"),
        (tool(find), "find"),
        ({"type": "function", "function": {"name": "f", "parameters": SCHEMA}}, "f"),
        ({"name": "f", "description": "F.", "parameters": SCHEMA}, "f"),
        ({"title": "f", **SCHEMA}, "f"),
        ({"name": "f", "inputSchema": SCHEMA}, "f"),
    ],
)
def test_every_source_is_read(source, name):
    spec = tool_spec(source)
    assert spec.name == name
    assert spec.parameters["properties"]["q"]["type"] == "string"


def test_a_spec_stays_itself():
    assert tool_spec(SPEC) is SPEC


@pytest.mark.parametrize("source", [None, 3, "find", Shop, object()])
def test_what_is_no_tool_is_refused(source):
    with pytest.raises(TrimtabError, match="expected a tool: a typed function"):
        tool_spec(source)
