"""A shop user's past requests: training tasks, each with the call that answers it well."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ...envs.shop.reference import reference_call
from ...envs.shop.request import request_text
from ..loop.memory import PastRequest

if TYPE_CHECKING:
    from ...envs.shop.environment import ShopEnvironment
    from ...envs.shop.records import ShoppingTask


def past_requests(
    environment: ShopEnvironment, user_id: str, before: int | None
) -> list[PastRequest]:
    """A user's past training tasks as requests, oldest first.

    Args:
        environment: The shop.
        user_id: The user.
        before: Only what strictly precedes it; None is all.
    """
    past = environment.world.past_tasks(user_id, sys.maxsize if before is None else before)
    return [past_request(environment, task) for task in past]


def past_request(environment: ShopEnvironment, task: ShoppingTask) -> PastRequest:
    """One training task as a request that was answered well."""
    return PastRequest(request_text(task), *reference_call(environment, task), task.timestamp)
