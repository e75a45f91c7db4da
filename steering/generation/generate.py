"""Answering many requests at once, each with its own steering and its own grammar.

A batch decodes in little more than the time of one row, so requests are batched widely, by length,
and few tokens are computed: what all prompts begin with runs once and is kept, tokens that a
grammar forces cost no pass of their own, and rows that have finished make room for others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import TrimtabError
from ..decoder.caches import bytes_a_token
from ..decoder.forward import window_passed
from ..decoder.language_model import LanguageModel
from ..decoder.prefixes import MIN_SHARED, common
from ..vectors.injection import row_by_row, set_aside
from .decode_loop import Batch
from .pieces import Pieces
from .requests import Completion, Options, Request
from .row import Row

_BATCH_TOKENS = 8192  # a processor runs a few hundred tokens of a prompt a second
_MEMORY_SHARE = 0.3  # of a GPU's free memory, for one batch's keys and values


def generate(
    model: LanguageModel,
    requests: Sequence[Request],
    *,
    batch_size: int = 48,
    batch_tokens: int | None = None,
    **options: Any,
) -> list[Completion]:
    """Answer requests in batches.

    Args:
        model: A ``SteeredModel``.
        requests: What to answer; they may differ in everything.
        batch_size: At most this many rows at once.
        batch_tokens: At most this many tokens at once, as ``completions`` counts them.
        **options: The fields of ``Options``.

    Returns:
        The answers in the order of the requests.

    Raises:
        TrimtabError: As ``completions``.
    """
    answers = dict(
        completions(model, requests, batch_size=batch_size, batch_tokens=batch_tokens, **options)
    )
    return [answers[index] for index in range(len(requests))]


def completions(
    model: LanguageModel,
    requests: Sequence[Request],
    *,
    batch_size: int = 48,
    batch_tokens: int | None = None,
    **options: Any,
) -> Iterator[tuple[int, Completion]]:
    """Answer requests in batches, and give each answer as soon as it ends.

    Inside ``with model.steered(rows)``, what is steered there is added to what the requests say,
    row for row; prompt lengths given there are not used, since each request has its own prompt.

    Args:
        model: A ``SteeredModel``; it may be used for other things between two answers.
        requests: What to answer; they may differ in everything.
        batch_size: At most this many rows at once.
        batch_tokens: At most this many tokens at once: rows times the longest of them, prompt and
            room for the answer, without what all prompts begin with. A longer request is answered
            alone. Default: 8,192 on a processor; on a GPU what fits in 0.3 of its free memory.
        **options: The fields of ``Options``.

    Returns:
        An iterator of places in the list and their answers, each given as it ends; the requests
        with the shortest prompts begin. Nothing runs until it is asked for.

    Raises:
        TrimtabError: A prompt that leaves no room for an answer in the model's context, a grammar
            that cannot be followed, an option out of range, or a number of requests that is no
            multiple of the rows that a context around steers.
    """
    if batch_size < 1 or (batch_tokens is not None and batch_tokens < 1):
        raise TrimtabError(
            f"expected batch_size and batch_tokens of at least 1, got {batch_size} and "
            f"{batch_tokens}"
        )
    wanted = Options(**options)
    with set_aside(model.parts) as around:
        steerings = row_by_row(around, [request.steering for request in requests])
    rows = [
        Row(model, index, request, wanted, steering)
        for index, (request, steering) in enumerate(zip(requests, steerings, strict=True))
    ]
    return _completions(model, rows, batch_size, batch_tokens)


def stream(
    model: LanguageModel, request: Request, **options: Any
) -> Generator[str, None, Completion]:
    """Answer one request, yielding its text in pieces as it comes; returns the completion.

    Inside ``with model.steered(...)``, what is steered there when this is called is added.

    Args:
        model: A ``SteeredModel``; it may be used for other things between two pieces.
        request: What to answer.
        **options: The fields of ``Options``.

    Raises:
        TrimtabError: As ``completions``.
    """
    wanted = Options(**options)
    with set_aside(model.parts) as around:
        [steerings] = row_by_row(around, [request.steering])
    return _stream(model, Row(model, 0, request, wanted, steerings))


def _stream(model: LanguageModel, row: Row) -> Generator[str, None, Completion]:
    pieces = Pieces(row)
    batch = None
    if row.finish is None:
        batch = Batch(model, [row])
        with model.lock, set_aside(model.parts):
            _begun(batch)
        yield from filter(None, [pieces.next()])
    while batch is not None and row.finish is None:
        with model.lock, set_aside(model.parts), _shared_out(batch), batch.steered():
            batch.step()
        yield from filter(None, [pieces.next()])
    completion = row.completion()
    yield from filter(None, [pieces.next()])
    return completion


def _completions(
    model: LanguageModel, rows: Sequence[Row], batch_size: int, batch_tokens: int | None
) -> Iterator[tuple[int, Completion]]:
    for row in rows:
        if row.finish is not None:  # the grammar leaves no choice at all
            yield row.index, row.completion()
    waiting = _in_order([row for row in rows if row.finish is None])
    if not waiting:
        return
    tokens = tokens_at_once(model) if batch_tokens is None else batch_tokens
    queue = _Queue(deque(waiting), batch_size, tokens)
    while queue.waiting:
        for row in _decode(model, queue):
            yield row.index, row.completion()


def tokens_at_once(model: LanguageModel) -> int:
    """How many tokens a batch may hold where nobody says: see ``completions``."""
    if model.device.type != "cuda":
        return _BATCH_TOKENS
    share = _MEMORY_SHARE * torch.cuda.mem_get_info(model.device)[0]
    return max(int(share / bytes_a_token(model.hf.config, model.hf.dtype)), _BATCH_TOKENS)


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """Rows by length, those that can share no prefix last; equal prompts are neighbours."""
    return sorted(rows, key=lambda row: (not row.shares, len(row.prompt), row.prompt))


@dataclass(frozen=True)
class _Queue:
    """Rows that wait, in order, and how many of them a batch may hold.

    Attributes:
        waiting: Those that wait.
        batch_size: At most this many rows in a batch.
        batch_tokens: At most this many tokens in a batch, padding included.
    """

    waiting: deque[Row]
    batch_size: int
    batch_tokens: int

    def take(self, beside: Sequence[Row] = ()) -> list[Row]:
        """The next rows for a batch that holds ``beside``: all or none of them share prefixes.

        An empty batch gets at least one.
        """
        taken: list[Row] = []
        first = self.waiting[0]
        shared = first.shareable if first.shares else 0
        longest = max((row.longest for row in beside), default=0)
        while self.waiting and len(beside) + len(taken) < self.batch_size:
            row = self.waiting[0]
            if row.shares != first.shares:
                break
            shared = min(shared, row.shareable, common(first.prompt, row.prompt))
            longest = max(longest, row.longest)
            own = longest - (shared if shared >= MIN_SHARED else 0)
            rows = len(beside) + len(taken) + 1
            if rows > 1 and rows * own > self.batch_tokens:
                break
            taken.append(self.waiting.popleft())
        return taken


def _decode(model: LanguageModel, queue: _Queue) -> Iterator[Row]:
    """Answer rows that wait, each yielded as it ends; others take its place in the batch."""
    refill = not window_passed(model.hf.config, max(row.longest for row in queue.waiting))
    batch = Batch(model, queue.take())
    with model.lock, set_aside(model.parts):
        ended = _begun(batch)
    yield from ended
    full = len(batch.rows)
    while batch.rows:
        ended = []
        with model.lock, set_aside(model.parts):
            # Prompts that begin together cost less than each in a pass of its own.
            if refill and queue.waiting and 4 * (full - len(batch.rows)) >= full:
                ended += _refill(model, batch, queue)
                full = len(batch.rows)
            with _shared_out(batch), batch.steered():
                # The hooks stay on until a row ends and the rest may need hooks of its own.
                while not ended:
                    ended = batch.step()
        yield from ended


def _begun(batch: Batch) -> list[Row]:
    """Run a batch's prompts; returns the rows that ended with their first token."""
    passes = batch.begin()
    with _shared_out(batch, by_prompt=True):
        while True:
            try:
                next(passes)
            except StopIteration as end:
                return end.value


@contextmanager
def _shared_out(batch: Batch, *, by_prompt: bool = False) -> Iterator[None]:
    """Share the time spent inside out among a batch's rows: alike, or by their prompts' lengths."""
    rows = [row for row in batch.rows if row.finish is None]
    weights = [len(row.prompt) if by_prompt else 1 for row in rows]
    started = time.perf_counter()
    yield
    spent = time.perf_counter() - started
    for row, weight in zip(rows, weights, strict=True):
        row.seconds += spent * weight / sum(weights)


def _refill(model: LanguageModel, batch: Batch, queue: _Queue) -> list[Row]:
    """Let rows that wait join the batch; returns those that ended with their first token."""
    taken = queue.take(beside=[row for row in batch.rows if row.finish is None])
    if not taken:
        return []
    fresh = Batch(model, taken)
    ended = _begun(fresh)
    if fresh.rows:
        batch.join(fresh)
    return ended
