"""Context steering: the user's past in the prompt, and its influence on each token once more.

He et al., *Context Steering* (arXiv 2405.01768); the decoding is
``trimtab.steering.generation.guidance``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from .method import Treatment
from .retrieval import By

if TYPE_CHECKING:
    from .method import Method, PreparedUsers, Treat


@dataclass(frozen=True)
class Cos:
    """The ``k`` most relevant past samples are the context.

    Attributes:
        strength: Lambda: 0 is the prompt with the context, -1 the one without.
        k: How many past samples are the context.
        by: What of the past is relevant.
    """

    name: ClassVar[str] = "cos"

    strength: float = 0.5
    k: int = 3
    by: By = "encoder"

    def __post_init__(self) -> None:
        """Refuse what gives no context.

        Raises:
            TrimtabError: ``k`` below 1 or a strength that is not finite.
        """
        if self.k < 1 or not math.isfinite(self.strength):
            raise TrimtabError(
                f"cos: expected k of at least 1 and a finite strength, got {self.k} and "
                f"{self.strength}"
            )

    def prepare(self, users: PreparedUsers) -> Treat:
        """Rankings are worked out when they are first asked for."""
        return lambda sample: Treatment(
            shown=users.nearest(sample, self.by, self.k), guidance=self.strength
        )

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}
