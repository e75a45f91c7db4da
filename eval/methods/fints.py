"""Fints: the user's own dictionary, asked at every request (arXiv 2510.27206), and its controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import TrimtabError
from ...steering.dictionaries.derangement import derangement
from ...steering.dictionaries.population import Population
from ...steering.dictionaries.settings import SteeringSettings
from ...steering.dictionaries.two_parts import TwoParts
from ...steering.vectors.entries import Contrast
from ...steering.vectors.steering import Steering
from ...steering.vectors.steering_vectors import SteeringVectors, points_of
from .adapter import Adapter
from .entries import one_after_another
from .method import Asked
from .retrieval import By

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...envs.texts.dataset import TextSample
    from ...steering.dictionaries.dictionary import SteeringDictionary
    from .method import Ask, Method
    from .prepared_users import Workbench

Whose = Literal["own", "other", "population"]
"""Whose vectors steer: the user's own or, as controls, another user's or all other users' mean."""


@dataclass(frozen=True)
class Steered(SteeringSettings):
    """What all steered methods can be told besides the steering settings.

    Attributes:
        context: How many relevant past samples stand in the prompt as well.
        by: What of the past is relevant to it.
        adapter: A folder with a LoRA adapter to steer on top of; empty is none.
        rejected: At most this many rejected answers a sample, for response contrast.
        below: The model's answer is a rejected one if its ROUGE-L against the user's is below
            this; None is the task's own bound.
        whose: Whose vectors steer.
    """

    context: int = 0
    by: By = "encoder"
    adapter: str = ""
    rejected: int = 2
    below: float | None = None
    whose: Whose = "own"

    def __post_init__(self) -> None:
        """Refuse what cannot steer.

        Raises:
            TrimtabError: A value out of its range.
        """
        super().__post_init__()
        if self.context < 0 or self.rejected < 1:
            raise TrimtabError(
                "expected context of at least 0 and rejected of at least 1, got "
                f"{self.context} and {self.rejected}"
            )

    def controls(self) -> Mapping[str, Method]:
        """The same with another user's dictionary, and with all other users' mean.

        None where nothing of it is the user's own: they would be the same.
        """
        if self.whose != "own" or not self.picks:
            return {}
        both: tuple[Whose, ...] = ("other", "population")
        return {whose: replace(self, whose=whose) for whose in both}  # type: ignore[misc]

    def entries(self, bench: Workbench, *kinds: Contrast) -> dict[str, SteeringDictionary]:
        """Each user's entries of these kinds, at this method's sites and layers alone."""
        layers = self.layers(bench.model)
        points = points_of(layers, self.sites)
        found = [
            bench.dictionaries(
                kind,
                layers=layers,
                keys=self.keys,
                rejected=self.rejected,
                below=self.below,
                under=self.under,
            )
            for kind in kinds
        ]
        return {
            user: one_after_another([each[user] for each in found if user in each]).restricted(
                points
            )
            for user in bench.users
            if any(user in each for each in found)
        }

    @property
    def under(self) -> Adapter | None:
        """The adapter, if there is one."""
        return Adapter.at(self.adapter) if self.adapter else None

    def by_vectors(self, vectors: SteeringVectors, fingerprint: str) -> Steering:
        """Steering by vectors that no entry was picked for, added as the settings say."""
        return Steering(
            vectors,
            strength=self.strength,
            positions=self.positions,
            relative=self.relative,
            cap=self.cap or None,
            max_norm=self.max_norm or None,
            fingerprint=fingerprint,
        )

    def asking(self, bench: Workbench, steer: Callable[[str, TextSample], Steering | None]) -> Ask:
        """Requests with this method's prompt and weights, steered by ``steer``."""
        under = self.under

        def ask(user_id: str, sample: TextSample) -> Asked:
            shown = bench.nearest(user_id, sample, self.by, self.context)
            prompt = bench.prompt.fit(sample.input, shown=shown)
            steering = steer(user_id, sample)
            detail: dict[str, Any] = {"steered": steering is not None}
            if shown:
                detail["shown"] = [past.id for past in shown[: prompt.shown]]
            return Asked(prompt, steering=steering, under=under, detail=detail)

        return ask


@dataclass(frozen=True)
class Fints(Steered):
    """Entries of the user's dictionary that resemble the request, combined, added.

    With ``collective`` or ``personal`` above 0 it steers in two parts, as ``two-part`` does; the
    personal part is then of ``contrast``.
    """

    name: ClassVar[str] = "fints"

    contrast: Contrast | Literal["any"] = "response"

    def prepare(self, bench: Workbench) -> Ask:
        """Build every user's dictionary."""
        kinds = self._kinds()
        found = self.entries(bench, *kinds)
        if not found:
            raise TrimtabError(
                f"{self.name}: no user has a contrast pair, so that nothing can be steered with; "
                "take more users or a longer history"
            )
        two = self.in_two_parts
        usual = self.outliers != "keep" and len(found) > 1
        others = without_each(found) if two or usual else {}
        if self.whose == "population":
            vectors = self._collective(found, others) if two else others_means(found, kinds)

            def mean(user_id: str, sample: TextSample) -> Steering | None:
                own = vectors.get(user_id)
                return self.by_vectors(own, bench.model.fingerprint) if own else None

            return self.asking(bench, mean)
        lender = derangement(found, bench.seed) if self.whose == "other" else {u: u for u in found}

        def steer(user_id: str, sample: TextSample) -> Steering | None:
            if user_id not in found:
                return None
            query = bench.query(sample)
            return self.select(found[lender[user_id]], query, others=others.get(user_id))

        return self.asking(bench, steer)

    def _kinds(self) -> tuple[Contrast, ...]:
        """The kinds of entries that are needed."""
        if self.in_two_parts:
            personal = (self.personal_from,) if self.personal else ()
            return tuple(dict.fromkeys(("response", *personal)))
        return ("response", "context") if self.contrast == "any" else (self.contrast,)

    def _collective(
        self, found: Mapping[str, SteeringDictionary], others: Mapping[str, Population]
    ) -> dict[str, SteeringVectors]:
        return {
            user: TwoParts(others[user], self.collective).vectors(own.points, None)
            for user, own in found.items()
        }


def without_each(found: Mapping[str, SteeringDictionary]) -> dict[str, Population]:
    """For each user everybody's entries without the user's own.

    Raises:
        TrimtabError: There is no other user.
    """
    if len(found) < 2:
        raise TrimtabError(
            "the mean of all other users needs at least two users with something to steer by, got "
            f"{len(found)}; take more users"
        )
    everybody = Population.of(*found.values())
    return {user: everybody.minus(Population.of(own)) for user, own in found.items()}


def others_means(
    found: Mapping[str, SteeringDictionary], kinds: tuple[Contrast, ...]
) -> dict[str, SteeringVectors]:
    """For each user the mean vector of all other users' entries; of two kinds, their average.

    Raises:
        TrimtabError: There is no other user.
    """
    means = {}
    for user, others in without_each(found).items():
        there = [kind for kind in kinds if kind in others.kinds] or list(kinds)
        means[user] = SteeringVectors.mean(others.mean(kind) for kind in there)
    return means
