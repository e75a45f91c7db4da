"""What a trained method gives each user, to be kept and served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError
from ..methods.learning import Learning

if TYPE_CHECKING:
    from ...steering.vectors.low_rank import Stage
    from ..methods.registry import Named
    from ..sample import Progress
    from .task import TextTask


@dataclass(frozen=True)
class TrainedUsers:
    """What was trained.

    Attributes:
        shared: What everybody gets first, in order.
        own: What each user gets after it.
        costs: Seconds and numbers, as records tell them.
    """

    shared: tuple[Stage, ...]
    own: Mapping[str, tuple[Stage, ...]]
    costs: Mapping[str, Any]


def check_trained(named: Named) -> None:
    """Refuse a method by which nothing is trained, before anything is loaded.

    Raises:
        TrimtabError: It is such a method.
    """
    if not isinstance(named.method, Learning):
        raise TrimtabError(
            f"{named.label}: nothing is trained by it; expected a method such as perfit, lora-p or "
            "amortized"
        )


def train_users(task: TextTask, named: Named, progress: Progress | None = None) -> TrainedUsers:
    """Train a method on the task's users, as an evaluation does, and give what steers each.

    Args:
        task: Whose users; none of their tests' golds is trained on.
        named: The method.
        progress: Told how far it is.

    Raises:
        TrimtabError: It is no trained method, or as for ``Method.prepare``.
    """
    check_trained(named)
    treat = named.method.prepare(task.prepare([named], progress))
    stages: dict[str, tuple[Stage, ...]] = {}
    costs: Mapping[str, Any] = {}
    for sample in task.samples():
        treatment = treat(sample.unseen())
        costs = treatment.detail.get("trained", costs)
        steering = treatment.steer and treatment.steer(sample.user_id, sample.request, None)
        stages[sample.user_id] = steering.stages if steering else ()
    common = _common(list(stages.values()))
    own = {user: each[common:] for user, each in stages.items()}
    first = next(iter(stages.values()), ())
    return TrainedUsers(first[:common], own, costs)


def _common(stages: list[tuple[Stage, ...]]) -> int:
    """How many stages all begin with: the very same ones."""
    for place, every in enumerate(zip(*stages, strict=False)):
        if any(each is not every[0] for each in every):
            return place
    return min(map(len, stages), default=0)
