"""Contrast pairs of a run's users, with the task's own prompts and the model's own answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ...steering.contrast.context import Sample
from ...steering.contrast.pairs import (
    ContrastPair,
    Exchange,
    Messages,
    context_pairs,
    response_pairs,
)
from ..metrics import METRICS

if TYPE_CHECKING:
    from .method import Weights
    from .prepared_users import Workbench

Kind = Literal["context", "response", "neutral"]

_REJECTED_TEMPERATURE = 0.7


def make_pairs(
    bench: Workbench, kind: Kind, *, rejected: int, below: float, under: Weights | None
) -> dict[str, list[ContrastPair]]:
    """Every user's pairs of one kind; see ``Workbench.pairs``."""

    def prompt(request: str, shown: Sequence[Sample]) -> Messages:
        return bench.prompt.fit(request, shown=shown).messages

    if kind == "context":
        return context_pairs(bench.contexts, prompt)
    if kind == "neutral":
        return _neutral(bench, under)

    def answers(prompts: Sequence[Messages]) -> list[list[str]]:
        return bench.answers(
            "rejected answers",
            prompts,
            count=rejected,
            max_new_tokens=bench.prompt.room,
            temperature=_REJECTED_TEMPERATURE,
            under=under,
        )

    return response_pairs(
        bench.contexts,
        prompt,
        answers,
        score=_rouge_l,
        threshold=below,
        limit=rejected,
    )


def _neutral(bench: Workbench, under: Weights | None) -> dict[str, list[ContrastPair]]:
    """What each user wrote against what the model writes to the same request by itself."""
    asked = [
        (user, sample, bench.prompt.fit(sample.input).messages)
        for user, own in bench.past.items()
        for sample in own
        if sample.output.strip()
    ]
    answers = bench.answers(
        "neutral answers",
        [prompt for *_, prompt in asked],
        max_new_tokens=bench.prompt.room,
        under=under,
    )
    found: dict[str, list[ContrastPair]] = {user: [] for user in bench.past}
    for (user, sample, prompt), [answer] in zip(asked, answers, strict=True):
        if answer:
            found[user].append(
                ContrastPair(
                    sample_id=sample.id,
                    request=sample.input,
                    positive=Exchange(prompt, sample.output),
                    negative=Exchange(prompt, answer),
                    timestamp=sample.timestamp,
                )
            )
    return found


def _rouge_l(output: str, gold: str) -> float:
    score = METRICS["rouge-l"].score
    assert score is not None
    return score(output, gold) or 0.0
