"""Fints exactly as its authors' code does it, which is not all as the paper says (2510.27206)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from ...steering.contrast.pairs import Keys
from ...steering.vectors.positions import Positions
from .steered import Steered

if TYPE_CHECKING:
    from .method import PreparedUsers, Treat


@dataclass(frozen=True)
class FintsPublished(Steered):
    """The authors' recipe for texts; beside it stands the same prompt unsteered, ``rag(k=5)``.

    While it steers, the prompt also holds past samples of the user: ``context``, 5 (3 for
    abstracts). Rejected answers are the model's own with samples of 5 other users in the prompt, 2
    a sample, kept where ROUGE-L is below the task's bound; that prompt, raw and without a chat
    template, stands in front of both sides. What the code reads as attention is ``mid``; one layer,
    0.72, strength 1, at all positions; keys of request and answer together; 5 entries,
    ``attentive`` at temperature 0.1, or their ``mean``.
    """

    name: ClassVar[str] = "fints-published"
    unused: ClassVar[frozenset[str]] = frozenset({"contrast", "collective", "personal"})

    keys: Keys = "input+answer"
    positions: Positions = "all"
    context: int = 5

    def prepare(self, users: PreparedUsers) -> Treat:
        """Build every user's dictionary.

        Raises:
            TrimtabError: No user has a pair.
        """
        entries = self.entries(users, ("published",))
        if not entries:
            raise TrimtabError(
                f"{self.name}: no user has a contrast pair, so that nothing can be steered with; "
                "take more users or a longer history"
            )
        return self.treating(users, entries)
