"""The first tokens of some prompts, and what they left in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import Cache

from .caches import GrowingLayer


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
        """What ``tokens``, the first of a cache with one row, left in it; copied."""
        states = []
        for layer in cache.layers:
            assert isinstance(layer, GrowingLayer)
            assert layer.keys is not None and layer.values is not None
            held = (layer.keys[:, :, : len(tokens)], layer.values[:, :, : len(tokens)])
            states.append((held[0].clone(), held[1].clone()))
        return Prefix(tuple(tokens), tuple(states))

    @property
    def bytes(self) -> int:
        """What the states take."""
        return sum(side.numel() * side.element_size() for both in self.states for side in both)
