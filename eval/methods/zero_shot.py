"""Nothing of the user: the request alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .method import Treatment

if TYPE_CHECKING:
    from .method import Method, PreparedUsers, Treat


@dataclass(frozen=True)
class ZeroShot:
    """The request alone."""

    name: ClassVar[str] = "zero-shot"

    def prepare(self, users: PreparedUsers) -> Treat:
        """Nothing to prepare."""
        return lambda sample: Treatment()

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}
