"""How function calls are decoded, as methods: nothing of a user is in them, as cases have none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..methods.method import Treatment

if TYPE_CHECKING:
    from ..methods.method import Decode, Method, PreparedUsers, Treat
    from ..methods.registry import Known


@dataclass(frozen=True)
class Free:
    """No grammar: whatever calls can be read in the answer."""

    name: ClassVar[str] = "free"
    decode: ClassVar[Decode] = "free"

    def prepare(self, users: PreparedUsers) -> Treat:
        """Nothing to prepare."""
        return lambda sample: Treatment(decode=self.decode)

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}


@dataclass(frozen=True)
class Constrained(Free):
    """One call that fits its tool's schema; in categories of parallel calls up to 8."""

    name: ClassVar[str] = "constrained"
    decode: ClassVar[Decode] = "constrained"


@dataclass(frozen=True)
class Auto(Free):
    """Text or calls as the model likes, calls held to their schemas."""

    name: ClassVar[str] = "auto"
    decode: ClassVar[Decode] = "auto"


CALL_METHODS: Known = {made.name: made for made in (Free, Constrained, Auto)}
"""The ways to decode calls by name."""
