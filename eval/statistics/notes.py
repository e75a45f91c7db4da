"""What stands below every table of scores: how its intervals and p-values were worked out."""

from __future__ import annotations

from collections.abc import Iterable

from .gains import SIGNIFICANT
from .intervals import FEW_USERS

# Each user's sign doubles the patterns of which both the observed one and its mirror count.
_LEAST_USERS = next(users for users in range(1, 20) if 2 / 2**users < SIGNIFICANT)


def interval_note(users: Iterable[int]) -> str:
    """How the intervals of estimates from so many users each were worked out.

    Example:
        >>> interval_note([50, 50])
        '95 % intervals over users (bootstrap)'
    """
    counts = [count for count in users if count > 1]
    few = [count for count in counts if count < FEW_USERS]
    if not few:
        return "95 % intervals over users (bootstrap)"
    if len(few) == len(counts):
        return f"95 % intervals over users (t, as there are fewer than {FEW_USERS} users)"
    return f"95 % intervals over users (bootstrap; t where there are fewer than {FEW_USERS} users)"


def p_note(users: Iterable[int], corrected: str) -> str:
    """How p-values were worked out, a sentence without its full stop.

    Args:
        users: How many users each comes from.
        corrected: For what they are corrected, as in "for the methods compared with zero-shot".
    """
    note = f"P-values are two-sided, by swapping whole users, corrected (Holm) {corrected}"
    fewest = min((count for count in users if count), default=_LEAST_USERS)
    if fewest < _LEAST_USERS:
        note += f"; with fewer than {_LEAST_USERS} users no p can be below {SIGNIFICANT}"
    return note


PERSONAL_NOTE = (
    "A personal gain is better than the baseline and than both controls: its p is the largest of "
    "the three, corrected (Holm) for the methods that claim one; the three themselves are not "
    "corrected."
)
