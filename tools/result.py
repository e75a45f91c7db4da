"""What a call of a tool gives: what the model is shown, what scoring uses, what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

ErrorKind = Literal["unknown_tool", "invalid_arguments", "failed", "timeout", "unparsable"]


@dataclass(frozen=True)
class ToolError:
    """What went wrong with a call: the kind is counted, the message is shown to the model.

    Attributes:
        kind: ``unknown_tool``, ``invalid_arguments``, ``failed`` (the function raised),
            ``timeout``, or ``unparsable`` (the model's text holds no call).
        message: One line: what was expected, what came.
        path: For invalid arguments, where, as ``filters.brands[2]``.
    """

    kind: ErrorKind
    message: str
    path: str = ""


@dataclass(frozen=True)
class ToolResult:
    """What a call gave.

    Attributes:
        content: What the model is shown.
        value: What scoring uses; None for an error.
        error: None if the call succeeded.
        commands: LangGraph's ``Command``s that the tool gave: what it does to the graph around it.
    """

    content: str
    value: Any = None
    error: ToolError | None = None
    commands: tuple[Any, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.error is None

    @classmethod
    def of_error(cls, error: ToolError) -> ToolResult:
        """The result that shows an error to the model."""
        return cls(content=f"Error: {error.message}", error=error)
