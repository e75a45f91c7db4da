"""PersonalWAB's scores of a call: was it the right tool, and how good was its result.

Function accuracy is 1 for an episode with a call of the `right_tool`, else 0; result accuracy is
the best `result_score` among those calls, 0 without one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...tools.shop.toolkit import ACTION_TOOLS
from .records import ShoppingTask, TaskType

Similarity = Callable[[str, str], float]
"""Two texts to the cosine of their embeddings."""


def right_tool(kind: TaskType) -> str:
    """The name of the action tool that a task of this type asks for."""
    return ACTION_TOOLS[kind]


def rank_score(results: Sequence[str], target: str) -> float:
    """``1 - rank / len(results)`` with the rank of the target from 0; 0 if it is not there.

    Example:
        >>> rank_score(["a", "b", "c", "d"], "b")
        0.75
    """
    return 1.0 - results.index(target) / len(results) if target in results else 0.0


def result_score(
    task: ShoppingTask, arguments: Mapping[str, Any], value: Any, similarity: Similarity
) -> float:
    """How good one call of the right tool was.

    Args:
        task: The task, with its target.
        arguments: What the tool was called with.
        value: What it returned: for search and recommendation the product ids, best first; it
            does not matter for a review, and is None where the call failed.
        similarity: Compares a written review with the user's own.

    Returns:
        For search and recommendation the `rank_score`, 0 to 1. For a review the cosine, which
        is 0 without a text and may be slightly below 0.
    """
    if task.type == "review":
        review = arguments.get("review")
        return float(similarity(task.target.review.text, review)) if review else 0.0
    return rank_score(value or [], task.target.asin)
