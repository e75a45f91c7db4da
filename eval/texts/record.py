"""What a run keeps of one sample under one method: the answer with all that explains it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..metrics import benchmark_scores
from ..runs.record import Record
from .answering import Answer, Decoding, Question

if TYPE_CHECKING:
    from ...envs.texts.dataset import TextSample, TextUser
    from ..methods.method import Asked
    from ..methods.registry import Named
    from .tasks import Task


@dataclass(frozen=True)
class Item:
    """One sample under one method, once."""

    named: Named
    user: TextUser
    sample: TextSample
    repeat: int

    @property
    def sample_id(self) -> str:
        """Unique among the run's samples; a repeat counts as a sample of its own."""
        again = f"#{self.repeat}" if self.repeat else ""
        return f"{self.user.id}/{self.sample.id}{again}"


def answered_record(
    item: Item, question: Question, got: Answer, task: Task, decoding: Decoding
) -> Record:
    """What is kept of an answer, with its scores."""
    asked = question.asked
    return Record(
        method=item.named.label,
        sample_id=item.sample_id,
        user_id=item.user.id,
        prompt=[dict(message) for message in asked.prompt.messages],
        output=got.output,
        gold=item.sample.output,
        scores=scores(task, got.output, item.sample.output, generated=decoding.generate)
        | ({"log-likelihood": got.log_likelihood} if "log-likelihood" in task.metrics else {}),
        history=len(item.user.history),
        picked=_picked(asked),
        prompt_tokens=got.prompt_tokens,
        completion_tokens=got.completion_tokens,
        seconds=round(got.seconds, 4),
        cut=sum(asked.prompt.cut.values()),
        detail=_detail(item, question, got, decoding),
    )


def scores(task: Task, output: str, gold: str, *, generated: bool) -> dict[str, float | None]:
    """One output's scores by all of the task's metrics that score a single one.

    Args:
        task: The task.
        output: What the model wrote.
        gold: What the user wrote; "" where it is not known, which scores None.
        generated: Whether the model was asked to write at all; if not, there are no scores.
    """
    if not generated:
        return {}
    found: dict[str, float | None] = {}
    for name in task.metrics:
        score = task.metric(name).score
        if score is not None:
            found[name] = score(output, gold) if gold.strip() else None
    return found | benchmark_scores(found, output, gold)


def _picked(asked: Asked) -> list[dict[str, Any]]:
    if asked.steering is None:
        return []
    return [
        {
            "sample_id": picked.entry.sample_id,
            "key": picked.entry.key,
            "answer": picked.entry.answer,
            "contrast": picked.entry.contrast,
            "similarity": round(picked.similarity, 5),
            "weight": round(picked.weight, 5),
            "norms": [round(norm, 3) for norm in picked.norms],
        }
        for picked in asked.steering.picked
    ]


def _detail(item: Item, question: Question, got: Answer, decoding: Decoding) -> dict[str, Any]:
    asked = question.asked
    detail: dict[str, Any] = {
        **asked.detail,
        "repeat": item.repeat,
        "draws": question.draws,
        "decode": {k: v for k, v in asdict(decoding).items() if k != "batch_size"},
        "batch": decoding.batch_size,
        "finish": got.finish,
        "gold_tokens": got.gold_tokens,
    }
    if asked.prompt.cut:
        detail["cut"] = dict(asked.prompt.cut)
    if asked.plain is not None:
        detail["plain_prompt"] = [dict(message) for message in asked.plain.messages]
        detail["guidance"] = asked.guidance
    if asked.under is not None:
        detail["under"] = asked.under.key
    if asked.steering is not None:
        detail["pushes"] = {
            f"{point.layer} {point.site}": round(norm, 4) if math.isfinite(norm) else None
            for point, norm in asked.steering.pushes().items()
        }
    return detail


def failed_record(item: Item, asked: Asked | None, error: str) -> Record:
    """What is kept where the machinery failed: no scores, which is not the same as wrong."""
    return Record(
        method=item.named.label,
        sample_id=item.sample_id,
        user_id=item.user.id,
        prompt=[dict(message) for message in asked.prompt.messages] if asked else [],
        gold=item.sample.output,
        history=len(item.user.history),
        error=error,
        detail={"repeat": item.repeat},
    )
