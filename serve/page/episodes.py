"""A world's episodes for the page: what a user said, the shop's tools, and what the user meant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...agent.loop.prompt import SYSTEM_PROMPT
from ...envs.shop.environment import ShopEnvironment
from ...envs.shop.records import ShoppingTask
from ...envs.shop.request import request_text
from ...envs.shop.scoring import result_score, right_tool
from .building import Building

_PROFILE_LABEL = ("Occupation", "Gender", "Age")


@dataclass(frozen=True)
class Called:
    """What came of one call of an episode.

    Attributes:
        content: What the model would be shown.
        failed: Whether the call was refused, or the tool failed.
        right: Whether it was the tool that the user meant.
        wanted: The tool that the user meant.
        score: How good the result is by the benchmark, 0 to 1; 0 for another tool.
    """

    content: str
    failed: bool
    right: bool
    wanted: str
    score: float


def is_clear(task: ShoppingTask) -> bool:
    """Whether a task's words name what is to be done; only the built-in world has others."""
    return getattr(task, "wording", "plain") != "ambiguous"


class Episodes:
    """The test tasks of a shop's users, to be played on the page.

    Args:
        shop: The shop. Its tools are made when the first of them is called.
        similarity: Compares a written review with the user's own.
        building: Builds the users' dictionaries; None where those that there are stay alone.
    """

    def __init__(
        self,
        shop: ShopEnvironment,
        similarity: Callable[[str, str], float],
        building: Building | None = None,
    ) -> None:
        self._shop = shop
        self.building = building
        self._similarity = similarity
        self._tasks = {task.id: task for task in shop.world.test}
        self._lock = threading.Lock()

    @property
    def users(self) -> list[str]:
        """Those with test tasks, who have a dictionary first."""
        users = dict.fromkeys(task.user_id for task in self._tasks.values())
        return sorted(users, key=lambda user: not self.ready(user))

    def ready(self, user: str) -> bool:
        """Whether a user's dictionary is built, or never will be."""
        return self.building is None or self.building.ready(user)

    def label(self, user: str) -> str:
        """Who a user is, in a few words; empty where nothing is known."""
        profile = self._shop.world.profiles.get(user, {})
        return ", ".join(str(profile[name]) for name in _PROFILE_LABEL if name in profile)

    def profile(self, user: str) -> Mapping[str, Any]:
        """What the world says of a user."""
        return self._shop.world.profiles.get(user, {})

    def of_user(self, user: str) -> list[ShoppingTask]:
        """The user's test tasks, those whose words do not name the tool first."""
        tasks = [task for task in self._tasks.values() if task.user_id == user]
        return sorted(tasks, key=is_clear)

    def find(self, task_id: str) -> ShoppingTask | None:
        """A test task by its id, if there is one."""
        return self._tasks.get(task_id)

    def messages(self, task: ShoppingTask) -> list[dict[str, str]]:
        """What the model reads: the user's own words last, since dictionaries are asked by them."""
        purchases = self._shop.purchase_lines(task.user_id, task.timestamp)
        known = "\n".join(["My recent purchases, oldest first:", *purchases])
        return [
            {"role": "system", "content": SYSTEM_PROMPT},
            *([{"role": "user", "content": known}] if purchases else []),
            {"role": "user", "content": request_text(task)},
        ]

    def tools(self) -> list[dict[str, Any]]:
        """The shop's tools, as OpenAI's API takes them."""
        with self._lock:
            return self._shop.toolkit.schemas()

    def call(self, task: ShoppingTask, name: str, arguments: Any) -> Called:
        """Make a call of an episode, and say what it was worth."""
        with self._lock:
            result = self._shop.toolkit.call(name, arguments)
        wanted = right_tool(task.type)
        right = name == wanted
        score = 0.0
        if right and result.ok:
            score = result_score(task, arguments, result.value, self._similarity)
        return Called(result.content, not result.ok, right, wanted, score)
