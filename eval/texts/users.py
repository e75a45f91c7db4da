"""Writing users made ready for methods: contrast pairs, dictionaries, and what is learned from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ...envs.texts.dataset import TextUser
from ...steering.contrast.context import Context, contexts
from ...steering.contrast.pairs import ContrastPair, Keys
from ...steering.dictionaries.dictionary import SteeringDictionary
from ...steering.dictionaries.steer import SteerBy
from ...steering.vectors.steering_vectors import points_of
from ..methods.entries import kept_dictionaries, one_after_another
from ..methods.method import Kind, PastExchange
from ..methods.retrieval import By, relevance
from ..sample import Progress, Sample
from .exchanges import other_people, past_exchanges
from .histories import TextHistories
from .pairs import make_pairs

if TYPE_CHECKING:
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.model import SteeredModel
    from ...steering.vectors.steering import Steering
    from ..methods.method import ModelVariant, Steer
    from .kinds import WritingTask

_SURROUNDING = 3  # samples on each side of a context contrast, and shown for a rejected answer


class TextUsers(TextHistories):
    """The users of a writing task, ready for methods.

    Args:
        model: As for ``TextHistories``.
        task: The same.
        users: The same.
        folder: The same.
        seed: The same; and of the other people's samples that contrasts show.
        layers: Layers that any method will want, so that all are read in one pass.
        context: As for ``TextHistories``.
        batch_size: The same.
        progress: The same.
    """

    def __init__(
        self,
        model: SteeredModel,
        task: WritingTask,
        users: Sequence[TextUser],
        *,
        folder: Path,
        seed: int = 0,
        layers: Sequence[int] = (),
        context: int | None = None,
        batch_size: int = 48,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(
            model,
            task,
            users,
            folder=folder,
            seed=seed,
            context=context,
            batch_size=batch_size,
            progress=progress,
        )
        self.layers = tuple(layers)
        self._pairs: dict[tuple[Kind, int, float, str], dict[str, list[ContrastPair]]] = {}
        self._dictionaries: dict[object, dict[str, SteeringDictionary]] = {}
        self._context = context
        self._other_people: dict[tuple[str, int], TextUsers] = {}

    def entries(
        self,
        settings: SteeringSettings,
        kinds: Sequence[Kind],
        *,
        rejected: int = 2,
        below: float | None = None,
        variant: ModelVariant | None = None,
    ) -> dict[str, SteeringDictionary]:
        """Each user's entries of these kinds, at the settings' own points alone."""
        layers = settings.layers(self.model)
        by_kind = [
            self.dictionaries(
                kind,
                layers=layers,
                keys=settings.keys,
                rejected=rejected,
                below=below,
                variant=variant,
            )
            for kind in kinds
        ]
        points = points_of(layers, settings.sites)
        return {
            user: one_after_another([each[user] for each in by_kind if user in each]).restricted(
                points
            )
            for user in self.users
            if any(user in each for each in by_kind)
        }

    def steering(self, sample: Sample, steer: Steer) -> Steering | None:
        """What a method adds for a sample; the request's embedding is worked out once for all."""
        body = self.body(sample.request)
        query = self._queries[body] if isinstance(steer, SteerBy) else body
        return steer(sample.user_id, query, sample.before)

    def outputs(self, data: str = "", *, latest: int = 0) -> dict[str, dict[str, str]]:
        """What each user wrote earlier, by the past sample's id, oldest first; see the protocol."""
        users = self._others(data, latest) if data else self
        return {
            user.id: {past.id: text for past in user.history if (text := past.output.strip())}
            for user in users.users.values()
        }

    def exchanges(
        self,
        data: str = "",
        *,
        latest: int = 0,
        targets: int = 0,
        shown: int = 0,
        by: By = "encoder",
        people: Collection[str] | None = None,
    ) -> dict[str, list[PastExchange]]:
        """Each user's past samples as prompts with answers, oldest first; see the protocol."""
        users = self._others(data, latest) if data else self
        return past_exchanges(users, targets=targets, shown=shown, by=by, people=people)

    def _others(self, data: str, latest: int) -> TextUsers:
        """The users of other data, made ready in the same way."""
        if (data, latest) not in self._other_people:
            others = TextUsers(
                self.model,
                self.task,
                other_people(self.task, data, self.seed, self.users.values(), latest),
                folder=self.folder,
                seed=self.seed,
                context=self._context,
                batch_size=self.batch_size,
                progress=self.progress,
            )
            self._other_people[data, latest] = others
        return self._other_people[data, latest]

    @cached_property
    def contexts(self) -> dict[str, list[Context]]:
        """What may be shown with each past sample: earlier ones, own and other people's."""
        return self.surroundings(_SURROUNDING)

    def surroundings(self, k: int) -> dict[str, list[Context]]:
        """The same with at most ``k`` samples on each side."""
        past = self.past
        with self.telling("contexts", len(past)) as done:
            bodies = {
                user: [replace(s, input=self.body(s.input)) for s in own]
                for user, own in past.items()
            }
            whole = {(user, s.id): s for user, own in past.items() for s in own}
            around = contexts(bodies, relevance("encoder", self.encoder), k=k, seed=self.seed)
            done(len(past))
        return {
            user: [replace(c, sample=whole[user, c.sample.id]) for c in own]
            for user, own in around.items()
        }

    def pairs(
        self,
        kind: Kind,
        *,
        rejected: int = 2,
        below: float | None = None,
        variant: ModelVariant | None = None,
    ) -> dict[str, list[ContrastPair]]:
        """Every user's contrast pairs, from their history alone.

        Args:
            kind: ``context`` or ``response`` contrast, or ``neutral``: what the user wrote against
                what the model writes to the same request by itself.
            rejected: At most this many rejected answers a sample, for ``response``.
            below: Their ROUGE-L against the user's own is below this; None is the task's bound.
            variant: What the model that writes runs as.
        """
        below = self.task.rejected_below if below is None else below
        key = kind, rejected, below, variant.key if variant else ""
        if key not in self._pairs:
            made = make_pairs(self, kind, rejected=rejected, below=below, variant=variant)
            # Keys leave out what all requests have in common.
            self._pairs[key] = {
                user: [replace(pair, request=self.body(pair.request)) for pair in own]
                for user, own in made.items()
            }
        return self._pairs[key]

    def dictionaries(
        self,
        kind: Kind,
        *,
        layers: Sequence[int],
        keys: Keys = "input",
        rejected: int = 2,
        below: float | None = None,
        variant: ModelVariant | None = None,
    ) -> dict[str, SteeringDictionary]:
        """Every user's dictionary from their pairs, at all sites; kept by content.

        A user without pairs has none.

        Args:
            kind: As for ``pairs``.
            layers: That are wanted now; those of other methods are read with them.
            keys: What the key texts are made of.
            rejected: As for ``pairs``.
            below: As for ``pairs``.
            variant: What the model that is read runs as.
        """
        wanted = tuple(sorted({*layers, *self.layers}))
        where = kind, wanted, keys, rejected, below, variant.key if variant else ""
        if where not in self._dictionaries:
            pairs = self.pairs(kind, rejected=rejected, below=below, variant=variant)
            total = sum(map(bool, pairs.values()))
            with self.telling(f"dictionaries, {kind}", total) as done, self.running(variant):
                self._dictionaries[where] = kept_dictionaries(
                    self.model,
                    pairs,
                    layers=wanted,
                    keys=keys,
                    folder=self.folder / "entries",
                    variant=variant.key if variant else "",
                    progress=done,
                )
        return self._dictionaries[where]
