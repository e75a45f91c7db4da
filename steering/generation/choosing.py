"""The next token of many rows at once, each by its own options, grammar and draws.

On a processor, rows that take the likeliest token rarely need their grammar's mask. On any other
device all rows are masked, drawn and chosen there together, and a step copies back one small table
however many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import TrimtabError
from .constraints import Constraints
from .requests import TokenLogprob
from .row import Row

_TOP_AT_FIRST = 1024  # tokens among which a processor looks for those of top_p


def take_next(rows: Sequence[Row], logits: Tensor, constraints: Constraints | None) -> None:
    """Let each row go on by its next token.

    A row whose grammar cannot be followed fails alone: its ``error`` is set.

    Args:
        rows: Rows without a pending token.
        logits: What follows each, ``(rows, vocabulary)``; changed in place.
        constraints: Of the model; None where no row follows a grammar.
    """
    if not rows:
        return
    logits = logits.float()
    bits = _bits(rows, constraints)
    logprobs = _RowLogprobs.of(rows, logits)
    choose = _on_processor if logits.device.type == "cpu" else _on_device
    likeliest, drawn, certain, broken = choose(rows, logits, bits)
    for n, row in enumerate(rows):
        if broken[n] and row.error is None:
            row.fail(
                TrimtabError(
                    "the model's logits are not numbers (NaN); steer with less strength, or load "
                    "the model in bfloat16 or float32"
                )
            )
    chosen = []
    for n, row in enumerate(rows):
        closer = None
        if row.closing and row.error is None and constraints is not None:
            closer = constraints.closing(constraints.flags(bits[n]))
        if closer is not None:
            chosen.append(row.close(closer, likeliest[n]))
        elif row.options.temperature == 0 or certain[n]:
            chosen.append(likeliest[n])  # nothing is drawn, as for a token that was forced
        else:
            row.use_uniform()
            chosen.append(drawn[n])
    found = logprobs.of_tokens(chosen)
    for n, row in enumerate(rows):
        if row.error is None:
            row.take(chosen[n], found.get(n))


def _bits(rows: Sequence[Row], constraints: Constraints | None) -> NDArray[np.int32]:
    """Which tokens each row's grammar lets through, 32 a word: ``(rows, words)``."""
    if constraints is None:
        return np.empty((len(rows), 0), dtype=np.int32)
    bits = np.full((len(rows), constraints.words), -1, dtype=np.int32)
    for n, row in enumerate(rows):
        if row.constraint is None:
            continue
        try:
            row.constraint.fill(bits, n)
        except TrimtabError as error:
            row.fail(error)
            bits[n] = -1
    return bits


Choices = tuple[list[int], list[int], list[bool], list[bool]]
"""A row's likeliest token, the one that is drawn, whether the likeliest is the only one, and
whether its logit is not a number."""


