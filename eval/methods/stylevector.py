"""StyleVector: one vector a user, the mean of all their texts against the model's neutral ones.

Zhang et al., *Personalized Text Generation with Contrastive Activation Steering* (arXiv
2503.05213), mean difference. The paper reads the last token of a text; here, as everywhere in
trimtab, activations are averaged over the answer's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...steering.dictionaries.derangement import derangement
from ...steering.dictionaries.population import Population
from ...steering.vectors.steering import Steering
from ...steering.vectors.steering_vectors import Site, points_of
from .fints import Steered, others_means

if TYPE_CHECKING:
    from ...envs.texts.dataset import TextSample
    from .method import Ask
    from .prepared_users import Workbench


@dataclass(frozen=True)
class StyleVector(Steered):
    """The same vector for all of a user's requests: what is picked does not depend on them."""

    name: ClassVar[str] = "stylevector"

    sites: tuple[Site, ...] = ("block",)

    def prepare(self, bench: Workbench) -> Ask:
        """Let the model answer every past request neutrally, and read both."""
        layers = self.layers(bench.model)
        points = points_of(layers, self.sites)
        found = {
            user: dictionary.restricted(points)
            for user, dictionary in bench.dictionaries(
                "neutral", layers=layers, under=self.under
            ).items()
        }
        if self.whose == "population":
            vectors = others_means(found, ("response",))
        else:
            lender = (
                derangement(found, bench.seed) if self.whose == "other" else {u: u for u in found}
            )
            vectors = {user: Population.of(found[lender[user]]).mean("response") for user in found}

        def steer(user_id: str, sample: TextSample) -> Steering | None:
            own = vectors.get(user_id)
            return self.by_vectors(own, bench.model.fingerprint) if own else None

        return self.asking(bench, steer)
