"""What all steered methods share: the settings, what else stands in the prompt, the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from ...steering.dictionaries.settings import SteeringSettings
from ...steering.dictionaries.steer import Whose, steer_by
from .adapter import Adapter
from .method import Kind, Treatment
from .retrieval import By

if TYPE_CHECKING:
    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ..sample import Sample
    from .method import Method, PreparedUsers, Treat


@dataclass(frozen=True)
class Steered(SteeringSettings):
    """What all steered methods can be told besides the steering settings.

    Attributes:
        name: The method's name.
        context: How many relevant past samples stand in the prompt as well.
        by: What of the past is relevant to it.
        adapter: A folder with a LoRA adapter to steer on top of; empty is none.
        rejected: At most this many rejected answers a sample, for response contrast.
        below: The model's answer is a rejected one if its ROUGE-L against the user's is below
            this; None is the task's own bound.
        whose: Whose vectors steer.
        unused: Settings that say nothing to the method, and are refused.
    """

    name: ClassVar[str] = "steered"
    unused: ClassVar[frozenset[str]] = frozenset()

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
        for field in fields(self):
            if field.name in self.unused and getattr(self, field.name) != field.default:
                raise TrimtabError(
                    f"{self.name}: {field.name} changes nothing of this method; leave it out"
                )
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

    def entries(self, users: PreparedUsers, kinds: Sequence[Kind]) -> dict[str, SteeringDictionary]:
        """Each user's entries of these kinds, at this method's sites and layers alone."""
        return users.entries(
            self, kinds, rejected=self.rejected, below=self.below, variant=self.variant
        )

    @property
    def variant(self) -> Adapter | None:
        """The adapter, if there is one."""
        return Adapter.at(self.adapter) if self.adapter else None

    @property
    def settings(self) -> SteeringSettings:
        """The steering settings among the options."""
        names = (field.name for field in fields(SteeringSettings))
        return SteeringSettings(**{name: getattr(self, name) for name in names})

    def treating(
        self, users: PreparedUsers, dictionaries: Mapping[str, SteeringDictionary]
    ) -> Treat:
        """Treatments with this method's prompt and model variant, steered by these dictionaries."""
        steer = steer_by(dictionaries, self.settings, self.whose, users.seed, model=users.model)
        variant = self.variant

        def treat(sample: Sample) -> Treatment:
            shown = users.nearest(sample, self.by, self.context) if self.context else ()
            return Treatment(shown=shown, steer=steer, variant=variant)

        return treat
