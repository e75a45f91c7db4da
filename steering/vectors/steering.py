"""What is added for one row of a batch: vectors, strength, positions, trained interventions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import TrimtabError
from .entries import Picked
from .low_rank import Stage
from .positions import Where, check_positions, start_of
from .steering_vectors import SITES, Point, Site, SteeringVectors


@dataclass(frozen=True)
class Steering:
    """What is added for one row.

    Attributes:
        vectors: What to add, at which layers and sites.
        strength: The multiplier, for all sites or for each (alpha at ``attn`` or ``mid``, beta at
            ``mlp``). 0 is no steering.
        positions: Which tokens of the row: ``all``; ``answer``, from the last prompt token on,
            which leaves the prompt's cache as it is without steering; a number ``n``, the first
            ``n`` of these; ``prompt``; a window ``(start, end)`` counted over the row's real
            tokens, end exclusive; or the ``PromptEdges``.
        relative: Scale each vector to the norm of the activation that it is added to, times the
            strength, in place of its own norm.
        cap: At most this share of the activation's norm is added at one place; None for no bound.
        max_norm: At most this is added at one token, at all places together: the Euclidean norm of
            all vectors times their strength. They are scaled down alike. None for no bound.
        decay: Factor from each steered token to the next.
        picked: The dictionary entries that the vectors were made from.
        fingerprint: The model that the vectors were read from, where it is known.
        stages: Low-rank interventions that change the row first, one after the other, each at its
            own positions; the vectors are added on top of them.
    """

    vectors: SteeringVectors
    strength: float | Mapping[Site, float] = 1.0
    positions: Where = "answer"
    relative: bool = False
    cap: float | None = None
    max_norm: float | None = None
    decay: float = 1.0
    picked: tuple[Picked, ...] = ()
    fingerprint: str | None = None
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        check_positions(self.positions)
        _check_strength(self.strength)
        bounds = (self.cap or 0, self.max_norm or 0, self.decay)
        if not all(bound >= 0 for bound in bounds) or not math.isfinite(self.decay):
            raise TrimtabError(
                "expected cap, max_norm and decay of at least 0, and a finite decay; got cap "
                f"{self.cap}, max_norm {self.max_norm}, decay {self.decay}"
            )
        if self.relative and self.max_norm is not None:
            raise TrimtabError(
                "expected max_norm or relative, not both: what a relative strength adds follows "
                "the activations, and cap bounds it"
            )

    def strength_at(self, site: Site) -> float:
        """The multiplier at a site."""
        if isinstance(self.strength, Mapping):
            return self.strength.get(site, 0.0)
        return self.strength

    @classmethod
    def by_stages(cls, stages: Sequence[Stage], fingerprint: str | None = None) -> Steering:
        """Trained interventions alone, without a vector."""
        return cls(SteeringVectors({}), fingerprint=fingerprint, stages=tuple(stages))

    def under(self, stages: Sequence[Stage]) -> Steering:
        """The same with these interventions before its own, under its vectors."""
        return replace(self, stages=(*stages, *self.stages))

    def pushes(self) -> dict[Point, float]:
        """At each point the norm of what is added, before decay and any ``cap``.

        Of a relative steering, the share of the activation's norm.
        """
        if self.relative:
            return {point: abs(self.strength_at(point.site)) for point in self.vectors.points}
        share = min(1.0, self.bound())
        return {
            point: share * abs(self.strength_at(point.site)) * norm
            for point, norm in self.vectors.norms().items()
        }

    def bound(self) -> float:
        """The largest factor of vectors times strength that ``max_norm`` allows."""
        if self.max_norm is None:
            return math.inf
        norms = self.vectors.norms()
        total = math.hypot(*(self.strength_at(point.site) * norms[point] for point in norms))
        return self.max_norm / total if total else math.inf

    @property
    def last_unchanged(self) -> float:
        """The last layer whose own output is as it is without steering; -1 where none is.

        What is added after a layer leaves what the layer itself gives. Infinite where nothing is.
        """
        changed = [
            point.layer if point.site == "block" else point.layer - 1
            for point in self.vectors.points
        ]
        for stage in self.stages:
            changed += [*stage.layers, *(place.layer - 1 for place in stage.modules)]
        return min(changed, default=math.inf)

    def start(self, prompt_length: int) -> int:
        """The first changed position; the cache of all before it is the unsteered one."""
        own = [self.positions] if self.vectors.values or not self.stages else []
        every = [*own, *(stage.positions for stage in self.stages)]
        return min(start_of(positions, prompt_length) for positions in every)


def _check_strength(strength: object) -> None:
    strengths: dict[Any, Any] = (
        dict(strength) if isinstance(strength, Mapping) else {"mlp": strength}
    )
    fine = all(type(number) in (int, float) for number in strengths.values())
    if not fine or set(strengths) - set(SITES) or not all(map(math.isfinite, strengths.values())):
        raise TrimtabError(
            f"expected finite strengths: a number, or one for each of {', '.join(SITES)}; got "
            f"strength {strength!r}"
        )
