"""The call that answers a task well, as a user's past requests are remembered with it."""

from collections.abc import Sequence
from typing import Any

from .records import ShoppingTask

QUERY_CHARACTERS = 60
REVIEW_CHARACTERS = 600


def reference_arguments(task: ShoppingTask, recent: Sequence[str]) -> dict[str, Any]:
    """Arguments of the right tool that find the target, or say what the user said.

    Args:
        task: A training task, whose target is known.
        recent: ASINs of what the user bought last before it, oldest first.
    """
    if task.type == "search":
        return {"query": _cut(task.target.product_info.title, QUERY_CHARACTERS)}
    if task.type == "recommend":
        return {"product_sequence": list(recent)}
    return {"review": _cut(task.target.review.text, REVIEW_CHARACTERS)}


def _cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, ending with a whole word."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit + 1].rsplit(" ", 1)[0]
