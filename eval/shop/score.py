"""One played task with its scores, as PersonalWAB computes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...agent.loop.episode import Episode
from ...envs.shop.scoring import result_score, right_tool
from ...errors import TrimtabError

if TYPE_CHECKING:
    from ...envs.shop.records import ShoppingTask


@dataclass(frozen=True)
class ScoredEpisode:
    """One task played under one arm.

    Attributes:
        arm: The arm's name.
        task_id: The task.
        user_id: Whose task.
        type: The task's type.
        function: Function accuracy: 1 with a right call, else 0; NaN if the machinery failed.
        result: Result accuracy: the best result among the right calls, 0 without one; NaN as well.
        episode: What happened; None where it was broken off.
        error: What of the machinery failed; empty where nothing did.
        target: What the user was after: the product, or the review as they wrote it.
        history: How many of the user's past requests precede the task.
    """

    arm: str
    task_id: str
    user_id: str
    type: str
    function: float
    result: float
    episode: Episode | None
    error: str = ""
    target: str = ""
    history: int = 0

    @property
    def steps(self) -> float:
        """How many steps the episode took; NaN where it was broken off."""
        return math.nan if self.episode is None else float(len(self.episode.steps))

    def to_json(self) -> dict[str, Any]:
        """Plain data; a score that is not known is None."""
        return {
            **{name: getattr(self, name) for name in ("arm", "task_id", "user_id", "type")},
            "function": None if math.isnan(self.function) else self.function,
            "result": None if math.isnan(self.result) else self.result,
            "error": self.error,
            "target": self.target,
            "history": self.history,
            "episode": self.episode and self.episode.to_json(),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ScoredEpisode:
        """What ``to_json`` made.

        Raises:
            TrimtabError: It is not such a record.
        """
        try:
            made = dict(plain)
            for measure in ("function", "result"):
                made[measure] = math.nan if made[measure] is None else float(made[measure])
            made["episode"] = made["episode"] and Episode.from_json(made["episode"])
            return cls(**made)
        except (KeyError, TypeError, ValueError) as error:
            raise TrimtabError(f"not the record of a scored episode: {error}") from error


def score_episode(
    arm: str,
    task: ShoppingTask,
    episode: Episode | None,
    *,
    similarity: Callable[[str, str], float],
    error: str = "",
    history: int = 0,
) -> ScoredEpisode:
    """Score an episode as PersonalWAB does.

    The right calls are the successful ones of the action tool of the task's type. Function
    accuracy is whether there is one, result accuracy the best result among them. A tool that
    failed or timed out is no fault of the agent's: without a right call, there is no score.

    Args:
        arm: Under which it was played.
        task: Which was played.
        episode: What happened; None where the machinery broke it off.
        similarity: Cosine of two texts' embeddings, for reviews.
        error: Why it was broken off.
        history: How many of the user's past requests precede the task.
    """
    function = result = math.nan
    if episode is not None:
        wanted = right_tool(task.type)
        right = [
            step
            for step in episode.steps
            if step.call is not None and step.call.name == wanted and step.error is None
        ]
        failed = next(
            (s.error for s in episode.steps if s.error and s.error.kind in ("failed", "timeout")),
            None,
        )
        if right or failed is None:
            function = float(bool(right))
            result = max(
                (
                    result_score(
                        task, step.call.arguments if step.call else {}, step.value, similarity
                    )
                    for step in right
                ),
                default=0.0,
            )
        else:
            error = failed.message
    after, reviewed = task.target, task.type == "review"
    target = after.review.text if reviewed else f"{after.asin}: {after.product_info.title}"
    return ScoredEpisode(
        arm, task.id, task.user_id, task.type, function, result, episode, error, target, history
    )
