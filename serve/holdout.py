"""Who is answered unsteered, so that it can be told whether steering helps."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Arm = Literal["steered", "held out"]


@dataclass(frozen=True)
class Holdout:
    """A fixed share of the users, by a hash of the user: the same in every process, for ever.

    Attributes:
        share: Of all users, from 0 to 1.
    """

    share: float = 0.0

    def holds(self, user: str) -> bool:
        """Whether a user is held out."""
        digest = hashlib.sha256(f"trimtab holdout/{user}".encode("utf-8", "replace")).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64

    def arm(self, user: str) -> Arm:
        """Which arm a user is in."""
        return "held out" if self.holds(user) else "steered"
