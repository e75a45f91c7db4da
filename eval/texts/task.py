"""A writing task as the runner sees it: samples, prompts, answers, records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError
from ...files import home
from ...steering.dictionaries.settings import SteeringSettings
from ..runs.record import Record
from ..task import Item, Outcome
from .answering import Answer, Prompt, answer
from .histories import text_sample
from .record import answered_record
from .users import TextUsers

if TYPE_CHECKING:
    from ...envs.texts.dataset import TextDataset
    from ...steering.model import SteeredModel
    from ..methods.registry import Named
    from ..sample import Progress, Sample
    from .plan import TextPlan

_CHUNK_TOKENS = 8192  # answered between two writes to the disk, at most


class TextTask:
    """People's own texts, written or labelled by a model.

    Args:
        plan: What is asked, and how answers are made.
        model: The plan's model.
        dataset: The plan's data.
        cache: Where dictionaries, profiles and other prepared things are kept; None is trimtab's
            own folder.
        batch_size: At most this many rows at once; with 1 a record's seconds are its own latency.
    """

    def __init__(
        self,
        plan: TextPlan,
        model: SteeredModel,
        dataset: TextDataset,
        *,
        cache: Path | None = None,
        batch_size: int = 48,
    ) -> None:
        self.plan = plan
        self.model = model
        self.dataset = dataset
        self.cache = cache or home() / "eval"
        self.batch_size = batch_size
        self.kind = plan.running_task()
        self.name = plan.task
        self.metrics = plan.metrics
        self._users: TextUsers | None = None

    def samples(self) -> list[Sample]:
        """Every user's tests."""
        return [text_sample(user, test) for user in self.dataset.users for test in user.tests]

    def configuration(self) -> dict[str, Any]:
        """What decides the results: model, data, and how answers are made."""
        return self.plan.configuration(self.model, self.dataset)

    def prepare(self, methods: Sequence[Named], progress: Progress | None = None) -> TextUsers:
        """The users, ready for the methods, whose layers are read in one pass.

        Raises:
            TrimtabError: A context without room for any request.
        """
        self._users = TextUsers(
            self.model,
            self.kind,
            self.dataset.users,
            folder=self.cache,
            seed=self.plan.seed,
            layers=_layers(methods, self.model),
            context=self.plan.context,
            batch_size=self.batch_size,
            progress=progress,
        )
        self._users.prompt.fit("")  # refuses a context without room for any request
        return self._users

    def chunks(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Whole samples: enough rows for full batches, few enough that little can be lost."""
        decoding = self.plan.decoding(self.batch_size)
        rows = 1
        if self.batch_size > 1:
            room = _CHUNK_TOKENS // (decoding.max_new_tokens if decoding.generate else 32)
            rows = max(self.batch_size, min(room, 4 * self.batch_size))
        chunk: list[Item] = []
        for item in items:
            new_sample = not chunk or chunk[-1].sample.key != item.sample.key
            if chunk and (rows == 1 or (new_sample and len(chunk) >= rows)):
                yield chunk
                chunk = []
            chunk.append(item)
        if chunk:
            yield chunk

    def answer(self, items: Sequence[Item], *, narrower: int = 1) -> Iterator[Outcome]:
        """Answer and score the items in common batches, each told of as it ends."""
        prompts: list[tuple[Item, Prompt]] = []
        for item in items:
            try:
                prompts.append((item, self.prompt(item)))
            except Exception as error:
                yield Outcome(item, error=error)
        if not prompts:
            return
        decoding = self.plan.decoding(max(self.batch_size // narrower, 1))
        answers = answer(
            self.model,
            [prompt for _, prompt in prompts],
            decoding,
            likelihoods="log-likelihood" in self.kind.metrics,
        )
        for place, got in answers:
            item, prompt = prompts[place]
            fault = _fault(got)
            if fault:
                yield Outcome(item, error=TrimtabError(fault))
                continue
            sample, about = item.sample, _about(item, prompt)
            yield Outcome(
                item,
                answered_record(item.method, sample, prompt, got, self.kind, decoding, about),
            )

    def prompt(self, item: Item) -> Prompt:
        """What the model reads for an item, and by what it is steered."""
        assert self._users is not None, "prepare comes first"
        return prompt_of(self._users, item)

    def failed(self, item: Item, error: str) -> Record:
        """The record of an item without an answer."""
        try:
            prompt = [dict(message) for message in self.prompt(item).fitted.messages]
        except Exception:
            prompt = []  # what failed may have been the prompt
        return Record(
            method=item.method,
            sample_id=item.sample.key,
            user_id=item.sample.user_id,
            prompt=prompt,
            gold=item.sample.gold,
            history=item.sample.history,
            error=error,
            detail={"repeat": item.sample.repeat},
        )

    def summary(self, records: Sequence[Record]) -> Mapping[str, Any]:
        """Nothing besides what all tasks' have."""
        return {}


def prompt_of(users: TextUsers, item: Item) -> Prompt:
    """What a model reads for an item, and by what it is steered."""
    sample, treatment = item.sample, item.treatment
    guided = treatment.guidance is not None
    return Prompt(
        users.prompt.fit(
            sample.request,
            shown=treatment.shown,
            profile=treatment.profile,
            show=treatment.show,
        ),
        steering=users.steering(sample.unseen(), treatment.steer) if treatment.steer else None,
        without=users.prompt.fit(sample.request) if guided else None,
        guidance=treatment.guidance or 0.0,
        variant=treatment.variant,
        gold=sample.gold,
        draws=sample.draws,
    )


def _about(item: Item, prompt: Prompt) -> dict[str, Any]:
    """What the method did, for a person to read."""
    treatment = item.treatment
    about: dict[str, Any] = dict(treatment.detail)
    if treatment.shown:
        about["shown"] = [past.id for past in treatment.shown[: prompt.fitted.shown]]
    if treatment.steer is not None:
        about["steered"] = prompt.steering is not None
    return about


def _fault(got: Answer) -> str:
    likelihood = got.log_likelihood
    if likelihood is None or math.isfinite(likelihood):
        return ""
    return (
        f"the user's own text has no finite likelihood ({likelihood}); is the strength too large?"
    )


def _layers(methods: Sequence[Named], model: SteeredModel) -> list[int]:
    """All layers that any method steers at, so that one pass reads them."""
    settings = [n.method for n in methods if isinstance(n.method, SteeringSettings)]
    return sorted({layer for each in settings for layer in each.layers(model)})
