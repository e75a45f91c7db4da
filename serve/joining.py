"""Which requests that wait begin now, in one batch of prompts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..steering.decoder.prefixes import MIN_SHARED, common
from ..steering.generation.row import Row
from ..steering.model import SteeredModel
from .ticket import Ticket


def taken(
    model: SteeredModel,
    waiting: deque[Ticket],
    under_way: Sequence[Row],
    *,
    max_rows: int,
    max_tokens: int,
) -> list[Ticket]:
    """Take the requests out of a queue that there is room for, first come, first served.

    Args:
        model: Knows which beginnings of prompts have run before.
        waiting: The queue; those taken leave it.
        under_way: The rows that they will join.
        max_rows: At most so many rows, with those under way.
        max_tokens: At most so many tokens: rows times the longest of them.
    """
    longest = max((row.longest for row in under_way), default=0)
    found: list[Ticket] = []
    while waiting and len(under_way) + len(found) < max_rows:
        row = waiting[0].row
        rows = len(under_way) + len(found) + 1
        if rows * max(longest, row.longest) > max_tokens and rows > 1:
            break
        if found and not _begin_together(model, [ticket.row for ticket in found], row):
            break
        longest = max(longest, row.longest)
        found.append(waiting.popleft())
    return found


def _begin_together(model: SteeredModel, rows: Sequence[Row], other: Row) -> bool:
    """Whether a prompt is best run in one batch with others.

    None may lose a beginning that is known, and padding must not be most of what is run.
    """
    first = rows[0]
    if first.shares != other.shares:
        return False
    shared = 0
    if first.shares:
        shared = min(first.shareable, common(first.prompt, other.prompt), other.shareable)
        for row in (first, other):
            known = model.prefixes.longest(row.prompt[: row.shareable])
            if known is not None and len(known.tokens) > shared + MIN_SHARED:
                return False
    lengths = [len(row.prompt) - shared for row in (*rows, other)]
    return 2 * sum(lengths) >= len(lengths) * max(lengths)
