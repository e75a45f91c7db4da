"""Writing users made ready for methods: their past, and what is made of it once.

No output of a test sample is here: they are blanked before any method sees a user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ...envs.texts.dataset import TextSample, TextUser
from ...envs.texts.lamp import LAMP
from ...steering.contrast.context import Context, HistorySample, contexts
from ...steering.contrast.pairs import ContrastPair, Keys, Messages
from ...steering.dictionaries.dictionary import SteeringDictionary
from ...steering.dictionaries.steer import SteerBy
from ...steering.vectors.steering_vectors import points_of
from ..methods.entries import kept_dictionaries, one_after_another
from ..methods.method import Kind, PastExchange
from ..methods.retrieval import By, RememberedEncoder, nearest, relevance
from ..methods.written import WrittenTexts
from ..sample import Progress, Sample, counted
from .exchanges import other_people, past_exchanges
from .pairs import make_pairs
from .prompt import Fitted, TextPrompt

if TYPE_CHECKING:
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.model import SteeredModel
    from ...steering.vectors.steering import Steering
    from ..methods.method import ModelVariant, Steer
    from .kinds import WritingTask

PROFILE_SYSTEM = "You describe how people write. Answer with the description alone."
WRITING_PROFILE = (
    "Describe in three short sentences how this person writes: length, tone, punctuation, "
    "favourite words and subjects. Name no single text."
)
LABELS_PROFILE = (
    "Describe in three short sentences how this person answers such questions: which answers they "
    "prefer, and for what. Name no single question."
)
_CHARACTERS = 400  # of one past text; a profile needs many texts rather than long ones

_SURROUNDING = 3  # samples on each side of a context contrast, and shown for a rejected answer

_REWRITE = (
    "You rewrite texts. Answer with the rewritten text alone.",
    "Say the following in plain and neutral words, with nothing of its author's style:\n",
)


class TextUsers:
    """The users of a writing task, ready for methods.

    Args:
        model: The model.
        task: The task.
        users: The users; the outputs of their tests are dropped here.
        folder: Where what is made is kept.
        seed: Of the other people's samples that contrasts show, and of who lends to whom.
        layers: Layers that any method will want, so that all are read in one pass.
        context: Tokens of prompt and answer together; None is the model's own limit.
        batch_size: At most this many rows at once.
        progress: Told how far a preparation is.
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
        self.model = model
        self.task = task
        self.users = {user.id: blind(user) for user in users}
        self.folder = folder
        self.seed = seed
        self.layers = tuple(layers)
        self.batch_size = batch_size
        self.written = WrittenTexts(folder / "texts.sqlite")
        self.encoder = RememberedEncoder(model.encoder)
        self.instruction = LAMP[task.name].question if task.name in LAMP else ""
        self.prompt = TextPrompt(
            model,
            task.system,
            task.max_new_tokens,
            context,
            # A label says nothing without what it was given to.
            show="both" if task.labels else "outputs",
            instruction=self.instruction,
        )
        self.progress = progress
        self._rankings: dict[tuple[str, str, By], tuple[TextSample, ...]] = {}
        self._pairs: dict[tuple[Kind, int, float, str], dict[str, list[ContrastPair]]] = {}
        self._dictionaries: dict[object, dict[str, SteeringDictionary]] = {}
        self._context = context
        self._other_people: dict[tuple[str, int], TextUsers] = {}

    def body(self, request: str) -> str:
        """A request without the task's instruction."""
        return request.removeprefix(self.instruction)

    @cached_property
    def _queries(self) -> dict[str, Tensor]:
        texts = sorted({self.body(s.input) for user in self.users.values() for s in user.tests})
        return dict(zip(texts, self.encoder.encode(texts), strict=True))

    @cached_property
    def past(self) -> dict[str, tuple[HistorySample, ...]]:
        """Each user's history with an input for every sample.

        Where the benchmark tells only what the user wrote, the input asks for a neutral rewriting
        of that, which the model writes.
        """
        silent = [
            sample.output
            for user in self.users.values()
            for sample in user.history
            if not sample.input
        ]
        neutral = dict(zip(silent, self.rewritten(silent), strict=True))
        return {
            user.id: tuple(
                HistorySample(
                    sample.id,
                    sample.input or self.instruction + neutral[sample.output],
                    sample.output,
                    sample.timestamp,
                )
                for sample in user.history
            )
            for user in self.users.values()
        }

    def rewritten(self, texts: Sequence[str]) -> list[str]:
        """The model's own neutral rewritings of texts."""
        if not texts:
            return []
        system, ask = _REWRITE
        prompt = replace(self.prompt, system=system)
        prompts = [prompt.fit(ask + text).messages for text in texts]
        answers = self.answers("neutral rewritings", prompts, max_new_tokens=self.prompt.room)
        # Nothing written is no request; the text itself asks for itself, and contrasts little.
        return [answer or text.strip() for text, [answer] in zip(texts, answers, strict=True)]

    def answers(
        self,
        what: str,
        prompts: Sequence[Messages],
        *,
        count: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        variant: ModelVariant | None = None,
    ) -> list[list[str]]:
        """What the model writes, unsteered, ``count`` texts a prompt; kept by content.

        Args:
            what: What they are, for a person who waits.
            prompts: Messages.
            count: Answers to each.
            max_new_tokens: At most this many tokens an answer.
            temperature: Of the draws.
            variant: What the model runs as.
        """
        with self.telling(what, len(prompts) * count) as done, self.running(variant):
            return self.written.answers(
                self.model,
                prompts,
                count=count,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                variant=variant.key if variant else "",
                batch_size=self.batch_size,
                progress=done,
            )

    def running(self, variant: ModelVariant | None) -> AbstractContextManager[None]:
        """The variant put on, if any."""
        return variant.active(self.model) if variant else nullcontext()

    @contextmanager
    def telling(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Tell how far something is; gives what to call with how many more are done."""
        yield counted(self.progress, what, total)

    def samples(self) -> list[Sample]:
        """The test samples without their golds."""
        return [text_sample(user, test) for user in self.users.values() for test in user.tests]

    def nearest(self, sample: Sample, by: By, k: int) -> tuple[TextSample, ...]:
        """The user's past samples that come first for a request, the best first.

        A sample without an input is compared by its output.
        """
        where = sample.user_id, sample.id, by
        if where not in self._rankings:
            history = self.users[sample.user_id].history
            order = nearest(
                [self.body(past.input) or past.output for past in history],
                self.body(sample.request),
                by,
                self.encoder,
                seed=f"{self.seed}/{sample.id}",
            )
            self._rankings[where] = tuple(history[place] for place in order)
        return self._rankings[where] if by == "all" else self._rankings[where][:k]

    def latest(self, sample: Sample, count: int) -> tuple[TextSample, ...]:
        """The user's past samples, the latest first."""
        return self.users[sample.user_id].history[::-1][:count]

    def describing(self, sample: Sample, count: int, tokens: int) -> Fitted:
        """What a profile is asked for with; without the earliest where not all fit."""
        labels = bool(self.task.labels)
        shown = [_shortened(past) for past in self.latest(sample, count)]
        return replace(self.prompt, system=PROFILE_SYSTEM, room=tokens).fit(
            LABELS_PROFILE if labels else WRITING_PROFILE,
            shown=shown,
            show="both" if labels else "outputs",
        )

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
    ) -> dict[str, list[PastExchange]]:
        """Each user's past samples as prompts with answers, oldest first; see the protocol."""
        users = self._others(data, latest) if data else self
        return past_exchanges(users, targets=targets, shown=shown, by=by)

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


@dataclass(frozen=True)
class _Shortened:
    """A past sample with its texts cut to their first characters."""

    input: str
    output: str


def _shortened(past: TextSample) -> _Shortened:
    texts = (
        text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]} ..."
        for text in (past.input, past.output)
    )
    return _Shortened(*texts)


def text_sample(user: TextUser, test: TextSample) -> Sample:
    """A test of a user's as the runner and the methods see it."""
    return Sample(
        f"{user.id}/{test.id}",
        user.id,
        request=test.input,
        gold=test.output,
        history=len(user.history),
    )


def blind(user: TextUser) -> TextUser:
    """The user without the outputs of their tests."""
    return replace(user, tests=tuple(replace(test, output="") for test in user.tests))