def _on_processor(rows: Sequence[Row], logits: Tensor, bits: NDArray[np.int32]) -> Choices:
    # NumPy's search is vectorised; PyTorch's takes twenty times as long.
    values = logits.numpy()
    places = values.argmax(axis=-1)  # of NaN, where there is one
    broken: list[bool] = np.isnan(values[np.arange(len(values)), places]).tolist()
    likeliest: list[int] = places.tolist()
    for n, row in enumerate(rows):
        if row.constraint is None:
            continue
        # What the model likes best mostly fits, and masking a vocabulary is slow.
        fits = bits[n, likeliest[n] // 32] >> (likeliest[n] % 32) & 1
        if row.options.temperature > 0 or not fits:
            flags = np.unpackbits(bits[n].view(np.uint8), bitorder="little")
            forbidden = torch.from_numpy(flags[: logits.shape[1]] == 0)
            logits[n].masked_fill_(forbidden, -torch.inf)
            likeliest[n] = int(logits[n].numpy().argmax())
    drawn, certain = list(likeliest), [True] * len(rows)
    for n, row in enumerate(rows):
        if row.options.temperature > 0:
            best = torch.tensor(likeliest[n : n + 1])
            token, sure = _drawn([row], logits[n : n + 1], best, _likeliest_asked)
            drawn[n], certain[n] = int(token), bool(sure)
    return likeliest, drawn, certain, broken


def _on_device(rows: Sequence[Row], logits: Tensor, bits: NDArray[np.int32]) -> Choices:
    device = logits.device
    broken = logits.amax(dim=-1).isnan().long()  # before a grammar hides it
    if any(row.constraint is not None for row in rows):
        words = torch.from_numpy(bits).to(device)
        places = torch.arange(32, dtype=torch.int32, device=device)
        allowed = (words[..., None] >> places & 1).bool().flatten(1)[:, : logits.shape[1]]
        logits.masked_fill_(~allowed, -torch.inf)
    likeliest = logits.argmax(dim=-1)
    table = torch.stack([likeliest, likeliest, torch.ones_like(likeliest), broken])
    sampled = [n for n, row in enumerate(rows) if row.options.temperature > 0]
    for cut in (False, True):  # a row's draw is the same beside rows of the other kind
        if some := [n for n in sampled if (rows[n].options.top_p < 1) == cut]:
            # The places go there as one small copy, which waits for nothing.
            at = torch.tensor(some).to(device)
            of_these = [rows[n] for n in some]
            table[1, at], sure = _drawn(of_these, logits[at], likeliest[at], _likeliest_sorted)
            table[2, at] = sure.long()
    likely, drawn, certain, nan = table.tolist()
    return likely, drawn, [bool(one) for one in certain], [bool(one) for one in nan]


def _drawn(
    rows: Sequence[Row],
    logits: Tensor,
    likeliest: Tensor,
    highest: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """A token for each row, by its chances and its own number; and whether one has them all.

    Where the number falls among the chances laid end to end. One number a draw: ``multinomial``
    draws one for every token of the vocabulary, which takes as long as a row's share of the
    forward pass.

    Args:
        rows: Rows with a temperature above 0, all of them with a top_p below 1 or none.
        logits: ``(rows, vocabulary)``.
        likeliest: The likeliest token of each, ``(rows,)``.
        highest: Finds the likeliest tokens that have a share of the chances together.
    """
    device = logits.device
    temperatures = torch.tensor([[row.options.temperature] for row in rows]).to(device)
    chances = (logits / temperatures).softmax(dim=-1)
    certain = chances.gather(-1, likeliest[:, None])[:, 0] == 1
    tokens = None
    if rows[0].options.top_p < 1:
        shares = torch.tensor([[row.options.top_p] for row in rows]).to(device)
        chances, tokens = _within(shares, *highest(chances, shares))
    ends = chances.cumsum(dim=-1)
    numbers = torch.stack([row.uniform() for row in rows]).to(device)
    places = numbers[:, None] * ends[:, -1:]
    # To the right of equal ends, so that what has no chance is never drawn.
    found = torch.searchsorted(ends, places, right=True)
    last = chances.shape[1] - 1
    drawn = found if tokens is None else tokens.gather(-1, found.clamp(max=last))
    return torch.where(found > last, likeliest[:, None], drawn)[:, 0], certain


def _likeliest_asked(chances: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest tokens, in order: a few, if they have the shares, which is asked; else all."""
    highest, tokens = chances.topk(min(_TOP_AT_FIRST, chances.shape[1]))
    if (highest.sum(dim=-1, keepdim=True) < shares).any():
        highest, tokens = chances.sort(descending=True)
    return highest, tokens


def _likeliest_sorted(chances: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """All tokens, the likeliest first: to ask whether a part is enough waits for the device."""
    highest, tokens = chances.sort(descending=True)
    return highest, tokens


def _within(shares: Tensor, highest: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Chances in order, 0 beyond their share, and the tokens that they are of."""
    before = highest.cumsum(dim=-1) - highest
    return torch.where(before < shares, highest, 0), tokens


class _RowLogprobs:
    """The log-probabilities that some rows ask for, before any mask or temperature."""

    def __init__(self, asking: list[int], logs: Tensor | None, top: list[int]) -> None:
        self._asking = asking
        self._logs = logs
        self._top = top

    @classmethod
    def of(cls, rows: Sequence[Row], logits: Tensor) -> _RowLogprobs:
        asking = [n for n, row in enumerate(rows) if row.options.logprobs is not None]
        if not asking:
            return cls([], None, [])
        at = torch.tensor(asking).to(logits.device)
        top = [rows[n].options.logprobs or 0 for n in asking]
        return cls(asking, logits[at].log_softmax(dim=-1), top)

    def of_tokens(self, chosen: Sequence[int]) -> dict[int, TokenLogprob]:
        """By the number of each row that asks; in one copy."""
        if self._logs is None:
            return {}
        own = torch.tensor([[chosen[n]] for n in self._asking]).to(self._logs.device)
        values, tokens = self._logs.topk(max(self._top), dim=-1)
        # Token ids are exact in 64 bits of floating point.
        table = torch.cat([self._logs.gather(-1, own), values, tokens], dim=1).double().tolist()
        width = max(self._top)
        return {
            n: TokenLogprob(
                chosen[n],
                line[0],
                tuple(
                    (int(token), value)
                    for token, value in zip(
                        line[1 + width : 1 + width + top], line[1 : 1 + top], strict=True
                    )
                ),
            )
            for n, line, top in zip(self._asking, table, self._top, strict=True)
        }
