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
    LinearAttentionLayer,
)


class RowCache(Cache):
    """A cache whose rows can be selected, whatever kind each layer is of."""

    def move_rows(self, rows: Sequence[int]) -> None:
        """Keep these rows, each in its place or from behind all that are left."""
        if all(isinstance(layer, GrowingLayer) for layer in self.layers):
            for layer in self.layers:
                layer.move_rows(rows)  # type: ignore[union-attr]  # as asked above
        else:
            self.batch_select_indices(torch.tensor(list(rows)))

    def pack(self, order: Tensor) -> None:
        """Keep these tokens of each row, ``(rows, tokens)``; where all layers hold keys only."""
        for layer in self.layers:
            assert isinstance(layer, GrowingLayer)
            layer.pack(order)

    def drop_last(self, count: int) -> None:
        """Forget the last tokens of every row; where all layers hold keys only."""
        for layer in self.layers:
            assert isinstance(layer, GrowingLayer)
            layer.drop_last(count)

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


def can_join(config: PreTrainedConfig) -> bool:
    """Whether the rows of two caches can be put into one: each layer holds keys, or a state a row.

    A layer that holds both has its keys in no ``GrowingLayer``.
    """
    joined = (DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer)
    return all(type(layer) in joined for layer in DynamicCache(config=config).layers)


def bytes_a_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """What the keys and values of one token take."""
    config = config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * dtype.itemsize)


def can_begin_late(config: PreTrainedConfig) -> bool:
    """Whether a pass may leave out the lower layers: each layer has keys of its own."""
    layers = len(DynamicCache(config=config).layers)
    return holds_keys_only(config) and layers == config.get_text_config().num_hidden_layers


def select_rows(
    cache: Cache, rows: Sequence[int], *, above: int = -1, upto: int | None = None
) -> Cache:
    """A new cache that holds the given rows, which may repeat; ``cache`` stays as it is.

    Layers that no forward pass has reached yet stay empty, so a pass that stopped early can be
    resumed.

    Args:
        cache: The cache.
        rows: Which rows.
        above: Only the layers above this one are needed; those that are not are as long, and hold
            whatever rows.
        upto: Only the layers up to this one are; None is all.
    """
    selected = copy.copy(cache)
    selected.layers = [_separate(layer) for layer in cache.layers]
    needed = copy.copy(selected)
    needed.layers = selected.layers[above + 1 : None if upto is None else upto + 1]
    needed.batch_select_indices(torch.tensor(list(rows), dtype=torch.long))
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

    There is room for more tokens, and for more rows where some have left or joined.

    Args:
        room: Tokens to make room for at first.
    """

    _MORE = 64

    def __init__(self, room: int = 0) -> None:
        super().__init__()
        self._room = room
        self._buffers: tuple[Tensor, Tensor] | None = None  # (rows, heads, tokens, size), with room

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append the states of new tokens; returns those of all tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, before = key_states.shape[0], self.get_seq_length()
        after = before + key_states.shape[-2]
        for buffer, states in zip(
            self._with_room((key_states, value_states), rows, after),
            (key_states, value_states),
            strict=True,
        ):
            buffer[:rows, :, before:after] = states
        self._hold(rows, after)
        assert self.keys is not None and self.values is not None
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, of which one may come several times."""
        if self._buffers is not None:
            length = self.get_seq_length()
            keys, values = self._buffers
            self._buffers = (keys[indices], values[indices])
            self._hold(len(indices), length)

    def move_rows(self, rows: Sequence[int]) -> None:
        """Keep these rows; only those whose place changes are copied.

        Args:
            rows: Which row comes at each place: the one that is there, or one from behind all
                that are left.
        """
        if self._buffers is None:
            return
        length = self.get_seq_length()
        if 4 * len(rows) <= len(self._buffers[0]):  # too much memory for so few
            self.batch_select_indices(torch.tensor(list(rows), device=self._buffers[0].device))
            return
        for buffer in self._buffers:
            for place, row in enumerate(rows):
                if row != place:
                    buffer[place, :, :length] = buffer[row, :, :length]
        self._hold(len(rows), length)

    def pack(self, order: Tensor) -> None:
        """Keep these tokens of each row, in this order: ``(rows, tokens)``."""
        if self._buffers is None:
            return
        for buffer in self._buffers:
            index = order[:, None, :, None].expand(-1, buffer.shape[1], -1, buffer.shape[3])
            held = buffer[: len(order)].gather(2, index)
            buffer[: len(order), :, : order.shape[1]] = held
        self._hold(*order.shape)

    def drop_last(self, count: int) -> None:
        """Forget the last tokens of every row."""
        if self.keys is not None and count:
            self._hold(len(self.keys), self.get_seq_length() - count)

    def join(self, other: GrowingLayer) -> None:
        """Put another layer's rows under these; all end at the same place.

        The shorter rows get zeros in front, which a mask must hide.
        """
        assert self.keys is not None and other.keys is not None and other.values is not None
        own, more = len(self.keys), len(other.keys)
        before, new = self.get_seq_length(), other.get_seq_length()
        length = max(before, new)
        joined = (other.keys, other.values)
        for buffer, states in zip(self._with_room(joined, own + more, length), joined, strict=True):
            if length > before:
                held = buffer[:own, :, :before].clone()
                buffer[:own, :, length - before : length] = held
                # Whatever lies there might be NaN, which no mask hides.
                buffer[:own, :, : length - before] = 0
            buffer[own : own + more, :, : length - new] = 0
            buffer[own : own + more, :, length - new : length] = states
        self._hold(own + more, length)

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

    def _hold(self, rows: int, length: int) -> None:
        assert self._buffers is not None
        keys, values = self._buffers
        self.keys, self.values = keys[:rows, :, :length], values[:rows, :, :length]

    def _with_room(
        self, like: tuple[Tensor, Tensor], rows: int, length: int
    ) -> tuple[Tensor, Tensor]:
        """The buffers, with room for so many rows of so many tokens."""
        old = self._buffers
        if old is not None and rows <= len(old[0]) and length <= old[0].shape[2]:
            return old
        room = max(self._room, length + self._MORE)
        if old is not None:
            room = max(room, old[0].shape[2]) if length <= old[0].shape[2] else room
            # Rows join one after the other: room for half as many more spares most of the copying.
            rows = len(old[0]) if rows <= len(old[0]) else rows + rows // 2
        keys, values = (s.new_empty(rows, s.shape[1], room, s.shape[3]) for s in like)
        if old is not None and self.keys is not None and self.values is not None:
            held, before = self.keys.shape[0], self.keys.shape[2]
            keys[:held, :, :before] = self.keys
            values[:held, :, :before] = self.values
        self._buffers = (keys, values)
        return self._buffers


def join_caches(cache: Cache, other: Cache) -> None:
    """Put the rows of ``other`` under those of ``cache``; all end at the same place."""
    for own, others in zip(cache.layers, other.layers, strict=True):
        if isinstance(own, LinearAttentionLayer) and isinstance(others, LinearAttentionLayer):
            _join_states(own, others)
            continue
        assert isinstance(own, GrowingLayer) and isinstance(others, GrowingLayer)
        own.join(others)


def _join_states(layer: LinearAttentionLayer, other: LinearAttentionLayer) -> None:
    """A state has no length: nothing is padded."""
    both = (layer.conv_states, other.conv_states), (layer.recurrent_states, other.recurrent_states)
    for own, more in both:
        for number, state in own.items():
            if state is not None and (others := more[number]) is not None:
                own[number] = torch.cat([state, others])
