"""Fints: the user's own dictionary, asked at every request (arXiv 2510.27206), and its controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ...errors import TrimtabError
from ...steering.vectors.entries import Contrast
from .steered import Steered

if TYPE_CHECKING:
    from .method import Kind, PreparedUsers, Treat


@dataclass(frozen=True)
class Fints(Steered):
    """Entries of the user's dictionary that resemble the request, combined, added.

    With ``collective`` or ``personal`` above 0 it steers in two parts, as ``two-part`` does; the
    personal part is then of ``contrast``.
    """

    name: ClassVar[str] = "fints"

    contrast: Contrast | Literal["any"] = "response"

    def prepare(self, users: PreparedUsers) -> Treat:
        """Build every user's dictionary."""
        entries = self.entries(users, self._kinds())
        if not entries:
            raise TrimtabError(
                f"{self.name}: no user has a contrast pair, so that nothing can be steered with; "
                "take more users or a longer history"
            )
        return self.treating(users, entries)

    def _kinds(self) -> tuple[Kind, ...]:
        """The kinds of entries that are needed."""
        if self.in_two_parts:
            personal = (self.personal_from,) if self.personal else ()
            return tuple(dict.fromkeys(("response", *personal)))
        return ("response", "context") if self.contrast == "any" else (self.contrast,)
