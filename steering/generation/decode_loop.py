"""The decode loop: rows that go through the model together, a step at a time.

A step is one forward pass. It runs whatever tokens the rows have pending, so that tokens that a
grammar forced ride along with the next one that the model chooses; rows with fewer pending tokens
are padded on their left, and the padding is masked for good. Rows join a batch between two steps
and leave it when they end.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..decoder.caches import holds_keys_only, join_caches
from ..decoder.forward import padded, run, window_passed
from ..decoder.prefix import Prefix
from ..decoder.prefixes import MIN_SHARED, common, extended, new_cache
from ..vectors.injection import steered_by_all
from .choosing import take_next
from .constraints import constraints_of
from .fixed_steps import FixedSteps, borrow, give_back
from .row import Row

if TYPE_CHECKING:
    from ..decoder.caches import RowCache
    from ..decoder.language_model import LanguageModel

PASS_TOKENS = 8192
"""At most so many tokens in one forward pass over prompts, to bound its memory."""

_WORTH_A_PASS = 64  # tokens that must be saved for one more forward pass to pay
_FORCED_AT_ONCE = 192  # columns that a step may add, while one row's grammar forces many tokens
_IN_VAIN = {"cpu": 16, "cuda": 256}
"""Tokens that a step may run in vain, by the kind of device: padding, or tokens proposed only.

