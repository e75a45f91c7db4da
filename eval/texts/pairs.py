"""Contrast pairs of a run's users, with the task's own prompts and the model's own answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from ...steering.contrast.context import Context, HistorySample
from ...steering.contrast.pairs import (
    ContrastPair,
    Exchange,
    Messages,
    Prompt,
    context_pairs,
    response_pairs,
)
from ..methods.method import Kind
from ..metrics import METRICS

if TYPE_CHECKING:
    from ..methods.method import ModelVariant
    from .prompt import TextPrompt

_REJECTED_TEMPERATURE = 0.7

PUBLISHED_OTHERS = 5
"""Samples of other users that the authors' rejected answers are written after."""


class HavePasts(Protocol):
    """Users with what their pairs are made from; see ``TextUsers``."""

    prompt: TextPrompt

    @property
    def past(self) -> Mapping[str, Sequence[HistorySample]]:
        """Each user's history with an input for every sample."""

    @property
    def contexts(self) -> Mapping[str, Sequence[Context]]:
        """What may be shown with each past sample."""

    def surroundings(self, k: int) -> Mapping[str, Sequence[Context]]:
        """The same with at most ``k`` samples on each side."""

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
        """What the model writes, ``count`` texts a prompt."""


def make_pairs(
    users: HavePasts, kind: Kind, *, rejected: int, below: float, variant: ModelVariant | None
) -> dict[str, list[ContrastPair]]:
    """Every user's pairs of one kind; see ``TextUsers.pairs``."""

    def prompt(request: str, shown: Sequence[HistorySample]) -> Messages:
        return users.prompt.fit(request, shown=shown).messages

    if kind == "context":
        return context_pairs(users.contexts, prompt)
    if kind == "neutral":
        return _neutral(users, variant)

    def answers(prompts: Sequence[Messages]) -> list[list[str]]:
        return users.answers(
            "rejected answers",
            prompts,
            count=rejected,
            max_new_tokens=users.prompt.room,
            temperature=_REJECTED_TEMPERATURE,
            variant=variant,
        )

    around = users.surroundings(PUBLISHED_OTHERS) if kind == "published" else users.contexts
    pairs = response_pairs(
        around,
        prompt,
        answers,
        score=_rouge_l,
        threshold=below,
        limit=rejected,
    )
    return _behind_others(pairs, around, prompt) if kind == "published" else pairs


def _behind_others(
    pairs: Mapping[str, Sequence[ContrastPair]],
    around: Mapping[str, Sequence[Context]],
    prompt: Prompt,
) -> dict[str, list[ContrastPair]]:
    """The pairs with what the rejected answer was written after in front of both sides, raw."""
    found: dict[str, list[ContrastPair]] = {}
    for user, own in pairs.items():
        others = {context.sample.id: context.others for context in around[user]}
        found[user] = []
        for pair in own:
            messages = prompt(pair.request, others[pair.sample_id])
            positive, negative = (
                Exchange(messages, side.answer, raw=True) for side in (pair.positive, pair.negative)
            )
            found[user].append(replace(pair, positive=positive, negative=negative))
    return found


def _neutral(users: HavePasts, variant: ModelVariant | None) -> dict[str, list[ContrastPair]]:
    """What each user wrote against what the model writes to the same request by itself."""
    asked = [
        (user, sample, users.prompt.fit(sample.input).messages)
        for user, own in users.past.items()
        for sample in own
        if sample.output.strip()
    ]
    answers = users.answers(
        "neutral answers",
        [prompt for *_, prompt in asked],
        max_new_tokens=users.prompt.room,
        variant=variant,
    )
    pairs: dict[str, list[ContrastPair]] = {user: [] for user in users.past}
    for (user, sample, prompt), [answer] in zip(asked, answers, strict=True):
        if answer:
            pairs[user].append(
                ContrastPair(
                    sample_id=sample.id,
                    request=sample.input,
                    positive=Exchange(prompt, sample.output),
                    negative=Exchange(prompt, answer),
                    timestamp=sample.timestamp,
                )
            )
    return pairs


def _rouge_l(output: str, gold: str) -> float:
    score = METRICS["rouge-l"].score
    assert score is not None
    return score(output, gold) or 0.0
