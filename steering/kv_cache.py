"""Key-value caches that are read by many rows and never changed by them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from transformers import DynamicCache


def select_rows(cache: DynamicCache, rows: Sequence[int]) -> DynamicCache:
    """A new cache that holds the given rows, which may repeat; ``cache`` stays as it is.

    Layers that no forward pass has reached yet stay empty, so a pass that stopped early can be
    gone on with.
    """
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(torch.tensor(list(rows), dtype=torch.long))
    return selected
