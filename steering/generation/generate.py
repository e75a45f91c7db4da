"""Answering many requests at once, each with its own steering and its own grammar.

A batch decodes in little more than the time of one row, so requests are batched widely, by length,
and few tokens are computed: what all prompts begin with runs once and is kept, tokens that a
grammar forces cost no pass of their own, and rows that have finished make room for others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

from ...errors import TrimtabError
from ..decoder.forward import window_passed
from ..decoder.language_model import LanguageModel
from ..decoder.prefixes import MIN_SHARED
from .decode_loop import Batch, Row
from .requests import Completion, Options, Request


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
    rows = [Row(model, index, request, wanted) for index, request in enumerate(requests)]
    waiting = deque(_in_order([row for row in rows if row.finish is None], wanted))
    while waiting:
        _decode(model, waiting, batch_size, wanted)
    return [completion_of(row) for row in rows]


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
    # A stop text may begin in what is still held back.
    held = max((len(text) for text in wanted.stop), default=1) - 1
    with model.lock:
        row = Row(model, 0, request, wanted)
        batch = Batch(model, [row], wanted) if row.finish is None else None
    shown = ""
    while batch is not None and batch.rows:
        with model.lock, batch.steered():
            batch.step()
        text = row.text()
        ready = text[: len(text) - held] if row.finish is None else text
        # The first bytes of a character decode to a mark that the whole one does not start with.
        ready = ready.rstrip("\ufffd") if row.finish is None else ready
        if len(ready) > len(shown):
            yield ready[len(shown) :]
            shown = ready
    completion = completion_of(row)
    if len(completion.text) > len(shown):
        yield completion.text[len(shown) :]
    return completion


def _in_order(rows: Sequence[Row], options: Options) -> list[Row]:
    """Rows by length, those that can share no prefix last; equal prompts are neighbours."""
    return sorted(rows, key=lambda row: (not _shares(row, options), len(row.prompt), row.prompt))


def _shares(row: Row, options: Options) -> bool:
    return options.share_prefix and row.shareable >= MIN_SHARED


def _decode(model: LanguageModel, waiting: deque[Row], size: int, options: Options) -> None:
    """Answer rows that wait; as some finish, others take their places in the batch."""
    longest = max(len(row.prompt) for row in waiting) + options.max_new_tokens
    refill = not window_passed(model.hf.config, longest)
    batch = Batch(model, _next_rows(waiting, size, options), options)
    while batch.rows:
        free = size - len(batch.rows)
        if refill and waiting and 4 * free >= size:
            fresh = Batch(model, _next_rows(waiting, free, options), options)
            with fresh.steered():
                fresh.step()
            if fresh.rows:
                batch.join(fresh)
        with batch.steered():
            # The hooks stay on until rows are dropped and the rest needs hooks of its own.
            while not batch.step():
                pass


def _next_rows(waiting: deque[Row], count: int, options: Options) -> list[Row]:
    """Take up to ``count`` rows that wait, all or none of which share prefixes."""
    rows = [waiting.popleft()]
    shares = _shares(rows[0], options)
    while waiting and len(rows) < count and _shares(waiting[0], options) == shares:
        rows.append(waiting.popleft())
    return rows


def completion_of(row: Row, *, prompt_tokens: int | None = None) -> Completion:
    """What a row that has finished holds; ``prompt_tokens`` where it is not its prompt's length."""
    assert row.finish is not None
    return Completion(
        text=row.text(),
        tokens=tuple(row.tokens),
        prompt_tokens=len(row.prompt) if prompt_tokens is None else prompt_tokens,
        forced_tokens=row.forced,
        finish=row.finish,
    )
