"""What surrounds a tool's call where an agent's graph makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CallContext:
    """What a tool may be given besides the arguments that the model writes.

    Attributes:
        call_id: The call's id.
        state: The state of the graph that makes the call.
        config: LangChain's ``RunnableConfig`` of that graph's run; None is the one at hand.
    """

    call_id: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)
    config: Any = None
