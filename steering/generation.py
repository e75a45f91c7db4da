"""Answering many requests at once, each with its own steering and its own grammar.

A batch decodes in little more than the time of one row, so requests are batched widely, by length,
and few tokens are computed: what all prompts begin with runs once and is kept, tokens that a
grammar forces cost no pass of their own, and rows that have finished are dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from ..errors import TrimtabError
from .attention import grouped
from .constraints import Constraint, Constraints, masked
from .prefixes import MIN_SHARED, Prefix, Prefixes, common, new_cache, run
from .prompts import CALL_MARKS, render, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .injection import Steering

_PASS_TOKENS = 8192  # in one forward pass over prompts, to bound its memory


@dataclass(frozen=True)
class Request:
    """A conversation to answer.

    Attributes:
        messages: OpenAI-style dicts: ``role``, ``content``, ``tool_calls``, ``tool_call_id``.
        tools: OpenAI tool dicts that the prompt shows.
        steering: What is added inside the forward pass; None is nothing.
        grammar: An llguidance grammar that the answer fits; None is free-form.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    steering: Steering | None = None
    grammar: str | None = None


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
        text: Without special tokens, save the marks of tool calls.
        tokens: Token ids, without the token that ended the answer.
        prompt_tokens: Length of the prompt.
        forced_tokens: How many of ``tokens`` the grammar forced, without a pass of their own.
        finish: ``stop``: the model, the grammar or a stop text ended it. ``length``: there was no
            room for more; a constrained answer was closed early, and fits its grammar if it could
            still be closed.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    forced_tokens: int
    finish: Literal["stop", "length"]


