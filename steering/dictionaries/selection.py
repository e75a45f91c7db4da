"""Which entries a query picks, and with what weights: Fints' input-aware aggregation."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ...errors import TrimtabError
from ..vectors.entries import Contrast

if TYPE_CHECKING:
    from ..vectors.entries import Entry

Aggregation = Literal["naive", "mean", "attentive"]


class Weighted(NamedTuple):
    """Picked rows, the nearest first: all of shape ``(picked,)``."""

    rows: Tensor
    similarities: Tensor
    weights: Tensor


def visible_rows(
    entries: Sequence[Entry],
    *,
    before: int | None,
    without: Collection[str],
    contrast: Contrast | None,
) -> list[int] | None:
    """The entries that may be picked; None for all of them."""
    if before is None and not without and contrast is None:
        return None
    return [
        row
        for row, entry in enumerate(entries)
        if (before is None or entry.timestamp < before)
        and entry.sample_id not in without
        and (contrast is None or entry.contrast == contrast)
    ]


def fading_of(
    entries: Sequence[Entry], rows: Sequence[int] | None, half_life: float
) -> Tensor | None:
    """How often the weight of each of ``rows`` has halved, shape ``(rows,)``; None is never.

    It halves with so many later times among these entries.

    Args:
        entries: A dictionary's.
        rows: Those that may be picked; None is all.
        half_life: How many later times; 0 is never.
    """
    if not half_life:
        return None
    seen = entries if rows is None else [entries[row] for row in rows]
    times = [entry.timestamp for entry in seen]
    later = {time: count for count, time in enumerate(sorted(set(times), reverse=True))}
    return torch.tensor([later[time] for time in times], dtype=torch.float32) / half_life


def check_selection(k: int, aggregate: str, temperature: float, half_life: float) -> None:
    """Refuse what cannot be picked by.

    Raises:
        TrimtabError: An unknown aggregation, ``k`` or temperature not positive, or a negative half
            life.
    """
    if aggregate not in get_args(Aggregation):
        raise TrimtabError(
            f"expected aggregation {', '.join(get_args(Aggregation))}, got {aggregate!r}"
        )
    if k < 1 or temperature <= 0:
        raise TrimtabError(
            f"expected k of at least 1 and a temperature above 0, got {k} and {temperature}"
        )
    if not 0 <= half_life < math.inf:
        raise TrimtabError(f"expected a finite half life of at least 0 entries, got {half_life}")


def weighted(
    keys: Tensor,
    query: Tensor,
    rows: Sequence[int] | None = None,
    *,
    k: int,
    aggregate: Aggregation,
    temperature: float,
    fading: Tensor | None = None,
) -> Weighted:
    """Pick the keys nearest to a query and weigh them.

    With ``fading`` an old entry needs a higher cosine: entries are picked, and weighed, by
    ``cosine / temperature - fading * ln 2``.

    Args:
        keys: Unit rows, ``(entries, dimensions)``.
        query: A unit vector, ``(dimensions,)``.
        rows: The keys to pick from, at least one; None is all.
        k: How many are picked, for all but ``naive``, which picks every one.
        aggregate: ``naive`` and ``mean`` weigh all alike, ``attentive`` by the softmax of what
            they are picked by.
        temperature: Of the softmax.
        fading: Of each of ``rows``, as ``fading_of`` gives it. ``naive`` weighs by it alone, and
            ``mean`` picks by it and weighs all alike.
    """
    similarity = keys @ query
    if rows is not None:
        among = torch.tensor(rows)
        similarity = similarity[among]
    faded = torch.zeros_like(similarity) if fading is None else fading.to(similarity) * math.log(2)
    count = len(similarity) if aggregate == "naive" else min(k, len(similarity))
    top = (similarity - temperature * faded).topk(count)
    if aggregate == "attentive":
        weights = torch.softmax(top.values / temperature, dim=0)
    elif aggregate == "naive":
        weights = torch.softmax(-faded[top.indices], dim=0)
    else:
        weights = torch.full_like(top.values, 1 / count)
    picked = top.indices if rows is None else among[top.indices]
    return Weighted(picked, similarity[top.indices], weights)
