"""What writing users did before: what is shown of it, and what describes a person.

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
from ...steering.contrast.context import HistorySample
from ...steering.contrast.pairs import Messages
from ..methods.retrieval import By, RememberedEncoder, nearest
from ..methods.written import WrittenTexts
from ..sample import Progress, Sample, counted
from .prompt import Fitted, TextPrompt

if TYPE_CHECKING:
    from ...steering.model import SteeredModel
    from ..methods.method import ModelVariant
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

_REWRITE = (
    "You rewrite texts. Answer with the rewritten text alone.",
    "Say the following in plain and neutral words, with nothing of its author's style:\n",
)


class TextHistories:
    """The past of a writing task's users: what comes first for a request, what describes them.

    Args:
        model: The model.
        task: The task.
        users: The users; the outputs of their tests are dropped here.
        folder: Where what is made is kept.
        seed: Of what is drawn, and of who lends to whom.
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
        context: int | None = None,
        batch_size: int = 48,
        progress: Progress | None = None,
    ) -> None:
        self.model = model
        self.task = task
        self.users = {user.id: blind(user) for user in users}
        self.folder = folder
        self.seed = seed
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
