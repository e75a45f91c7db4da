"""Key-value caches: that many rows read and none changes, and that grow without being copied."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


def select_rows(cache: DynamicCache, rows: Sequence[int]) -> DynamicCache:
    """A new cache that holds the given rows, which may repeat; ``cache`` stays as it is.

    Layers that no forward pass has reached yet stay empty, so a pass that stopped early can be
    gone on with.
    """
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(torch.tensor(list(rows), dtype=torch.long))
    return selected


class GrowingLayer(DynamicLayer):
    """Keys and values in buffers with room to spare, so that a step need not copy what is there.

    Args:
        room: Tokens to make room for at first.
    """

    _MORE = 64

    def __init__(self, room: int = 0) -> None:
        super().__init__()
        self._room = room
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append the states of new tokens; returns those of all tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        self._make_room(key_states, value_states, before, after)
        assert self._buffers is not None
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, before:after] = states
        self.keys, self.values = (buffer[:, :, :after] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only keep these rows."""
        if self._buffers is not None:
            length = self.get_seq_length()
            keys, values = (buffer[indices] for buffer in self._buffers)
            self._buffers = (keys, values)
            self.keys, self.values = keys[:, :, :length], values[:, :, :length]

    def start_from(self, keys: Tensor, values: Tensor, rows: int) -> None:
        """Begin with ``rows`` copies of a single row's states, which stay as they are."""
        self.lazy_initialization(keys, values)
        shape = (rows, -1, -1, -1)
        self.update(keys.expand(shape), values.expand(shape))

    def _make_room(self, keys: Tensor, values: Tensor, before: int, after: int) -> None:
        if self._buffers is not None and after <= self._buffers[0].shape[-2]:
            return
        room = max(self._room, after + self._MORE)
        grown = tuple(s.new_empty(*s.shape[:2], room, s.shape[3]) for s in (keys, values))
        if self._buffers is not None:
            for old, new in zip(self._buffers, grown, strict=True):
                new[:, :, :before] = old[:, :, :before]
        self._buffers = (grown[0], grown[1])
