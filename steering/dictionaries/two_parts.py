"""Steering in two parts: what sets people apart from the model, and this person from people.

Response contrast mostly finds how people's texts differ from the model's; context contrast, both
sides of which share the target, finds the person. So the first is averaged over everybody else, and
of the second only what is over everybody else's mean is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import TrimtabError
from ..vectors.entries import Contrast
from ..vectors.steering_vectors import Point, SteeringVectors
from .population import Population


@dataclass(frozen=True)
class TwoParts:
    """The collective part and the weights; the personal part comes from a dictionary's entries.

    Attributes:
        others: Everybody's entries without the user's own: ``store.population(without=user_id)``.
        collective: Weight of the others' mean vector.
        personal: Weight of the user's picked entries minus the others' mean.
        collective_from: The contrast kind of the first.
        personal_from: The contrast kind of the second.
    """

    others: Population
    collective: float = 2.0
    personal: float = 1.0
    collective_from: Contrast = "response"
    personal_from: Contrast = "context"

    def __post_init__(self) -> None:
        """Refuse weights that are not finite.

        Raises:
            TrimtabError: One is not.
        """
        if not math.isfinite(self.collective) or not math.isfinite(self.personal):
            raise TrimtabError(
                "expected finite weights of the two parts, got collective "
                f"{self.collective} and personal {self.personal}"
            )

    def vectors(self, points: Sequence[Point], picked: SteeringVectors | None) -> SteeringVectors:
        """The two parts together.

        Args:
            points: Where.
            picked: The user's aggregated entries of ``personal_from``; None where there are none,
                which leaves the collective part.

        Raises:
            TrimtabError: The others have no entry of a kind, or none at a point.
        """
        both = self.collective * self._mean(self.collective_from, points)
        if picked is None or self.personal == 0:
            return both
        return both + self.personal * (picked - self._mean(self.personal_from, points))

    def _mean(self, contrast: Contrast, points: Sequence[Point]) -> SteeringVectors:
        mean = self.others.mean(contrast).values
        missing = [tuple(point) for point in points if point not in mean]
        if missing:
            raise TrimtabError(
                f"the population holds no vectors at {missing}; it has {[tuple(p) for p in mean]}"
            )
        return SteeringVectors({point: mean[point] for point in points})
