"""Keys and values in buffers that never move, as a captured graph of a GPU needs them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedConfig
from transformers.cache_utils import CacheLayerMixin

from .caches import GrowingLayer


class FixedLayer(CacheLayerMixin):
    """One layer's keys and values, written at the columns that the cache names.

    Args:
        cache: The cache that it belongs to.
    """

    def __init__(self, cache: FixedCache) -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make the buffers; their zeros are finite under a mask, as what lay there might not be."""
        rows, length = self._cache.rows, self._cache.length
        self.keys, self.values = (
            states.new_zeros(rows, states.shape[1], length, states.shape[3])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the states of new tokens at the cache's columns; returns the whole buffers."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        self.keys.index_copy_(2, self._cache.columns, key_states)
        self.values.index_copy_(2, self._cache.columns, value_states)
        return self.keys, self.values

    def fill(self, layer: GrowingLayer) -> None:
        """Take in what another layer holds, from the first column and the first row on."""
        assert layer.keys is not None and layer.values is not None
        if not self.is_initialized:
            self.lazy_initialization(layer.keys, layer.values)
        assert self.keys is not None and self.values is not None
        for buffer, states in ((self.keys, layer.keys), (self.values, layer.values)):
            buffer[: states.shape[0], :, : states.shape[2]] = states

    def pour(self, layer: GrowingLayer, rows: int, length: int) -> None:
        """Let another layer hold the first rows and columns of this one in their place."""
        assert self.keys is not None and self.values is not None
        layer.restart(self.keys[:rows, :, :length], self.values[:rows, :, :length])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """All columns, from the first on."""
        return self._cache.length, 0

    def get_seq_length(self) -> int:
        """Nothing is known of it here: positions and masks are given to every pass."""
        return 0

    def get_max_length(self) -> int:
        """How many columns there are."""
        return self._cache.length


class FixedCache(Cache):
    """A cache of so many rows and columns; each pass writes at ``columns``.

    Args:
        config: The model's.
        rows: How many rows its buffers have.
        length: How many columns.

    Attributes:
        rows: As given.
        length: As given.
        columns: Where the pass under way writes, shape ``(tokens,)``; set before each pass.
    """

    def __init__(self, config: PreTrainedConfig, rows: int, length: int) -> None:
        self.rows = rows
        self.length = length
        self.columns: Tensor = torch.zeros(0, dtype=torch.long)
        count = config.get_text_config().num_hidden_layers
        super().__init__(layers=[FixedLayer(self) for _ in range(count)])

    def fill(self, cache: Cache) -> None:
        """Take in what a growing cache holds."""
        for fixed, growing in zip(self.layers, cache.layers, strict=True):
            assert isinstance(fixed, FixedLayer) and isinstance(growing, GrowingLayer)
            fixed.fill(growing)

    def pour(self, cache: Cache, rows: int, length: int) -> None:
        """Let a growing cache hold the first rows and columns in the place of what it holds."""
        for fixed, growing in zip(self.layers, cache.layers, strict=True):
            assert isinstance(fixed, FixedLayer) and isinstance(growing, GrowingLayer)
            fixed.pour(growing, rows, length)