A processor computes each of them; a GPU is waiting for the weights meanwhile.
"""


class Batch:
    """Rows that go through the model together, a step at a time.

    Args:
        model: The model.
        rows: Answers that no forward pass has seen yet; at least one.

    Attributes:
        rows: Those that are still in the batch; a few of them may have finished.
        kept_tokens: So many tokens of its rows' prompts had run before, in other prompts.
    """

    def __init__(self, model: LanguageModel, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self.kept_tokens = 0
        self._model = model
        self._cache: RowCache
        self._mask: Tensor  # which places of the cache hold a token of the row's own
        self._plain = holds_keys_only(model.hf.config)
        self._holes = (len(rows) == 1 and self._plain) or self._may_have_holes()
        self._share = all(row.options.share_prefix for row in self.rows)
        self._fixed: FixedSteps | None = None  # holds the rows while steps are captured graphs

    def begin(self, pass_tokens: int = PASS_TOKENS) -> Generator[None, None, list[Row]]:
        """Run the prompts, a forward pass each time that the generator is asked to go on.

        Every pass puts its steering on and takes it off, so that other batches can go on between
        two of them.

        Args:
            pass_tokens: At most so many tokens in a pass. Where a state takes in what a pass
                holds, as in linear attention, rows of unequal length run in one pass all the same.

        Returns:
            The rows that ended with their first token.
        """
        yield from self._start(pass_tokens)
        # What a grammar forces some rows to waits, rather than pad the others.
        forced = min(len(row.tokens) for row in self.rows)
        upcoming = []
        for row in self.rows:
            now = len(row.pending) - (len(row.tokens) - forced)
            upcoming.append(row.pending[:now])
            row.pending = row.pending[now:]
        parts = self._parts(upcoming, pass_tokens)
        for number, (tokens, real) in enumerate(parts):
            with self.steered():
                hidden = self._hidden(tokens, real)
            if number < len(parts) - 1:
                yield
        self._keep_prompt()
        ready = [n for n, row in enumerate(self.rows) if row.finish is None and not row.pending]
        return self._choose(ready, self._logits(hidden, ready, [()] * len(self.rows)))

    def steered(self) -> AbstractContextManager[None]:
        """The hooks for the rows that are now in the batch."""
        return steered_by_all(
            self._model,
            [row.steerings for row in self.rows],
            [len(row.prompt) for row in self.rows],
        )

    def step(self) -> list[Row]:
        """One forward pass inside ``steered``, and the next token of every row that is up to date.

        Returns:
            The rows that ended in this step. Where there are any, rows may have been dropped, so
            that the hooks no longer fit.
        """
        width = self._width()
        upcoming = []
        for row in self.rows:
            upcoming.append(row.pending[:width] if row.finish is None else [])
            row.pending = row.pending[len(upcoming[-1]) :]
        ready = [n for n, row in enumerate(self.rows) if row.finish is None and not row.pending]
        fixed = self._fixed_for(upcoming)
        if fixed is not None:
            logits = fixed.step(upcoming)
            return self._choose(ready, logits if len(ready) == len(logits) else logits[ready])
        proposed = self._proposals()
        both = [[*own, *more] for own, more in zip(upcoming, proposed, strict=True)]
        [(tokens, real)] = self._parts(both, None)
        hidden = self._hidden(tokens, real)
        ended = self._choose(ready, self._logits(hidden, ready, proposed), proposed)
        self._pack()
        return ended

    @torch.inference_mode()
    def join(self, other: Batch) -> None:
        """Take in the rows of another batch that has begun as well."""
        self._leave_fixed()
        other._leave_fixed()
        join_caches(self._cache, other._cache)
        length = self._cache.get_seq_length()
        masks = [pad(m, (length - m.shape[1], 0)) for m in (self._mask, other._mask)]
        self._mask = torch.cat(masks)
        self.rows += other.rows
        self._share = self._share and other._share
        holes = self._holes or other._holes
        self._holes = self._may_have_holes()
        self._pack(whole=holes and not self._holes)

    @torch.inference_mode()
    def drop_finished(self, *, at_once: bool = False) -> None:
        """Drop the rows that have finished.

        Args:
            at_once: However few they are; else, where all that is left must be copied, once they
                are enough to pay for it.
        """
        left = [n for n, row in enumerate(self.rows) if row.finish is None]
        ended = len(self.rows) - len(left)
        copies = not self._plain or self._fixed is not None
        if not ended or (copies and 4 * ended < len(self.rows) and not at_once):
            return
        if not left and self._fixed is not None:
            give_back(self._model, self._fixed)
            self._fixed = None
        self._leave_fixed()
        if self._plain:  # each place that is free is taken by a row from behind all that are left
            behind = [n for n in left if n >= len(left)]
            left = [n if self.rows[n].finish is None else behind.pop() for n in range(len(left))]
        self.rows = [self.rows[n] for n in left]
        if left:
            self._mask = self._mask[torch.tensor(left, device=self._mask.device)]
            self._cache.move_rows(left)

    def _width(self) -> int:
        """How many of its pending tokens a row may run in a step: as many as pad others by few."""
        if not self._holes:
            return 1
        pending = [len(row.pending) if row.finish is None else 0 for row in self.rows]
        width = 1
        while width < max(pending):
            padding = sum(max(width + 1 - own, 0) for own in pending)
            if padding > self._in_vain:
                break
            width += 1
        return width

    @property
    def _in_vain(self) -> int:
        return _IN_VAIN.get(self._model.device.type, _IN_VAIN["cuda"])

    def _proposals(self) -> list[list[int]]:
        """What each row may go on with, as far as a step has room to check it."""
        running = [row for row in self.rows if row.finish is None]
        # A token that was proposed in vain is masked, or forgotten where a row is alone.
        room = self._in_vain // max(len(running), 1)
        if not self._holes or not room:
            return [[] for _ in self.rows]
        return [[] if row.pending else row.proposals(room) for row in self.rows]

    @torch.inference_mode()
    def _pack(self, *, whole: bool = False) -> None:
        """Leave out the padding that rows which joined, left or proposed in vain have left.

        Args:
            whole: However little it is; else once it is enough to pay for the copying.
        """
        if not self._plain or not self.rows or self._fixed is not None:
            return
        needed = max(row.seen for row in self.rows)
        if not whole and self._mask.shape[1] <= _columns(needed):
            return
        order = self._mask.argsort(dim=1, stable=True)[:, -needed:]  # padding, then all tokens
        self._mask = self._mask.gather(1, order)
        self._cache.pack(order)

    @torch.inference_mode()
    def _fixed_for(self, upcoming: Sequence[Sequence[int]]) -> FixedSteps | None:
        """The buffers in which a step can be a captured graph; None where it runs as it is."""
        width = max(map(len, upcoming))
        if self._fixed is not None and not (self._fixed.captures and self._fixed.fits(width)):
            self._leave_fixed()
            self._pack()
        if self._fixed is None and self._holes:
            self._fixed = borrow(self._model, self.rows, self._mask.shape[1], width)
            if self._fixed is not None:
                self._fixed.fill(self._cache, self._mask)
                self._fixed.steer(
                    [next(iter(row.steerings), None) for row in self.rows],
                    [len(row.prompt) for row in self.rows],
                )
        return self._fixed

    def _leave_fixed(self) -> None:
        """Let the growing cache hold the rows again."""
        if self._fixed is not None:
            self._mask = self._fixed.pour(self._cache)
            give_back(self._model, self._fixed)
            self._fixed = None

    def _may_have_holes(self) -> bool:
        """Whether padding may lie between the tokens of a row.

        Inside a sliding window it counts as distance: there, rows are padded on the left of all
        their tokens only, and go on by one token each.
        """
        columns = _columns(max(row.longest for row in self.rows)) + _FORCED_AT_ONCE
        return not window_passed(self._model.hf.config, columns)

    def _start(self, pass_tokens: int) -> Generator[None]:
        """Fill the cache with what the rows share, unsteered as it is."""
        prefix = yield from self._shared_prefix(pass_tokens)
        done = len(prefix.tokens) if prefix else 0
        room = max(len(row.pending) + row.options.max_new_tokens for row in self.rows)
        # Rows of one prompt that differ in steering or in their draws.
        own = [row.prompt[done : row.shareable] for row in self.rows]
        distinct = list(dict.fromkeys(own))
        saved = sum(map(len, own)) - sum(map(len, distinct))
        together = self._share and self._holes and saved >= _WORTH_A_PASS
        started = len(distinct) if together else len(own)
        with torch.inference_mode():
            self._cache = new_cache(self._model.hf.config, prefix, started, room)
            self._mask = torch.ones(started, done, dtype=torch.long, device=self._model.device)
        if together:
            for tokens, real in self._parts(distinct, pass_tokens):
                self._hidden(tokens, real)
                yield
            self._select([distinct.index(prompt) for prompt in own])
        for row in self.rows:
            row.pending = row.pending[row.shareable if together else done :]

    def _shared_prefix(self, pass_tokens: int) -> Generator[None, None, Prefix | None]:
        """What the rows have in common, from memory or run now."""
        if not self._share or not self._holes:
            return None
        first, *others = self.rows
        shared = min(row.shareable for row in self.rows)
        for row in others:
            shared = min(shared, common(first.prompt, row.prompt))
        if shared < MIN_SHARED:
            return None
        beginning = first.beginning if first.beginning <= shared else 0
        known = self._model.prefixes.longest(first.prompt[:shared], beginning=beginning)
        self.kept_tokens = len(known.tokens) * len(self.rows) if known else 0
        if not others:
            return known  # the rest runs anyway, and is kept then
        prefix = yield from extended(
            known, first.prompt[:shared], self._model.parts.decoder, pass_tokens
        )
        self._model.prefixes.keep(prefix, beginning=beginning)
        return prefix

    def _parts(
        self, rows: Sequence[Sequence[int]], pass_tokens: int | None
    ) -> list[tuple[Tensor, Tensor]]:
        """Tokens, some or none a row, and which are real, cut into passes of a bounded size."""
        tokens, real = padded(rows, left=True, device=self._model.device)
        # Where a state takes in what a pass holds, all padding must be in the first pass.
        if pass_tokens is None or not self._plain:
            return [(tokens, real)]
        columns = max(pass_tokens // len(rows), 1)
        return list(zip(tokens.split(columns, dim=1), real.split(columns, dim=1), strict=True))

    @torch.inference_mode()
    def _hidden(self, tokens: Tensor, real: Tensor) -> Tensor:
        """Run tokens; the last hidden states, ``(rows, tokens, hidden_size)``."""
        self._leave_fixed()
        self._mask = torch.cat([self._mask, real], dim=1)
        return run(self._model.parts.decoder, tokens, self._mask, self._cache)

    def _keep_prompt(self) -> None:
        """Keep what a row that is alone has just run: the conversation may go on from there."""
        if len(self.rows) == 1 and self._share and self._plain:
            row = self.rows[0]
            ran = Prefix.of(self._cache, row.prompt[: row.shareable])
            self._model.prefixes.keep(ran, beginning=row.beginning)

    @torch.inference_mode()
    def _choose(
        self, ready: Sequence[int], logits: Tensor, proposed: Sequence[Sequence[int]] = ()
    ) -> list[Row]:
        """Let the rows that are up to date go on; returns those that ended.

        A row goes on by its proposals as long as each is what it would have chosen, and by one
        token more.

        Args:
            ready: The rows that are up to date.
            logits: After the last token of each, and after each of its proposals.
            proposed: What each row of the batch has proposed; empty for nothing.
        """
        proposed = proposed or [()] * len(self.rows)
        chosen = [self.rows[n] for n in ready]
        bound = any(row.constraint is not None for row in chosen)
        constraints = constraints_of(self._model) if bound else None
        counts = [len(proposed[n]) + 1 for n in ready]
        first = {n: sum(counts[:place]) for place, n in enumerate(ready)}
        kept = [0] * len(self.rows)
        going = list(ready)
        while going:
            at = [first[n] + kept[n] for n in going]
            every = len(at) == len(logits)
            take_next([self.rows[n] for n in going], logits if every else logits[at], constraints)
            for n in going:
                row = self.rows[n]
                while row.pending and row.pending[:1] == list(proposed[n][kept[n] : kept[n] + 1]):
                    del row.pending[0]
                    kept[n] += 1
            going = [n for n in going if self.rows[n].finish is None and not self.rows[n].pending]
        self._forget([len(more) - n for more, n in zip(proposed, kept, strict=True)])
        for row, more, n in zip(self.rows, proposed, kept, strict=True):
            row.checked(len(more), n)
        ended = [row for row in chosen if row.finish is not None]
        if ended:
            self.drop_finished()
        return ended

    @torch.inference_mode()
    def _logits(
        self, hidden: Tensor, rows: Sequence[int], proposed: Sequence[Sequence[int]]
    ) -> Tensor:
        """Logits after each row's last token and each of its proposals, ``(places, vocabulary)``.

        Args:
            hidden: The last states of a pass, the proposals' at their end.
            rows: Whose logits.
            proposed: What each row of the batch has proposed.
        """
        # Two dimensions: PyTorch multiplies a strided batch of three by a copy of the whole
        # vocabulary matrix for every row.
        if not any(proposed):
            every = len(rows) == len(self.rows)
            return self._model.logits(hidden[:, -1] if every else hidden[list(rows), -1])
        width = hidden.shape[1]
        places = [
            (n + 1) * width - 1 - back for n in rows for back in range(len(proposed[n]), -1, -1)
        ]
        return self._model.logits(hidden.flatten(0, 1)[torch.tensor(places).to(hidden.device)])

    def _forget(self, lost: Sequence[int]) -> None:
        """Forget so many last tokens of each row: what it had proposed in vain."""
        if not any(lost):
            return
        running = [n for row, n in zip(self.rows, lost, strict=True) if row.finish is None]
        every = min(running, default=0)
        if every:
            self._mask = self._mask[:, :-every]
            self._cache.drop_last(every)
        rest = max(running, default=0) - every
        if rest:
            ends = torch.tensor([[rest - max(n - every, 0)] for n in lost]).to(self._mask.device)
            columns = torch.arange(rest, device=self._mask.device)
            real = self._mask[:, -rest:] * (columns < ends)
            self._mask = torch.cat([self._mask[:, :-rest], real], dim=1)

    @torch.inference_mode()
    def _select(self, rows: Sequence[int]) -> None:
        """Keep these rows of the cache, of which one may come several times."""
        self._leave_fixed()
        chosen = torch.tensor(rows, device=self._mask.device)
        self._mask = self._mask[chosen]
        self._cache.batch_select_indices(chosen)


def _columns(tokens: int) -> int:
    """How many columns of the cache rows of so many tokens may take before they are packed."""
    return tokens + max(tokens // 4, _WORTH_A_PASS)
