"""Key-value caches: that many rows read and none changes, and that grow without being copied."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)


class RowCache(Cache):
    """A cache whose rows can be selected, whatever kind each layer is of."""

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, of which one may come several times."""
        for layer in self.layers:
            if not isinstance(layer, LinearAttentionCacheLayerMixin):
                layer.batch_select_indices(indices)  # type: ignore[union-attr]  # none is a dummy
                continue
            if any(layer.is_conv_states_initialized.values()) or any(
                layer.is_recurrent_states_initialized.values()
            ):
                layer.reorder_cache(indices)  # type: ignore[arg-type]  # of whole numbers


def layers_of(config: PreTrainedConfig, room: int | None = None) -> RowCache:
    """An empty cache of the kind that each layer of a model wants.

    Args:
        config: The model's.
        room: Let keys and values grow in buffers for so many tokens; None keeps plain tensors,
            from which rows can be selected without a change to them.
    """
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    # What lies outside a sliding window is hidden by the mask, so that rows can be joined.
    return RowCache(
        layers=[
            layer
            if type(layer) not in plain
            else (DynamicLayer() if room is None else GrowingLayer(room))
            for layer in DynamicCache(config=config).layers
        ]
    )


def holds_keys_only(config: PreTrainedConfig) -> bool:
    """Whether all that a cache holds are keys and values, which can be cut, joined and padded.

    A state of linear attention or of a convolution can be none of these: there, rows are padded on
    their left before their first token only, and no two prompts share a beginning.
    """
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    return all(type(layer) in plain for layer in DynamicCache(config=config).layers)


def bytes_a_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """What the keys and values of one token take."""
    config = config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * dtype.itemsize)


def select_rows(cache: Cache, rows: Sequence[int]) -> Cache:
    """A new cache that holds the given rows, which may repeat; ``cache`` stays as it is.

    Layers that no forward pass has reached yet stay empty, so a pass that stopped early can be
    resumed.
    """
    selected = copy.copy(cache)
    selected.layers = [_separate(layer) for layer in cache.layers]
    selected.batch_select_indices(torch.tensor(list(rows), dtype=torch.long))
    return selected


def _separate(layer: Any) -> Any:
    """A copy of a cache layer, with dictionaries of its own."""
    separate = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, dict):
            setattr(separate, name, dict(value))
    return separate


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
        self._hold(self._buffers, after)
        assert self.keys is not None and self.values is not None
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with these rows, of which one may come several times."""
        if self._buffers is not None:
            self._hold([buffer[indices] for buffer in self._buffers], self.get_seq_length())

    def join(self, other: GrowingLayer) -> None:
        """Put another layer's rows under these; all end at the same place.

        The shorter rows get zeros in front, which a mask must hide.
        """
        length = max(self.get_seq_length(), other.get_seq_length())
        room = max(self._room, length + self._MORE)
        joined = []
        for own, others in ((self.keys, other.keys), (self.values, other.values)):
            assert own is not None and others is not None
            rows = len(own) + len(others)
            buffer = own.new_empty(rows, own.shape[1], room, own.shape[3])
            for part, states in ((buffer[: len(own)], own), (buffer[len(own) :], others)):
                start = length - states.shape[2]
                part[:, :, :start] = 0  # whatever lay there might be NaN, which no mask hides
                part[:, :, start:length] = states
            joined.append(buffer)
        self._hold(joined, length)

    def start_from(self, keys: Tensor, values: Tensor, rows: int) -> None:
        """Begin with ``rows`` copies of a single row's states, which stay as they are."""
        self.lazy_initialization(keys, values)
        shape = (rows, -1, -1, -1)
        self.update(keys.expand(shape), values.expand(shape))

    def restart(self, keys: Tensor, values: Tensor) -> None:
        """Hold these states, which are copied, in the place of all that was held."""
        self._buffers = None
        self.keys = self.values = None
        self.is_initialized = False
        self.update(keys, values)

    def _hold(self, buffers: Sequence[Tensor], length: int) -> None:
        keys, values = buffers
        self._buffers = (keys, values)
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]

    def _make_room(self, keys: Tensor, values: Tensor, before: int, after: int) -> None:
        if self._buffers is not None and after <= self._buffers[0].shape[-2]:
            return
        room = max(self._room, after + self._MORE)
        grown = tuple(s.new_empty(*s.shape[:2], room, s.shape[3]) for s in (keys, values))
        if self._buffers is not None:
            for old, new in zip(self._buffers, grown, strict=True):
                new[:, :, :before] = old[:, :, :before]
        self._buffers = (grown[0], grown[1])


def join_caches(cache: Cache, other: Cache) -> None:
    """Put the rows of ``other`` under those of ``cache``; all end at the same place."""
    for own, others in zip(cache.layers, other.layers, strict=True):
        assert isinstance(own, GrowingLayer) and isinstance(others, GrowingLayer)
        own.join(others)
