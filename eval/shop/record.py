"""A played episode as a record, scored as PersonalWAB does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...agent.loop.episode import Episode, Step
from ...agent.loop.prompt import user_message, with_profile
from ...envs.shop.request import request_text
from ...envs.shop.scoring import result_score, right_tool
from ..runs.record import Record
from ..sample import Sample

if TYPE_CHECKING:
    from ...envs.shop.records import ShoppingTask
    from ...envs.shop.world import World

METRICS = ("function", "result")
"""Function accuracy: whether a right call was made. Result accuracy: how good the best was."""

Similarity = Callable[[str, str], float]
"""Cosine of two texts' embeddings, for reviews."""


def episode_record(
    method: str,
    sample: Sample,
    task: ShoppingTask,
    episode: Episode,
    similarity: Similarity,
    *,
    profile: str = "",
) -> Record:
    """The record of a played episode; the episode itself is in its ``detail``.

    The output is the episode's calls, one a line; the gold is the name of the tool that the task
    asks for, and what the user was after.

    Args:
        method: Under which it was played.
        sample: The task as the runner sees it.
        task: Which was played.
        episode: What happened.
        similarity: For reviews.
        profile: The text about the user that the prompt held.
    """
    return Record(
        method=method,
        sample_id=sample.key,
        user_id=sample.user_id,
        kind=sample.kind,
        prompt=[{"role": "user", "content": _shown(episode, profile)}],
        output="\n".join(_answer(step) for step in episode.steps),
        gold=sample.gold,
        scores=episode_scores(task, episode, similarity),
        history=sample.history,
        # What steered the first step; later ones are asked with the same request.
        picked=[dict(entry) for entry in episode.to_json()["steps"][0]["picked"]]
        if episode.steps
        else [],
        prompt_tokens=episode.prompt_tokens,
        completion_tokens=episode.completion_tokens,
        seconds=episode.seconds,
        detail={"repeat": sample.repeat, "episode": episode.to_json()},
    )


def episode_scores(
    task: ShoppingTask, episode: Episode, similarity: Similarity
) -> dict[str, float | None]:
    """Function and result accuracy of an episode.

    The right calls are the successful ones of the action tool of the task's type. Function
    accuracy is whether there is one, result accuracy the best result among them. A call that a
    tool raised at is the model's, and no right one.
    """
    wanted = right_tool(task.type)
    right = [
        step
        for step in episode.steps
        if step.call is not None and step.call.name == wanted and step.error is None
    ]
    results = (
        result_score(task, step.call.arguments if step.call else {}, step.value, similarity)
        for step in right
    )
    return {"function": float(bool(right)), "result": max(results, default=0.0)}


def shop_sample(world: World, task: ShoppingTask) -> Sample:
    """A test task as the runner and the methods see it."""
    return Sample(
        task.id,
        task.user_id,
        request=request_text(task),
        before=task.timestamp,
        kind=task.type,
        gold=task_gold(task),
        history=len(world.past_tasks(task.user_id, task.timestamp)),
    )


def task_gold(task: ShoppingTask) -> str:
    """The tool that a task asks for, and what the user was after: product, or their review."""
    after = task.target
    target = (
        after.review.text if task.type == "review" else f"{after.asin}: {after.product_info.title}"
    )
    return f"{right_tool(task.type)} {target}"


def episode_of(record: Record) -> Episode | None:
    """The episode in a record; None where it was broken off."""
    plain: dict[str, Any] | None = record.detail.get("episode")
    return Episode.from_json(plain) if plain else None


def _shown(episode: Episode, profile: str) -> str:
    """The user's first message; the system prompt before it depends on track and prompting."""
    message = user_message(episode.request, purchases=episode.purchases, memory=episode.remembered)
    return with_profile(message, profile)


def _answer(step: Step) -> str:
    """One step's call, or its text where it was none."""
    if step.call is None:
        return step.text
    return f"{step.call.name} {json.dumps(step.call.arguments, ensure_ascii=False)}"
