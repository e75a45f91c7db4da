"""Teacher forcing in batches: run prompts once, then force answers after them.

Nothing is computed twice: tokens that all prompts share run once, or not at all where they are
still known from before; a prompt that several answers follow runs once; and rows of similar length
go together. Nothing is computed in vain: of a prompt, only the keys and values are wanted, so that
its pass ends with the last layer's attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache

from ...errors import TrimtabError
from ..decoder.caches import holds_keys_only, layers_of, select_rows
from ..decoder.devices import execution_device
from ..decoder.families import Parts
from ..decoder.forward import context_of, padded, run, window_passed
from ..decoder.partial import stopping_after
from ..decoder.prefix import Prefix
from ..decoder.prefixes import MIN_SHARED, Prefixes, common, extended, new_cache
from ..vectors.injection import refuse_steered
from .answer_batch import AnswerBatch, run_upto
from .pace import Pace, parts_of

_MOST_TOKENS = 2048  # wide enough for full matrix products
_FEWEST_TOKENS = 256

# What the C library's allocator keeps when it is freed: a larger piece is fresh memory each time,
# which seems to be why wider batches read no faster on a processor.
_KEPT_BYTES = 32 * 1024 * 1024


def tokens_at_once(parts: Parts) -> int:
    """Tokens in one batch, padding included, where nobody says how many.

    On a processor so few that the widest activations between the layers fit in memory that the
    allocator keeps.
    """
    if execution_device(parts.decoder).type != "cpu":
        return _MOST_TOKENS
    config = parts.decoder.config.get_text_config()
    widest = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    if not isinstance(widest, int):  # one a layer
        widest = max(widest)
    fitting = _KEPT_BYTES // (widest * parts.decoder.dtype.itemsize)
    return min(max(fitting - fitting % 64, _FEWEST_TOKENS), _MOST_TOKENS)


@dataclass(frozen=True)
class TokenizedExchange:
    """A prompt of at least two tokens and an answer that is forced after it, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def answer_batches(
    parts: Parts,
    exchanges: Sequence[TokenizedExchange],
    *,
    last_layer: int | None = None,
    prefill: bool = True,
    token_budget: int | None = None,
    prefixes: Prefixes | None = None,
    pace: Pace | None = None,
) -> Iterator[AnswerBatch]:
    """Run the prompts and yield batches that are ready for their answers.

    Args:
        parts: The decoder and its layers.
        exchanges: Prompts with the answers to force.
        last_layer: Stop every pass after this layer; None runs all.
        prefill: Run the prompts beforehand; otherwise they are part of the answers' pass, as a
            steering that changes the prompt needs it. They always are where a row outgrows a
            sliding window.
        token_budget: Tokens in one batch, padding included; None is ``tokens_at_once``.
        prefixes: Beginnings of prompts that have run before; what all prompts share is taken from
            there where it is known, and kept there.
        pace: How others are given room; None runs each pass as a whole.

    Raises:
        TrimtabError: Nothing to force, a prompt of fewer than two tokens, an empty answer, or more
            tokens than the model's context has.
    """
    refuse_steered(parts, "a reading of the model under teacher forcing")
    if not exchanges:
        raise TrimtabError("nothing to force: expected at least one prompt with an answer")
    for index, item in enumerate(exchanges):
        if len(item.prompt) < 2 or not item.answer:
            raise TrimtabError(
                "expected prompts of at least 2 tokens and answers of at least 1; sample "
                f"{index} has {len(item.prompt)} and {len(item.answer)}; leave it out"
            )
    answers: dict[tuple[int, ...], list[int]] = {}
    for index, item in enumerate(exchanges):
        answers.setdefault(item.prompt, []).append(index)
    prompts = sorted(answers, key=lambda prompt: (len(prompt), prompt))
    longest = max(len(item.prompt) + len(item.answer) for item in exchanges)
    context = context_of(parts.decoder.config)
    if context is not None and longest > context:
        raise TrimtabError(
            f"a prompt and an answer of {longest} tokens together do not fit the model's context "
            f"of {context} tokens; shorten or leave out that sample"
        )
    # What runs apart is padded apart, which leaves padding between a row's tokens.
    prefill = prefill and not window_passed(parts.decoder.config, longest)
    if not prefill:
        pace = None
    if token_budget is None:
        token_budget = tokens_at_once(parts)
    shared, beginning = _beginning(parts, last_layer, prompts if prefill else (), prefixes, pace)

    for batch in _by_length(prompts, answers, exchanges, shared, token_budget):
        cache = beginning(len(batch))
        ready = [prompt[shared:-1] if prefill else () for prompt in batch]
        tokens, real = padded(ready, left=True)
        before = torch.cat([real.new_ones(len(batch), shared), real], dim=1)
        for part in parts_of(pace, *tokens.shape):
            _fill(parts, last_layer, tokens[:, part], before[:, : shared + part.stop], cache)
        rows = [index for own in batch.values() for index in own]
        of_prompt = [n for n, own in enumerate(batch.values()) for _ in own]
        leading = [exchanges[row].prompt[-1:] if prefill else exchanges[row].prompt for row in rows]
        tokens, real = padded(
            [(*lead, *exchanges[row].answer) for lead, row in zip(leading, rows, strict=True)],
            left=False,
        )
        answer = real.clone()
        for row, lead in enumerate(leading):
            answer[row, : len(lead)] = 0
        yield AnswerBatch(
            rows=tuple(rows),
            tokens=tokens,
            real=real,
            answer=answer,
            _parts=parts,
            _last=last_layer,
            _before=before[of_prompt],
            _cache=cache,
            _cache_rows=tuple(of_prompt),
            _pace=pace,
        )


