"""What a method takes, a sample: tokens and time, what was cut, and what failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runs.record import Record


@dataclass(frozen=True)
class Cost:
    """What a method takes, a sample; what failed is in the count of errors alone.

    Attributes:
        method: The method.
        samples: How many were answered.
        prompt_tokens: Mean.
        completion_tokens: Mean.
        latency: Mean of the seconds from request to answer; NaN unless every sample was answered
            alone, since in a batch a sample's own seconds cannot be told.
        batch_seconds: Mean of the shares of batches' seconds that go with a sample's tokens, which
            is 1 over the samples a second; NaN where samples were answered alone, or it was not
            kept how many were answered at once.
        cut: Samples with something cut to fit the context.
        unsteered: Samples that a steered method had nothing to steer with for.
        errors: Samples that the machinery failed on.
    """

    method: str
    samples: int
    prompt_tokens: float
    completion_tokens: float
    latency: float
    batch_seconds: float
    cut: int
    unsteered: int
    errors: int


def cost_of(method: str, records: Sequence[Record]) -> Cost:
    """A method's cost over its records; the means are NaN where there is no sample."""
    fine = [record for record in records if not record.error]

    def mean(name: str) -> float:
        return sum(getattr(r, name) for r in fine) / len(fine) if fine else math.nan

    batches = {record.detail.get("batch") for record in fine}
    alone, together = batches == {1}, not batches & {1, None}
    return Cost(
        method=method,
        samples=len(fine),
        prompt_tokens=mean("prompt_tokens"),
        completion_tokens=mean("completion_tokens"),
        latency=mean("seconds") if alone else math.nan,
        batch_seconds=mean("seconds") if together else math.nan,
        cut=sum(record.cut > 0 for record in fine),
        unsteered=sum(record.detail.get("steered") is False for record in fine),
        errors=len(records) - len(fine),
    )
