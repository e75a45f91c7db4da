"""The key-value cache of a batch, and the prompt prefixes that are kept from batch to batch.

The system prompt and the tool descriptions open nearly every prompt. They run once; every batch
starts from what they left in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

MIN_SHARED = 16
"""A common prefix shorter than this is not worth a pass of its own."""


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


@dataclass(frozen=True)
class Prefix:
    """The first tokens of some prompts, and what they left in the cache.

    Attributes:
        tokens: Token ids.
        states: Of each layer keys and values, ``(1, key_value_heads, len(tokens), head_size)``.
    """

    tokens: tuple[int, ...]
    states: tuple[tuple[Tensor, Tensor], ...]

    def first(self, count: int) -> Prefix:
        """The prefix of this prefix that is ``count`` tokens long."""
        return Prefix(
            self.tokens[:count],
            tuple((keys[:, :, :count], values[:, :, :count]) for keys, values in self.states),
        )

    @staticmethod
    def of(cache: Cache, tokens: Sequence[int]) -> Prefix:
        """What ``tokens``, the first of a cache with one row, left in it."""
        states = []
        for layer in cache.layers:
            assert isinstance(layer, GrowingLayer)
            assert layer.keys is not None and layer.values is not None
            states.append((layer.keys, layer.values))
        return Prefix(tuple(tokens), tuple(states)).first(len(tokens))


class Prefixes:
    """The prefixes that were used last.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int = 4) -> None:
        self._size = size
        self._kept: list[Prefix] = []  # the one used last is at the end

    def longest(self, tokens: Sequence[int]) -> Prefix | None:
        """The longest known prefix of ``tokens``; None if none is worth using."""
        best = max(self._kept, key=lambda kept: common(kept.tokens, tokens), default=None)
        count = common(best.tokens, tokens) if best else 0
        if best is None or count < MIN_SHARED:
            return None
        self._kept = [*(kept for kept in self._kept if kept is not best), best]
        return best.first(count)

    def keep(self, prefix: Prefix) -> None:
        """Keep a prefix, in the place of those that it continues."""
        if len(prefix.tokens) < MIN_SHARED:
            return
        others = [k for k in self._kept if k.tokens != prefix.tokens[: len(k.tokens)]]
        self._kept = [*others, prefix][-self._size :]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    shortest = min(len(one), len(other))
    return next((n for n in range(shortest) if one[n] != other[n]), shortest)


def new_cache(config: PreTrainedConfig, prefix: Prefix | None, rows: int, room: int) -> Cache:
    """A cache for ``rows`` rows that begins with a prefix or empty, with room for ``room`` tokens.

    The prefix itself is copied, never changed.
    """
    layers = [GrowingLayer(room) for _ in range(config.get_text_config().num_hidden_layers)]
    if prefix is not None:
        for layer, (keys, values) in zip(layers, prefix.states, strict=True):
            layer.start_from(keys, values, rows)
    return Cache(layers=list(layers))


def join_caches(cache: Cache, other: Cache) -> None:
    """Put the rows of ``other`` under those of ``cache``; all end at the same place."""
    for own, others in zip(cache.layers, other.layers, strict=True):
        assert isinstance(own, GrowingLayer) and isinstance(others, GrowingLayer)
        own.join(others)


def run(decoder: PreTrainedModel, tokens: Sequence[int], start: Prefix | None) -> Prefix:
    """Run what ``tokens`` adds to ``start``; returns the whole as a prefix."""
    done = len(start.tokens) if start else 0
    cache = new_cache(decoder.config, start, 1, len(tokens))
    if done < len(tokens):
        device = next(decoder.parameters()).device
        decoder(
            input_ids=torch.tensor([list(tokens[done:])], device=device),
            attention_mask=torch.ones(1, len(tokens), dtype=torch.long, device=device),
            position_ids=torch.arange(done, len(tokens), device=device)[None],
            past_key_values=cache,
            use_cache=True,
        )
    return Prefix.of(cache, tokens)


def window_passed(config: PreTrainedConfig, longest: int) -> bool:
    """Whether a row of ``longest`` tokens outgrows a layer that looks back only so far.

    Such a layer counts padding between a row's tokens as distance, so that none may be there.
    """
    config = config.get_text_config()
    if set(getattr(config, "layer_types", None) or ["unknown"]) == {"full_attention"}:
        return False
    windows = [getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size")]
    return any(window is not None and longest > window for window in windows)
