"""What a run keeps of one sample under one method: the answer with all that explains it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..metrics import benchmark_scores, first_line_scores
from ..runs.record import Record
from .answering import Answer, Decoding, Prompt

if TYPE_CHECKING:
    from ...steering.vectors.steering import Steering
    from ..sample import Sample
    from .kinds import WritingTask


def answered_record(
    method: str,
    sample: Sample,
    prompt: Prompt,
    got: Answer,
    task: WritingTask,
    decoding: Decoding,
    about: Mapping[str, Any],
) -> Record:
    """What is kept of an answer, with its scores."""
    return Record(
        method=method,
        sample_id=sample.key,
        user_id=sample.user_id,
        prompt=[dict(message) for message in prompt.fitted.messages],
        output=got.output,
        gold=sample.gold,
        scores=scores(task, got.output, sample.gold, generated=decoding.generate)
        | ({"log-likelihood": got.log_likelihood} if "log-likelihood" in task.metrics else {}),
        history=sample.history,
        picked=picked_entries(prompt.steering),
        prompt_tokens=got.prompt_tokens,
        completion_tokens=got.completion_tokens,
        seconds=round(got.seconds, 4),
        cut=sum(prompt.fitted.cut.values()),
        detail={**about, **_detail(sample, prompt, got, decoding)},
    )


def scores(
    task: WritingTask, output: str, gold: str, *, generated: bool
) -> dict[str, float | None]:
    """One output's scores by all of the task's metrics that score a single one.

    Args:
        task: The task.
        output: What the model wrote.
        gold: What the user wrote; "" where it is not known, which scores None.
        generated: Whether the model was asked to write at all; if not, there are no scores.
    """
    if not generated:
        return {}
    values: dict[str, float | None] = {}
    for name in task.metrics:
        score = task.metric(name).score
        if score is not None:
            values[name] = score(output, gold) if gold.strip() else None
    return values | benchmark_scores(values, output, gold) | first_line_scores(values, output, gold)


def picked_entries(steering: Steering | None) -> list[dict[str, Any]]:
    """The dictionary entries that steered, as a record keeps them."""
    if steering is None:
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
        for picked in steering.picked
    ]


def _detail(sample: Sample, prompt: Prompt, got: Answer, decoding: Decoding) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "repeat": sample.repeat,
        "draws": prompt.draws,
        "decode": {k: v for k, v in asdict(decoding).items() if k != "batch_size"},
        "batch": decoding.batch_size,
        "finish": got.finish,
        "gold_tokens": got.gold_tokens,
    }
    if prompt.fitted.cut:
        detail["cut"] = dict(prompt.fitted.cut)
    if prompt.without is not None:
        detail["plain_prompt"] = [dict(message) for message in prompt.without.messages]
        detail["guidance"] = prompt.guidance
    if prompt.variant is not None:
        detail["variant"] = prompt.variant.key
    if prompt.steering is not None:
        detail["pushes"] = {
            f"{point.layer} {point.site}": round(norm, 4) if math.isfinite(norm) else None
            for point, norm in prompt.steering.pushes().items()
        }
    return detail
