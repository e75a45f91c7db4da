"""Does it help? What came of answers to users who are steered, against those who are held out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..eval.statistics.intervals import Estimate, Floats, sums_interval
from .holdout import Arm

MEASURES = {
    "liked": "good",
    "disliked": "bad",
    "corrected": "corrected",
    "tool errors": "tool_errors",
    "seconds": "milliseconds",
    "prompt tokens": "prompt_tokens",
    "new tokens": "new_tokens",
}
"""What is compared, an answer, and which count it is made of."""


class ArmGap(NamedTuple):
    """One measure in both arms.

    Attributes:
        measure: Its name; it is a mean over answers.
        steered: Of the users who are steered.
        held_out: Of those who are not.
        difference: Steered less held out.
        low: Lower end of the difference's 95 % interval; NaN where an arm has too few users.
        high: Upper end.
    """

    measure: str
    steered: Estimate
    held_out: Estimate
    difference: float
    low: float
    high: float


def compared(counted: Sequence[tuple[str, Mapping[str, int]]]) -> list[ArmGap]:
    """Each measure in both arms, and how far they differ.

    A user is one draw, whatever number of answers they were given. The interval of the difference
    comes from the arms' own (Zou and Donner, "Construction of confidence limits about effect
    measures", Statistics in Medicine 27, 2008), since no user is in both.

    Args:
        counted: By user: the arm, and the counts by the names of the store's columns.
    """
    gaps = []
    for measure, name in MEASURES.items():
        scale = 1000.0 if name == "milliseconds" else 1.0
        one, other = (_estimate(counted, arm, name, scale) for arm in _ARMS)
        difference = one.mean - other.mean
        low = difference - math.hypot(one.mean - one.low, other.high - other.mean)
        high = difference + math.hypot(one.high - one.mean, other.mean - other.low)
        gaps.append(ArmGap(measure, one, other, difference, low, high))
    return gaps


_ARMS: tuple[Arm, Arm] = ("steered", "held out")


def _estimate(
    counted: Sequence[tuple[str, Mapping[str, int]]], arm: Arm, name: str, scale: float
) -> Estimate:
    """A measure's mean over the answers of an arm, and its interval over the users."""
    own = [(counts[name] / scale, counts["answers"]) for its, counts in counted if its == arm]
    own = [pair for pair in own if pair[1]]
    users = [str(number) for number in range(len(own))]
    parts = np.array(own, dtype=np.float64).reshape(-1, 2)
    return sums_interval(parts, users, _ratio)


def _ratio(sums: Floats) -> Floats:
    answers = sums[..., 1]
    return np.divide(sums[..., 0], answers, out=np.full_like(answers, np.nan), where=answers > 0)