class LanguageModel(Protocol):
    """What is needed of a ``SteeredModel``."""

    @property
    def hf(self) -> PreTrainedModel:
        """The causal language model."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""

    def steered(
        self, rows: Sequence[Steering | None], *, prompt_lengths: Sequence[int] | None = None
    ) -> AbstractContextManager[None]:
        """Steer forward passes, one steering a row."""


@dataclass(frozen=True)
class Options:
    """How answers are decoded.

    Attributes:
        max_new_tokens: At most this many tokens an answer.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        top_p: Draw from the most likely tokens that together have this probability.
        seed: Of the draws. Each request has its own, by its place in the list, so that batching
            changes none.
        stop: Texts that end an answer; they are not part of it.
        share_prefix: Run what all prompts of a batch begin with once, and keep it for later.
        fast_forward: Let tokens that a grammar forces pass without a forward pass of their own.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    share_prefix: bool = True
    fast_forward: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be decoded with.

        Raises:
            TrimtabError: A value out of its range.
        """
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise TrimtabError(
                "expected max_new_tokens of at least 1, temperature of at least 0 and top_p above "
                f"0 and up to 1; got {self.max_new_tokens}, {self.temperature} and {self.top_p}"
            )

    @property
    def reserve(self) -> int:
        """With this many tokens left, a constrained answer starts to close what is open."""
        return min(32, self.max_new_tokens // 4)


def generate(
    model: LanguageModel, requests: Sequence[Request], *, batch_size: int = 48, **options: Any
) -> list[Completion]:
    """Answer requests in batches.

    Args:
        model: A ``SteeredModel``.
        requests: What to answer; they may differ in everything.
        batch_size: At most this many rows at once.
        **options: The fields of ``Options``.

    Returns:
        The answers in the order of the requests.

    Raises:
        TrimtabError: A prompt that leaves no room for an answer in the model's context, a grammar
            that cannot be followed, or an option out of range.
    """
    if batch_size < 1:
        raise TrimtabError(f"expected batch_size of at least 1, got {batch_size}")
    wanted = Options(**options)
    rows = [_Row(model, index, request, wanted) for index, request in enumerate(requests)]
    waiting = [row for row in rows if row.finish is None]
    for batch in _batches(waiting, batch_size, wanted):
        _decode(_Batch(model, batch, wanted))
    return [row.completion() for row in rows]


def stream(
    model: LanguageModel, request: Request, **options: Any
) -> Generator[str, None, Completion]:
    """Answer one request, yielding its text in pieces as it comes; returns the completion.

    Args:
        model: A ``SteeredModel``; it may be used for other things between two pieces.
        request: What to answer.
        **options: The fields of ``Options``.

    Raises:
        TrimtabError: As ``generate``.
    """
    wanted = Options(**options)
    row = _Row(model, 0, request, wanted)
    # A stop text may begin in what is still held back.
    held = max((len(text) for text in wanted.stop), default=1) - 1
    batch = _Batch(model, [row], wanted) if row.finish is None else None
    shown = ""
    while batch is not None and batch.rows:
        with batch.steered():
            batch.step()
        text = row.text()
        ready = text[: len(text) - held] if row.finish is None else text
        # The first bytes of a character decode to a mark that the whole one does not start with.
        ready = ready.rstrip("\ufffd") if row.finish is None else ready
        if len(ready) > len(shown):
            yield ready[len(shown) :]
            shown = ready
    completion = row.completion()
    if len(completion.text) > len(shown):
        yield completion.text[len(shown) :]
    return completion


def _batches(rows: Sequence[_Row], size: int, options: Options) -> Iterator[list[_Row]]:
    """Rows of similar length together, apart from those that can share no prefix."""
    able = [options.share_prefix and row.shareable >= MIN_SHARED for row in rows]
    for sharing in (True, False):
        group = [row for row, can in zip(rows, able, strict=True) if can == sharing]
        group.sort(key=lambda row: len(row.prompt))
        count = -(-len(group) // size)
        for number in range(count):  # of even sizes: a small rest would cost as much as a batch
            yield group[len(group) * number // count : len(group) * (number + 1) // count]


def _decode(batch: _Batch) -> None:
    while batch.rows:
        with batch.steered():
            # The hooks stay on until rows are dropped and the rest needs hooks of its own.
            while not batch.step():
                pass


class _Memory:
    """What is worked out once a model and kept with it from call to call.

    Attributes:
        ends: Tokens that end an answer.
        hidden: Special tokens, which no text shows.
        prefixes: The prompts' beginnings that were used last.
    """

    def __init__(self, model: LanguageModel) -> None:
        tokenizer = model.tokenizer
        config = getattr(model.hf, "generation_config", None)
        declared = getattr(config, "eos_token_id", None)
        ends = [*declared] if isinstance(declared, list | tuple) else [declared]
        ends.append(tokenizer.eos_token_id)
        self.ends = tuple(dict.fromkeys(end for end in ends if end is not None))
        special = {n for n, token in tokenizer.added_tokens_decoder.items() if token.special}
        # Some tokenizers count the marks of tool calls as special, but a call is read by them.
        marks = {tokenizer.get_added_vocab().get(mark) for mark in CALL_MARKS}
        self.hidden = frozenset((special | set(tokenizer.all_special_ids)) - marks)
        self.prefixes = Prefixes()
        self._model = model

    @staticmethod
    def of(model: LanguageModel) -> _Memory:
        memory = vars(model).get("_decoding_memory")
        if memory is None:
            memory = vars(model)["_decoding_memory"] = _Memory(model)
        assert isinstance(memory, _Memory)
        if hasattr(model.hf, "peft_config"):
            memory.prefixes = Prefixes()  # another adapter may be active than last time
        return memory

    @cached_property
    def constraints(self) -> Constraints:
        width = self._model.hf.get_output_embeddings().weight.shape[0]
        return Constraints(self._model.tokenizer, width, self.ends)


class _Row:
    """One answer under way.

    Attributes:
        prompt: Token ids.
        shareable: So many first tokens of the prompt are the same with and without steering.
        pending: Tokens that no forward pass has seen yet; what follows the last one is unknown.
        finish: None while the answer goes on.
    """

    def __init__(
        self, model: LanguageModel, index: int, request: Request, options: Options
    ) -> None:
        self.request = request
        text = render(model.tokenizer, request.messages, request.tools)
        self.prompt = tokenize(model.tokenizer, text)
        _check_length(model, len(self.prompt), options.max_new_tokens)
        steering = request.steering
        self.shareable = len(self.prompt) - 1
        if steering is not None:
            self.shareable = min(self.shareable, steering.start(len(self.prompt)))
        self.pending = list(self.prompt)
        self.finish: Literal["stop", "length"] | None = None
        self._tokenizer = model.tokenizer
        self._options = options
        self._memory = _Memory.of(model)
        self._tokens: list[int] = []
        self._forced = 0
        self._closed_early = False
        self._text: str | None = None
        self._random = torch.Generator()
        # Not seed + index: the next seed's draws would be this one's, moved by one request.
        digest = hashlib.sha256(f"{options.seed}/{index}".encode()).digest()
        self._random.manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        self.constraint: Constraint | None = None
        if request.grammar is not None:
            self.constraint = self._memory.constraints.of(request.grammar)
            self._follow_grammar()

    @property
    def closing(self) -> bool:
        """Whether so little room is left that the answer should be closed."""
        left = self._options.max_new_tokens - len(self._tokens)
        return self.constraint is not None and left <= self._options.reserve

    def choose(self, logits: Tensor, likeliest: int, closing: Sequence[int]) -> int:
        """The next token.

        Args:
            logits: ``(vocabulary,)``, those of forbidden tokens minus infinity.
            likeliest: The token with the highest logit.
            closing: Tokens that close what is open, where the row is ``closing``.
        """
        for token in closing:
            if logits[token] > -torch.inf:
                self._closed_early |= token != likeliest
                return token
        if self._options.temperature == 0:
            return likeliest
        chances = (logits / self._options.temperature).softmax(dim=-1)
        if chances[likeliest] == 1:
            return likeliest  # nothing is drawn, as for a token that was forced
        tokens = None
        if self._options.top_p < 1:
            chances, tokens = _top(chances, self._options.top_p)
        drawn = int(torch.multinomial(chances.cpu(), 1, generator=self._random))
        return drawn if tokens is None else int(tokens[drawn])

    def take(self, token: int) -> None:
        """Go on by a token that was chosen."""
        if token in self._memory.ends:
            self.finish = "length" if self._closed_early else "stop"
            return
        self._tokens.append(token)
        self.pending.append(token)
        if self.constraint is not None:
            self.constraint.take(token)
            self._follow_grammar()
        self._check_end()

    def text(self) -> str:
        """The answer so far, up to a stop text."""
        if self._text is not None:
            return self._text
        shown = [token for token in self._tokens if token not in self._memory.hidden]
        text = self._tokenizer.decode(shown, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def completion(self) -> Completion:
        assert self.finish is not None
        return Completion(
            text=self.text(),
            tokens=tuple(self._tokens),
            prompt_tokens=len(self.prompt),
            forced_tokens=min(self._forced, len(self._tokens)),
            finish=self.finish,
        )

    def _follow_grammar(self) -> None:
        assert self.constraint is not None
        if self._options.fast_forward:
            forced = self.constraint.take_forced()
            self._tokens += forced
            self.pending += forced
            self._forced += len(forced)
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
        if len(self._tokens) > room or (len(self._tokens) == room and self.finish is None):
            del self._tokens[room:]
            self.finish = "length"


class _Batch:
    """Rows that go through the model together, a step at a time.

    Attributes:
        rows: Those that are still in the batch; a few of them may have finished.
    """

    def __init__(self, model: LanguageModel, rows: Sequence[_Row], options: Options) -> None:
        self.rows = list(rows)
        self._model = model
        self._options = options
        self._memory = _Memory.of(model)
        self._begun = False
        # Padding between tokens counts as distance inside a sliding window: there, rows are only
        # padded on the left, and go on by one token each.
        self._holes = len(rows) == 1 or not _window_passed(model, rows, options)
        with torch.inference_mode():
            prefix = self._shared_prefix()
        done = len(prefix.tokens) if prefix else 0
        for row in self.rows:
            row.pending = row.pending[done:]
        room = done + max(len(row.pending) for row in rows) + options.max_new_tokens
        with torch.inference_mode():
            self._cache = new_cache(model.hf, prefix, len(rows), room)
        self._mask = torch.ones(len(rows), done, dtype=torch.long)

    def steered(self) -> AbstractContextManager[None]:
        """The hooks for the rows that are now in the batch."""
        return self._model.steered(
            [row.request.steering for row in self.rows],
            prompt_lengths=[len(row.prompt) for row in self.rows],
        )

    @torch.inference_mode()
    def step(self) -> bool:
        """One forward pass, and the next token of every row that it brings up to date.

        Returns:
            Whether rows were dropped, so that the hooks no longer fit.
        """
        logits = self._forward()
        ready = [n for n, row in enumerate(self.rows) if row.finish is None and not row.pending]
        self._choose([self.rows[n] for n in ready], logits[ready])
        return self._drop_finished()

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
        known = self._memory.prefixes.longest(first.prompt[:shared])
        if not others:
            return known  # the rest runs anyway, and is kept then
        prefix = run(self._model.hf, first.prompt[:shared], known)
        self._memory.prefixes.keep(prefix)
        return prefix

    def _forward(self) -> Tensor:
        """Run pending tokens; logits after the last of each row, ``(rows, vocabulary)``."""
        widest = max(len(row.pending) for row in self.rows if row.finish is None)
        width = widest if self._holes or not self._begun else 1
        tokens = torch.zeros(len(self.rows), width, dtype=torch.long)
        real = torch.zeros_like(tokens)
        for number, row in enumerate(self.rows):
            if row.finish is None:
                upcoming, row.pending = row.pending[:width], row.pending[width:]
                tokens[number, width - len(upcoming) :] = torch.tensor(upcoming)
                real[number, width - len(upcoming) :] = 1
        columns = max(_PASS_TOKENS // len(self.rows), 1)
        for start in range(0, width, columns):
            part = slice(start, min(start + columns, width))
            self._mask = torch.cat([self._mask, real[:, part]], dim=1)
            logits = self._run(tokens[:, part])
        if not self._begun:
            self._begun = True
            self._keep_prompt()
        return logits

    def _run(self, tokens: Tensor) -> Tensor:
        hf = self._model.hf
        positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        with grouped(hf):
            output = hf(
                input_ids=tokens.to(hf.device),
                attention_mask=self._mask.to(hf.device),
                position_ids=positions.to(hf.device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _keep_prompt(self) -> None:
        """Keep what a row that is alone has just run: the conversation may go on from there."""
        if len(self.rows) == 1 and self._options.share_prefix:
            row = self.rows[0]
            self._memory.prefixes.keep(Prefix.of(self._cache, row.prompt[: row.shareable]))

    def _choose(self, rows: Sequence[_Row], logits: Tensor) -> None:
        if not rows:
            return
        logits = logits.float()
        likeliest = _likeliest(logits)
        bound = [n for n, row in enumerate(rows) if row.constraint is not None]
        closing: tuple[int, ...] = ()
        if bound:
            closing = self._memory.constraints.closing
            allowed = self._memory.constraints.allowed(
                [c for row in rows if (c := row.constraint) is not None]
            )
            greedy = self._options.temperature == 0
            # What the model likes best mostly fits, and masking a vocabulary is slow.
            misfits = [
                (n, flags)
                for n, flags in zip(bound, allowed, strict=True)
                if not (greedy and flags[likeliest[n]]) or rows[n].closing
            ]
            for n, flags in misfits:
                logits[n] = masked(logits[n], flags)
                likeliest[n] = _likeliest(logits[n : n + 1])[0]
        for number, row in enumerate(rows):
            closers = closing if row.closing else ()
            row.take(row.choose(logits[number], likeliest[number], closers))

    def _drop_finished(self) -> bool:
        """Drop finished rows once they are many enough to pay for the copying."""
        left = [n for n, row in enumerate(self.rows) if row.finish is None]
        if 4 * (len(self.rows) - len(left)) < len(self.rows):
            return False
        self.rows = [self.rows[n] for n in left]
        if left:
            self._mask = self._mask[left]
            self._cache.batch_select_indices(torch.tensor(left, device=self._model.hf.device))
        return True


def _likeliest(logits: Tensor) -> list[int]:
    """The token with the highest logit of each row."""
    if logits.device.type == "cpu":
        # NumPy's search is vectorised; PyTorch's takes twenty times as long.
        return logits.numpy().argmax(axis=-1).tolist()
    return logits.argmax(dim=-1).tolist()


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


def _window_passed(model: LanguageModel, rows: Sequence[_Row], options: Options) -> bool:
    """Whether a row can grow longer than the window of a layer that looks back only so far."""
    config = model.hf.config.get_text_config()
    if set(getattr(config, "layer_types", None) or ["unknown"]) == {"full_attention"}:
        return False
    windows = [getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size")]
    longest = max(len(row.prompt) for row in rows) + options.max_new_tokens
    return any(window is not None and longest > window for window in windows)
