"""The call that answers a task well, as a user's past requests are remembered with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .records import ShoppingTask
from .scoring import right_tool

if TYPE_CHECKING:
    from .environment import ShopEnvironment

_QUERY_CHARACTERS = 60
_REVIEW_CHARACTERS = 600


def reference_call(shop: ShopEnvironment, task: ShoppingTask) -> tuple[str, dict[str, Any]]:
    """The right tool, and arguments that find the target or say what the user said.

    Args:
        shop: Where the task comes from.
        task: A training task, whose target is known.
    """
    arguments: dict[str, Any]
    if task.type == "search":
        arguments = {"query": _cut(task.target.product_info.title, _QUERY_CHARACTERS)}
    elif task.type == "recommend":
        recent = shop.recent_purchases(task.user_id, task.timestamp)
        arguments = {"product_sequence": [purchase.asin for purchase in recent]}
    else:
        arguments = {"review": _cut(task.target.review.text, _REVIEW_CHARACTERS)}
    return right_tool(task.type), arguments


def _cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, ending with a whole word."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit + 1].rsplit(" ", 1)[0]