def different(exchanges: Sequence[TokenizedExchange]) -> tuple[list[TokenizedExchange], list[int]]:
    """The samples without repetition, and which of these each sample is."""
    place = {item: n for n, item in enumerate(dict.fromkeys(exchanges))}
    return list(place), [place[item] for item in exchanges]


def shared_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many leading tokens all prompts share, short of the shortest one's last token.

    0 where it is too few to be worth a pass, or where there is only one prompt.
    """
    if len(prompts) < 2:
        return 0
    # What the first and the last in order share, all between them share.
    shared = min(common(min(prompts), max(prompts)), min(map(len, prompts)) - 1)
    return shared if shared >= MIN_SHARED else 0


def _beginning(
    parts: Parts,
    last_layer: int | None,
    prompts: Sequence[tuple[int, ...]],
    prefixes: Prefixes | None,
    pace: Pace | None,
) -> tuple[int, Callable[[int], Cache]]:
    """How many first tokens of all prompts have run, and what makes a cache that begins with them.

    Args:
        parts: The decoder and its layers.
        last_layer: Stop after this layer; None runs all.
        prompts: Those that run beforehand, in order.
        prefixes: What has run before, and what is kept; None keeps nothing.
        pace: How others are given room.
    """
    config = parts.decoder.config
    shared = shared_prefix(prompts)
    if prefixes is not None and prompts and holds_keys_only(config):
        most = shared if len(prompts) > 1 else len(prompts[0]) - 1
        prefix: Prefix | None = prefixes.longest(prompts[0][:most])
        if shared:
            prefix = _extended(prefix, prompts[0][:shared], parts, pace)
            prefixes.keep(prefix)
        return len(prefix.tokens) if prefix else 0, lambda rows: new_cache(config, prefix, rows, 0)
    cache = layers_of(config)
    if shared:
        start = torch.tensor([prompts[0][:shared]])
        for part in parts_of(pace, *start.shape):
            ones = torch.ones_like(start[:, : part.stop])
            _fill(parts, last_layer, start[:, part], ones, cache)
    return shared, lambda rows: select_rows(cache, [0] * rows)


def _extended(
    prefix: Prefix | None, tokens: tuple[int, ...], parts: Parts, pace: Pace | None
) -> Prefix:
    """The whole of ``tokens`` as a prefix, where the beginning of it is one."""
    passes = extended(prefix, tokens, parts.decoder, len(tokens) if pace is None else pace.tokens)
    while True:
        try:
            next(passes)
        except StopIteration as end:
            whole: Prefix = end.value
            return whole
        if pace is not None:
            pace.between()


def _by_length(
    prompts: Sequence[tuple[int, ...]],
    answers: Mapping[tuple[int, ...], Sequence[int]],
    exchanges: Sequence[TokenizedExchange],
    shared: int,
    budget: int,
) -> Iterator[dict[tuple[int, ...], list[int]]]:
    """Split prompts, sorted by length, where a batch would outgrow its budget.

    A prompt whose answers do not fit one batch is in several, each with some of the answers.
    """
    batch: dict[tuple[int, ...], list[int]] = {}
    width = rows = 0

    def outgrows(own: int, more: int) -> bool:
        return bool(batch) and max(width, own) * (rows + more) > budget

    for prompt in prompts:
        after = sorted(answers[prompt], key=lambda index: len(exchanges[index].answer))
        before = len(prompt) - shared
        if outgrows(before + len(exchanges[after[-1]].answer), len(after)):
            yield batch
            batch, width, rows = {}, 0, 0
        for index in after:
            own = before + len(exchanges[index].answer)
            if outgrows(own, 1):
                yield batch
                batch, width, rows = {}, 0, 0
            batch.setdefault(prompt, []).append(index)
            width, rows = max(width, own), rows + 1
    yield batch


def _fill(parts: Parts, last: int | None, tokens: Tensor, mask: Tensor, cache: Cache) -> None:
    """One forward pass for what it leaves in ``cache``: the last layer's MLP adds nothing to it."""
    if holds_keys_only(parts.decoder.config):
        final = len(parts.layers) - 1 if last is None else last
        with stopping_after(parts, final, attention=True):
            run(parts.decoder, tokens, mask, cache)
    else:
        run_upto(parts, last, tokens, mask, cache)
