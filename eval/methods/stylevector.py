"""StyleVector: one vector a user, the mean of all their texts against the model's neutral ones.

Zhang et al., *Personalized Text Generation with Contrastive Activation Steering* (arXiv
2503.05213), mean difference. The paper reads the last token of a text; here, as everywhere in
trimtab, activations are averaged over the answer's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...steering.dictionaries.settings import SteeringSettings
from ...steering.vectors.steering_vectors import Site
from .steered import Steered

if TYPE_CHECKING:
    from .method import PreparedUsers, Treat


@dataclass(frozen=True)
class StyleVector(Steered):
    """The same vector for all of a user's requests: what is picked does not depend on them."""

    name: ClassVar[str] = "stylevector"

    # Nothing is picked, and the model's neutral answers are the only contrast.
    unused: ClassVar[frozenset[str]] = frozenset(
        {
            *("keys", "k", "aggregate", "temperature", "contrast", "collective", "personal"),
            *("rejected", "below"),
        }
    )

    sites: tuple[Site, ...] = ("block",)

    def prepare(self, users: PreparedUsers) -> Treat:
        """Let the model answer every past request neutrally, and read both."""
        return self.treating(users, self.entries(users, ["neutral"]))

    @property
    def settings(self) -> SteeringSettings:
        """All of a user's entries alike, whatever is asked."""
        return replace(super().settings, aggregate="naive", contrast="response")
