"""What a method takes, a sample: tokens and seconds, what was cut, and what failed."""

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
        seconds: Mean; in batches, the share that goes with the tokens.
        cut: Samples with something cut to fit the context.
        unsteered: Samples that a steered method had nothing to steer with for.
        errors: Samples that the machinery failed on.
    """

    method: str
    samples: int
    prompt_tokens: float
    completion_tokens: float
    seconds: float
    cut: int
    unsteered: int
    errors: int


def cost_of(method: str, records: Sequence[Record]) -> Cost:
    """A method's cost over its records; the means are NaN where there is no sample."""
    fine = [record for record in records if not record.error]

    def mean(name: str) -> float:
        return sum(getattr(r, name) for r in fine) / len(fine) if fine else math.nan

    return Cost(
        method=method,
        samples=len(fine),
        prompt_tokens=mean("prompt_tokens"),
        completion_tokens=mean("completion_tokens"),
        seconds=mean("seconds"),
        cut=sum(record.cut > 0 for record in fine),
        unsteered=sum(record.detail.get("steered") is False for record in fine),
        errors=len(records) - len(fine),
    )
