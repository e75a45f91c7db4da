"""Rows whose prompts have run, and the pass of the answers that are forced after them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from ..decoder.caches import can_begin_late, select_rows
from ..decoder.families import Parts
from ..decoder.forward import run
from ..decoder.hooks import of_this_thread
from ..decoder.partial import beginning_after, stopping_after
from ..decoder.sublayers import first_tensor
from .pace import Pace, parts_of


@dataclass(frozen=True)
class LowerStates:
    """What the lower layers made of a batch's rows.

    Attributes:
        layer: The last of them.
        states: Its output, ``(rows, tokens, hidden_size)``.
    """

    layer: int
    states: Tensor


@dataclass(frozen=True)
class AnswerBatch:
    """Rows that are ready for their answers' pass: the prompts have run, but for the last token.

    Attributes:
        rows: Which of the given samples the rows are.
        tokens: ``(rows, longest)``: each row's last prompt token (or its whole prompt, where
            none has run), then its answer, padded on the right.
        real: The mask of ``tokens``.
        answer: The mask of the answers' own tokens in ``tokens``.
    """

    rows: tuple[int, ...]
    tokens: Tensor
    real: Tensor
    answer: Tensor
    _parts: Parts
    _last: int | None
    _before: Tensor
    _cache: Cache
    _cache_rows: tuple[int, ...]
    _pace: Pace | None

    @property
    def cached_tokens(self) -> int:
        """How many tokens the prompts hold in the cache, padding included."""
        return (max(self._cache_rows) + 1) * self._before.shape[1]

    def run(self, lower: LowerStates | None = None) -> Tensor | None:
        """Run the answers' pass; may be repeated.

        Args:
            lower: What ``run_lower`` gave: only the layers above are run.

        Returns:
            The decoder's last hidden states ``(rows, tokens, hidden_size)``, or None where the
            pass stops early.
        """
        if lower is not None:
            mask = torch.cat([self._before, self.real], dim=1)
            cache = select_rows(self._cache, self._cache_rows, above=lower.layer)
            with beginning_after(self._parts, lower.layer, lower.states):
                return run_upto(self._parts, self._last, self.tokens, mask, cache)
        states = [hidden for _, hidden in self.passes() if hidden is not None]
        return torch.cat(states, dim=1) if states else None

    def passes(self) -> Iterator[tuple[slice, Tensor | None]]:
        """``run``, one forward pass at a time: one is all, unless a pace bounds it.

        Yields:
            Which of ``tokens`` the pass ran, and what ``run`` returns of them.
        """
        mask = torch.cat([self._before, self.real], dim=1)
        cache = select_rows(self._cache, self._cache_rows)
        before, (rows, width) = self._before.shape[1], self.tokens.shape
        for part in parts_of(self._pace, rows, width):
            run = mask[:, : before + part.stop]
            yield part, run_upto(self._parts, self._last, self.tokens[:, part], run, cache)

    def run_lower(self, layer: int) -> LowerStates | None:
        """Run the layers up to this one, once for all rows of the same prompt and answer.

        For rows that differ in what is added further up.

        Args:
            layer: The last layer whose own output is the same for such rows.

        Returns:
            What ``run`` goes on from; None where nothing is saved, or where what runs between the
            layers is more than one tensor a token.
        """
        layer = min(layer, len(self._parts.layers) - 1)
        blocks = [each.block for each in self._parts.layers]
        apart = len(set(map(id, blocks))) == len(blocks)  # layers may share a module
        config = self._parts.decoder.config
        if layer < 0 or self._last is not None or not apart or not can_begin_late(config):
            return None
        told = zip(self._cache_rows, self.tokens.tolist(), self.real.tolist(), strict=True)
        kinds = [(row, *tokens, *real) for row, tokens, real in told]
        first = {kind: row for row, kind in reversed(list(enumerate(kinds)))}
        chosen = sorted(first.values())
        if len(chosen) == len(kinds):
            return None
        found: list[Any] = []
        handle = self._parts.layers[layer].block.register_forward_hook(
            of_this_thread(lambda module, args, output: found.append(output))
        )
        mask = torch.cat([self._before, self.real], dim=1)
        cache = select_rows(self._cache, [self._cache_rows[row] for row in chosen], upto=layer)
        try:
            run_upto(self._parts, layer, self.tokens[chosen], mask[chosen], cache)
        finally:
            handle.remove()
        states = first_tensor(found[-1])
        if states is not found[-1] or states.shape[:2] != (len(chosen), self.tokens.shape[1]):
            return None
        place = {row: n for n, row in enumerate(chosen)}
        return LowerStates(layer, states[[place[first[kind]] for kind in kinds]])


def run_upto(
    parts: Parts, last: int | None, tokens: Tensor, mask: Tensor, cache: Cache
) -> Tensor | None:
    """One forward pass that fills ``cache``, up to the last wanted layer."""
    hidden: Tensor | None = None
    with stopping_after(parts, last):
        hidden = run(parts.decoder, tokens, mask, cache)
    return hidden
