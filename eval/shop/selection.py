"""Which test tasks are played."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import TrimtabError

if TYPE_CHECKING:
    from ...envs.shop.records import ShoppingTask
    from ...envs.shop.world import World


def pick_tasks(
    world: World, episodes: int, seed: int, users: Sequence[str] = (), spread: int | None = None
) -> list[ShoppingTask]:
    """The test tasks to play.

    Args:
        world: The world.
        episodes: How many.
        seed: Of the choice.
        users: Only tasks of these; empty is all.
        spread: Tasks of so many users, or of as many more as it takes; None is of all.

    Raises:
        TrimtabError: Fewer than 1 or more than there are, or a user whom the world does not know.
    """
    if not users:
        world.select_tasks("test", episodes, seed)  # refuses a number that there is not
        return _spread(world.select_tasks("test", None, seed), episodes, spread)
    for user in users:
        world.profile(user)  # refuses an unknown one
    own = [task for task in world.select_tasks("test", None, seed) if task.user_id in users]
    if not 1 <= episodes <= len(own):
        raise TrimtabError(
            f"expected between 1 and {len(own)} episodes, the test tasks of "
            f"{', '.join(users)}; got {episodes}"
        )
    return own[:episodes]


def _spread(tasks: Sequence[ShoppingTask], episodes: int, spread: int | None) -> list[ShoppingTask]:
    """The first tasks of so few users, in the order of ``tasks``, in which users take turns."""
    by_user: dict[str, list[ShoppingTask]] = {}
    for task in tasks:
        by_user.setdefault(task.user_id, []).append(task)
    chosen: set[str] = set()
    available = 0
    for number, (user, own) in enumerate(by_user.items()):
        if spread is not None and number >= spread and available >= episodes:
            break
        chosen.add(user)
        available += len(own)
    return [task for task in tasks if task.user_id in chosen][:episodes]
