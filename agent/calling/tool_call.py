"""A tool call as the model made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ToolCall:
    """A call as the model made it, not yet checked against any schema.

    Attributes:
        name: The tool's name.
        arguments: By name.
        id: What the tool's answer refers to.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = "call_0"
