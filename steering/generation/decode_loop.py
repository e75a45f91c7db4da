"""The decode loop: rows that go through the model together, a step at a time.

A step is one forward pass. It runs whatever tokens the rows have pending, so that tokens that a
grammar forced ride along with the next one that the model chooses; rows with fewer pending tokens
are padded on their left, and the padding is masked for good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...errors import TrimtabError
from ..decoder.caches import holds_keys_only, join_caches
from ..decoder.forward import padded, run, window_passed
from ..decoder.prefixes import MIN_SHARED, Prefix, common, extended, new_cache
from ..vectors.injection import steered_by_all
from ..vectors.steering import Steering
from .constraints import Constraint, constraints_of, masked
from .requests import Options, Request

if TYPE_CHECKING:
    from transformers import Cache

    from ..decoder.language_model import LanguageModel

_PASS_TOKENS = 8192  # in one forward pass over prompts, to bound its memory
_WORTH_A_PASS = 64  # tokens that must be saved for one more forward pass to pay


class Row:
    """One answer under way.

    Args:
        model: The model.
        index: The place of the request in its list.
        request: What is answered; its own steering is one of ``steerings``.
        options: How answers are decoded.
        steerings: All that is added for this row.

    Attributes:
        index: As given.
        steerings: As given.
        prompt: Token ids.
        shareable: So many first tokens of the prompt are the same with and without steering.
        pending: Tokens that no forward pass has seen yet; what follows the last one is unknown.
        tokens: The answer's so far, without the one that ends it.
        forced: How many of them the grammar forced.
        finish: None while the answer goes on.
    """

    def __init__(
        self,
        model: LanguageModel,
        index: int,
        request: Request,
        options: Options,
        steerings: Sequence[Steering] = (),
    ) -> None:
        self.index = index
        self.steerings = tuple(steerings)
        self.prompt = model.prompt_tokens(request.messages, request.tools)
        _check_length(model, len(self.prompt), options.max_new_tokens)
        starts = [steering.start(len(self.prompt)) for steering in self.steerings]
        self.shareable = min([len(self.prompt) - 1, *starts])
        self.pending = list(self.prompt)
        self.finish: Literal["stop", "length"] | None = None
        self._model = model
        self._options = options
        self.tokens: list[int] = []
        self.forced = 0
        self._closed_early = False
        self._text: str | None = None
        self._random = torch.Generator()
        # Not seed + index: the next seed's draws would be this one's, moved by one request.
        digest = hashlib.sha256(f"{options.seed}/{request.draws or index}".encode()).digest()
        self._random.manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        self.constraint: Constraint | None = None
        if request.grammar is not None:
            self.constraint = constraints_of(model).of(request.grammar)
            self._follow_grammar()

    @property
    def closing(self) -> bool:
        """Whether so little room is left that the answer should be closed."""
        left = self._options.max_new_tokens - len(self.tokens)
        return self.constraint is not None and left <= self._options.reserve

    def choose(self, logits: Tensor, likeliest: int, closer: int | None) -> int:
        """The next token.

        Args:
            logits: ``(vocabulary,)``, those of forbidden tokens minus infinity.
            likeliest: The token with the highest logit.
            closer: The token that closes what is open, for a row that is ``closing``.
        """
        if closer is not None:
            self._closed_early |= closer != likeliest
            return closer
        if self._options.temperature == 0:
            return likeliest
        chances = (logits / self._options.temperature).softmax(dim=-1)
        if chances[likeliest] == 1:
            return likeliest  # nothing is drawn, as for a token that was forced
        tokens = None
        if self._options.top_p < 1:
            chances, tokens = _top(chances, self._options.top_p)
        drawn = _drawn(chances.cpu(), self._random)
        if drawn is None:
            return likeliest
        return drawn if tokens is None else int(tokens[drawn])

    def take(self, token: int) -> None:
        """Go on by a token that was chosen."""
        if token in self._model.ends:
            self.finish = "length" if self._closed_early else "stop"
            return
        self.tokens.append(token)
        self.pending.append(token)
        if self.constraint is not None:
            self.constraint.take(token)
            self._follow_grammar()
        self._check_end()

    def text(self) -> str:
        """The answer so far, up to a stop text."""
        if self._text is not None:
            return self._text
        shown = [token for token in self.tokens if token not in self._model.hidden_tokens]
        text = self._model.tokenizer.decode(shown, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def _follow_grammar(self) -> None:
        assert self.constraint is not None
        if self._options.fast_forward:
            forced = self.constraint.take_forced()
            self.tokens += forced
            self.pending += forced
            self.forced += len(forced)
        if self.constraint.finished:
            self.finish = "length" if self._closed_early else "stop"
        self._check_end()

    def _check_end(self) -> None:
        if self._options.stop:
            text = self.text()
            found = [text.index(stop) for stop in self._options.stop if stop in text]
            if found:
                self._text = text[: min(found)]
                self.finish = "stop"
        room = self._options.max_new_tokens
        if len(self.tokens) > room or (len(self.tokens) == room and self.finish is None):
            del self.tokens[room:]
            self.forced = min(self.forced, room)
            self.finish = "length"


class Batch:
    """Rows that go through the model together, a step at a time.

    Attributes:
        rows: Those that are still in the batch; a few of them may have finished.
    """

    def __init__(self, model: LanguageModel, rows: Sequence[Row], options: Options) -> None:
        self.rows = list(rows)
        self._model = model
        self._options = options
        self._begun = False
        self._cache: Cache
        self._mask: Tensor  # which places of the cache hold a token of the row's own
        # Padding between tokens counts as distance inside a sliding window: there, rows are only
        # padded on the left, and go on by one token each.
        longest = max(len(row.prompt) for row in rows) + options.max_new_tokens
        self._plain = holds_keys_only(model.hf.config)
        alone = len(rows) == 1 and self._plain
        self._holes = alone or not window_passed(model.hf.config, longest)
        with torch.inference_mode():
            self._start()

    def steered(self) -> AbstractContextManager[None]:
        """The hooks for the rows that are now in the batch."""
        return steered_by_all(
            self._model,
            [row.steerings for row in self.rows],
            [len(row.prompt) for row in self.rows],
        )

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """One forward pass, and the next token of every row that it brings up to date.

        Returns:
            The rows that ended in this step. Where there are any, rows may have been dropped, so
            that the hooks no longer fit.
        """
        logits = self._forward()
        ready = [n for n, row in enumerate(self.rows) if row.finish is None and not row.pending]
        chosen = [self.rows[n] for n in ready]
        self._choose(chosen, logits if len(ready) == len(self.rows) else logits[ready])
        ended = [row for row in chosen if row.finish is not None]
        if ended:
            self._drop_finished()
        return ended

    @torch.inference_mode()
    def join(self, other: Batch) -> None:
        """Take in the rows of another batch that has begun as well.

        Not where rows can outgrow a sliding window: the shorter ones are padded on their left.
        """
        join_caches(self._cache, other._cache)
        length = self._cache.get_seq_length()
        masks = [pad(m, (length - m.shape[1], 0)) for m in (self._mask, other._mask)]
        self._mask = torch.cat(masks)
        self.rows += other.rows

    def _start(self) -> None:
        """Fill the cache with what the rows share, unsteered as it is."""
        prefix = self._shared_prefix()
        done = len(prefix.tokens) if prefix else 0
        room = max(len(row.pending) for row in self.rows) + self._options.max_new_tokens
        # Rows of one prompt that differ in steering or in their draws.
        own = [row.prompt[done : row.shareable] for row in self.rows]
        distinct = list(dict.fromkeys(own))
        saved = sum(map(len, own)) - sum(map(len, distinct))
        together = self._options.share_prefix and self._holes and saved >= _WORTH_A_PASS
        started = len(distinct) if together else len(own)
        self._cache = new_cache(self._model.hf.config, prefix, started, room)
        self._mask = torch.ones(started, done, dtype=torch.long, device=self._model.device)
        if together:
            self._feed(distinct)
            self._select([distinct.index(prompt) for prompt in own])
        for row in self.rows:
            row.pending = row.pending[row.shareable if together else done :]

    def _shared_prefix(self) -> Prefix | None:
        """What the rows have in common, from memory or run now."""
        if not self._options.share_prefix or not self._holes:
            return None
        first, *others = self.rows
        shared = min(row.shareable for row in self.rows)
        for row in others:
            shared = min(shared, common(first.prompt, row.prompt))
        if shared < MIN_SHARED:
            return None
        known = self._model.prefixes.longest(first.prompt[:shared])
        if not others:
            return known  # the rest runs anyway, and is kept then
        prefix = extended(known, first.prompt[:shared], self._model.parts.decoder)
        self._model.prefixes.keep(prefix)
        return prefix

    def _forward(self) -> Tensor:
        """Run pending tokens; logits after the last of each row, ``(rows, vocabulary)``."""
        width = None if self._holes or not self._begun else 1
        upcoming = []
        for row in self.rows:
            upcoming.append(row.pending[:width] if row.finish is None else [])
            row.pending = row.pending[len(upcoming[-1]) :]
        logits = self._feed(upcoming)
        if not self._begun:
            self._begun = True
            self._keep_prompt()
        return logits

    def _feed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Run tokens, some or none a row; logits after the last ones."""
        tokens, real = padded(rows, left=True, device=self._model.device)
        width = tokens.shape[1]
        # Where a state takes in what a pass holds, all padding must be in the first pass.
        columns = max(_PASS_TOKENS // len(rows), 1) if self._plain else width
        for start in range(0, width, columns):
            part = slice(start, start + columns)
            self._mask = torch.cat([self._mask, real[:, part]], dim=1)
            logits = self._run(tokens[:, part])
        return logits

    def _run(self, tokens: Tensor) -> Tensor:
        hidden = run(self._model.parts.decoder, tokens, self._mask, self._cache)
        # Two dimensions: PyTorch multiplies a strided batch of three by a copy of the whole
        # vocabulary matrix for every row.
        return self._model.logits(hidden[:, -1])

    def _keep_prompt(self) -> None:
        """Keep what a row that is alone has just run: the conversation may go on from there."""
        if len(self.rows) == 1 and self._options.share_prefix and self._plain:
            row = self.rows[0]
            self._model.prefixes.keep(Prefix.of(self._cache, row.prompt[: row.shareable]))

    def _choose(self, rows: Sequence[Row], logits: Tensor) -> None:
        if not rows:
            return
        logits = logits.float()
        likeliest = _likeliest(logits)
        closers: list[int | None] = [None] * len(rows)
        bound = [n for n, row in enumerate(rows) if row.constraint is not None]
        if bound:
            constraints = constraints_of(self._model)
            allowed = constraints.allowed([c for row in rows if (c := row.constraint) is not None])
            for n, flags in zip(bound, allowed, strict=True):
                if rows[n].closing:
                    closers[n] = constraints.closing(flags)
                # What the model likes best mostly fits, and masking a vocabulary is slow.
                if self._options.temperature > 0 or not flags[likeliest[n]]:
                    logits[n] = masked(logits[n], flags)
                    [likeliest[n]] = _likeliest(logits[n : n + 1])
        for number, row in enumerate(rows):
            row.take(row.choose(logits[number], likeliest[number], closers[number]))

    def _drop_finished(self) -> None:
        """Drop finished rows once they are many enough to pay for the copying."""
        left = [n for n, row in enumerate(self.rows) if row.finish is None]
        if 4 * (len(self.rows) - len(left)) < len(self.rows):
            return
        self.rows = [self.rows[n] for n in left]
        if left:
            self._select(left)

    def _select(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the cache, of which one may come several times."""
        chosen = torch.tensor(rows, device=self._mask.device)
        self._mask = self._mask[chosen]
        self._cache.batch_select_indices(chosen)


def _likeliest(logits: Tensor) -> list[int]:
    """The token with the highest logit of each row."""
    if logits.device.type == "cpu":
        # NumPy's search is vectorised; PyTorch's takes twenty times as long.
        return logits.numpy().argmax(axis=-1).tolist()
    return logits.argmax(dim=-1).tolist()


def _drawn(chances: Tensor, random: torch.Generator) -> int | None:
    """Where a uniform number falls among the chances laid end to end; None beyond the last.

    One number a draw: ``multinomial`` draws one for every token of the vocabulary, which takes as
    long as a row's share of the forward pass.
    """
    ends = chances.cumsum(dim=-1)
    place = torch.rand((), generator=random) * ends[-1]
    # To the right of equal ends, so that what has no chance is never drawn.
    found = int(torch.searchsorted(ends, place, right=True))
    return found if found < len(chances) else None


def _top(chances: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens that have this share together: their chances, and which they are."""
    highest, tokens = chances.topk(min(1024, len(chances)))
    if highest.sum() < share:
        highest, tokens = chances.sort(descending=True)
    before = highest.cumsum(dim=-1) - highest
    return torch.where(before < share, highest, 0), tokens


def _check_length(model: LanguageModel, prompt: int, room: int) -> None:
    if prompt < 1:
        raise TrimtabError("expected a prompt of at least one token, got an empty one")
    context = getattr(model.hf.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and prompt + room > context:
        raise TrimtabError(
            f"a prompt of {prompt} tokens and an answer of up to {room} do not fit the model's "
            f"context of {context} tokens; shorten the prompt or lower max_new_tokens"
        )
