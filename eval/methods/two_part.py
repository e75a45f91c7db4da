"""Two parts: what sets people apart from the model, and this person from people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...steering.vectors.entries import Contrast
from ...steering.vectors.steering_vectors import Site
from .fints import Fints


@dataclass(frozen=True)
class TwoPart(Fints):
    """All other users' mean response contrast, and the user's own context contrast over theirs.

    As controls, the personal part is another user's (``other``) or left out (``population``).
    """

    name: ClassVar[str] = "two-part"

    sites: tuple[Site, ...] = ("attn", "mlp")
    contrast: Contrast | Literal["any"] = "any"
    collective: float = 2.0
    personal: float = 1.0
