"""Whose dictionary a control borrows: for each user another one."""

from __future__ import annotations

import random
from collections.abc import Collection

from ...errors import TrimtabError


def derangement(users: Collection[str], seed: int) -> dict[str, str]:
    """For each user another one, and each once: a random cyclic order (Sattolo's algorithm).

    Raises:
        TrimtabError: There is no other user.
    """
    order = sorted(users)
    if len(order) < 2:
        raise TrimtabError(
            f"the control steers by another user's dictionary and needs two users, got "
            f"{len(order)}; take more users"
        )
    others = list(order)
    rng = random.Random(seed)
    for last in range(len(others) - 1, 0, -1):
        swapped = rng.randrange(last)
        others[last], others[swapped] = others[swapped], others[last]
    return dict(zip(order, others, strict=True))
