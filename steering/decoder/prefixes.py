"""The prompt prefixes that are kept from batch to batch, and caches that begin with them.

The system prompt and the tool descriptions open nearly every prompt. They run once; every batch
starts from what they left in the cache.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from .caches import GrowingLayer, RowCache, layers_of
from .forward import run
from .prefix import Prefix
from .prefix_files import PrefixFiles

MIN_SHARED = 16
"""A common prefix shorter than this is not worth a pass of its own."""


class Prefixes:
    """The prefixes that were used last, as many as have room.

    Only what is the same with and without steering may be kept: what one user's steering has
    touched would reach the next user.

    Args:
        max_bytes: What all of them together may take.
        files: Where beginnings are kept for the next process; None keeps them in memory alone.
    """

    def __init__(self, max_bytes: int = 256 * 2**20, *, files: PrefixFiles | None = None) -> None:
        self.files = files
        self._room = max_bytes
        self._kept: list[Prefix] = []  # the one used last is at the end

    def longest(self, tokens: Sequence[int], *, beginning: int = 0) -> Prefix | None:
        """The longest known prefix of ``tokens``; None if none is worth using.

        Args:
            tokens: A prompt's.
            beginning: So many of them say nothing of a user, and may be found on disk.
        """
        best = max(self._kept, key=lambda kept: common(kept.tokens, tokens), default=None)
        count = common(best.tokens, tokens) if best else 0
        if self.files is not None and count < beginning <= len(tokens):
            read = self.files.load(tokens[:beginning])
            if read is not None:
                self.keep(read)
                return read
        if best is None or count < MIN_SHARED:
            return None
        self._kept = [*(kept for kept in self._kept if kept is not best), best]
        return best.first(count)

    def keep(self, prefix: Prefix, *, beginning: int = 0) -> None:
        """Keep a prefix, in the place of those that it continues.

        Args:
            prefix: The prefix.
            beginning: So many of its tokens say nothing of a user, and may be kept on disk.
        """
        if len(prefix.tokens) < MIN_SHARED or prefix.bytes > self._room:
            return
        if self.files is not None and 0 < beginning <= len(prefix.tokens):
            self.files.keep(prefix.first(beginning))
        others = [k for k in self._kept if k.tokens != prefix.tokens[: len(k.tokens)]]
        if any(k.tokens[: len(prefix.tokens)] == prefix.tokens for k in others):
            return  # known, as a part of a longer one
        self._kept = [*others, prefix]
        while sum(kept.bytes for kept in self._kept) > self._room:
            del self._kept[0]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    shortest = min(len(one), len(other))
    return next((n for n in range(shortest) if one[n] != other[n]), shortest)


def new_cache(config: PreTrainedConfig, prefix: Prefix | None, rows: int, room: int) -> RowCache:
    """A cache for ``rows`` rows that begins with a prefix or empty, with room for ``room`` tokens.

    The prefix itself is copied, never changed.
    """
    cache = layers_of(config, room)
    if prefix is not None:
        for layer, (keys, values) in zip(cache.layers, prefix.states, strict=True):
            assert isinstance(layer, GrowingLayer)
            layer.start_from(keys, values, rows)
    return cache


def extended(
    prefix: Prefix | None, tokens: Sequence[int], decoder: PreTrainedModel, pass_tokens: int
) -> Generator[None, None, Prefix]:
    """Run what ``tokens`` adds to a prefix of them, a forward pass each time it is asked to go on.

    Args:
        prefix: What has run.
        tokens: The whole.
        decoder: The module that runs the layers.
        pass_tokens: At most so many tokens in a pass.

    Returns:
        The whole as a prefix.
    """
    done = len(prefix.tokens) if prefix else 0
    with torch.inference_mode():
        cache = new_cache(decoder.config, prefix, 1, len(tokens))
    for start in range(done, len(tokens), pass_tokens):
        part = tokens[start : start + pass_tokens]
        with torch.inference_mode():
            mask = torch.ones(1, start + len(part), dtype=torch.long)
            run(decoder, torch.tensor([list(part)]), mask, cache)
        yield
    return Prefix.of(cache, tokens)
