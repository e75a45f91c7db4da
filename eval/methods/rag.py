"""Retrieval: the user's most relevant past samples in the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from ..texts.prompt import Show
from .method import Treatment
from .retrieval import By

if TYPE_CHECKING:
    from .method import Method, PreparedUsers, Treat


@dataclass(frozen=True)
class Rag:
    """The ``k`` most relevant past samples stand before the request.

    Attributes:
        k: How many.
        by: What comes first: nearest by the sentence encoder or by BM25, the latest, drawn at
            random, or all of the past, whatever ``k``.
        show: What is shown of each; None leaves it to the task: inputs matter to labels.
    """

    name: ClassVar[str] = "rag"

    k: int = 3
    by: By = "encoder"
    show: Show | None = None

    def __post_init__(self) -> None:
        """Refuse what shows nothing.

        Raises:
            TrimtabError: ``k`` below 1.
        """
        if self.k < 1:
            raise TrimtabError(f"rag: expected k of at least 1, got {self.k}")

    def prepare(self, users: PreparedUsers) -> Treat:
        """Rankings are worked out when they are first asked for."""
        return lambda sample: Treatment(
            shown=users.nearest(sample, self.by, self.k), show=self.show
        )

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}
