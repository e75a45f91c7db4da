"""What a shopping run comes to: accuracies and steps by task type and arm, and differences."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...envs.shop.records import TASK_TYPES
from ..statistics.intervals import Difference, Estimate, mean_interval, paired_difference

if TYPE_CHECKING:
    from .score import ScoredEpisode

MEASURES = {"function": "function accuracy", "result": "result accuracy"}
STEPS = "steps"
ALL = "all"


class Accuracy(NamedTuple):
    """One arm's mean of one measure over the tasks of one type, or over all of them."""

    arm: str
    measure: str
    type: str
    estimate: Estimate


class ArmDifference(NamedTuple):
    """How much ``arm`` is over ``other`` on the tasks that both have played."""

    arm: str
    other: str
    measure: str
    difference: Difference


def accuracies(
    episodes: Sequence[ScoredEpisode],
    arms: Sequence[str],
    measures: Collection[str] = MEASURES,
) -> list[Accuracy]:
    """Function and result accuracy of each arm, by task type and over all.

    Episodes that the machinery broke off have no score and are left out, not counted as wrong.
    """
    found = []
    for measure in measures:
        for arm in arms:
            for kind in (*TASK_TYPES, ALL):
                own = [e for e in episodes if e.arm == arm and kind in (e.type, ALL)]
                estimate = mean_interval(
                    [getattr(e, measure) for e in own],
                    [e.user_id for e in own],
                    bounds=(0, math.inf if measure == STEPS else 1),
                )
                found.append(Accuracy(arm, measure, kind, estimate))
    return found


def differences(
    episodes: Sequence[ScoredEpisode], arms: Sequence[str], of: str
) -> list[ArmDifference]:
    """Paired differences of the arm ``of`` over each other arm, on the same tasks."""
    by_arm = {arm: {e.task_id: e for e in episodes if e.arm == arm} for arm in arms}
    own = by_arm.get(of, {})
    found = []
    for other in arms:
        if other == of or of not in arms:
            continue
        both = [task_id for task_id in own if task_id in by_arm[other]]
        for measure in MEASURES:
            difference = paired_difference(
                [getattr(own[task_id], measure) for task_id in both],
                [getattr(by_arm[other][task_id], measure) for task_id in both],
                [own[task_id].user_id for task_id in both],
            )
            found.append(ArmDifference(of, other, measure, difference))
    return found


def summary(episodes: Sequence[ScoredEpisode], arms: Sequence[str], of: str) -> dict[str, Any]:
    """All numbers of the tables as plain data; what is not known is None."""
    return {
        "accuracies": [
            {
                "arm": found.arm,
                "measure": found.measure,
                "type": found.type,
                **_plain(found.estimate),
            }
            for found in accuracies(episodes, arms, [*MEASURES, STEPS])
        ],
        "differences": [
            {
                "arm": found.arm,
                "other": found.other,
                "measure": found.measure,
                **_plain(found.difference),
            }
            for found in differences(episodes, arms, of)
        ],
    }


def _plain(numbers: Estimate | Difference) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in numbers._asdict().items()}
