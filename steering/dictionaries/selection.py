"""Which entries a query picks, and with what weights: Fints' input-aware aggregation."""

from __future__ import annotations

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


def check_selection(k: int, aggregate: str, temperature: float) -> None:
    """Refuse what cannot be picked by.

    Raises:
        TrimtabError: An unknown aggregation, or ``k`` or temperature not positive.
    """
    if aggregate not in get_args(Aggregation):
        raise TrimtabError(
            f"expected aggregation {', '.join(get_args(Aggregation))}, got {aggregate!r}"
        )
    if k < 1 or temperature <= 0:
        raise TrimtabError(
            f"expected k of at least 1 and a temperature above 0, got {k} and {temperature}"
        )


def weighted(
    keys: Tensor,
    query: Tensor,
    rows: Sequence[int] | None = None,
    *,
    k: int,
    aggregate: Aggregation,
    temperature: float,
) -> Weighted:
    """Pick the keys nearest to a query and weigh them.

    Args:
        keys: Unit rows, ``(entries, dimensions)``.
        query: A unit vector, ``(dimensions,)``.
        rows: The keys to pick from, at least one; None is all.
        k: How many are picked, for all but ``naive``, which picks every one.
        aggregate: ``naive`` and ``mean`` weigh all alike, ``attentive`` by
            ``softmax(cosine / temperature)``.
        temperature: Of the softmax.
    """
    similarity = keys @ query
    if rows is not None:
        among = torch.tensor(rows)
        similarity = similarity[among]
    count = len(similarity) if aggregate == "naive" else min(k, len(similarity))
    top = similarity.topk(count)
    if aggregate == "attentive":
        weights = torch.softmax(top.values / temperature, dim=0)
    else:
        weights = torch.full_like(top.values, 1 / count)
    picked = top.indices if rows is None else among[top.indices]
    return Weighted(picked, top.values, weights)
