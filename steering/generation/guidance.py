"""Context steering of the next-token distribution: with a user's context, and against without it.

He et al., *Context Steering* (arXiv 2405.01768): a prompt runs twice, with the context and without,
and the log-probabilities with it are moved by ``strength`` times what the context changes. At
strength 0 that is the prompt with the context, at -1 the one without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import TrimtabError
from ..decoder.forward import padded, run
from ..decoder.language_model import LanguageModel
from ..decoder.prefixes import new_cache
from ..reading.teacher_forcing import TokenizedExchange, answer_batches
from ..vectors.injection import refuse_steered
from .choosing import take_next
from .requests import Completion, Options, Request
from .row import Row

_PASS_TOKENS = 8192  # in one pass over prompts, to bound its memory


@dataclass(frozen=True)
class GuidedRequest:
    """A conversation to answer with a context, and the same one without it.

    Attributes:
        messages: With the context.
        plain: Without it.
        strength: Lambda: how much of what the context changes is added once more.
        draws: Names this request's draws, as in ``Request``.
    """

    messages: Sequence[Mapping[str, Any]]
    plain: Sequence[Mapping[str, Any]]
    strength: float = 1.0
    draws: str = ""


def generate_guided(
    model: LanguageModel,
    requests: Sequence[GuidedRequest],
    *,
    batch_size: int = 48,
    **options: Any,
) -> list[Completion]:
    """Answer requests, each guided by its own context.

    Args:
        model: A ``SteeredModel``.
        requests: What to answer.
        batch_size: At most this many rows at once; a request takes two.
        **options: The fields of ``Options``.

    Returns:
        The answers in the order of the requests; their ``prompt_tokens`` count both prompts.

    Raises:
        TrimtabError: As ``generate``.
    """
    if batch_size < 1:
        raise TrimtabError(f"expected batch_size of at least 1, got {batch_size}")
    refuse_steered(model.parts, "a guided answer")
    wanted = Options(**options)
    pairs = [
        _Pair(
            Row(model, n, Request(request.messages, draws=request.draws), wanted),
            Row(model, n, Request(request.plain), wanted),
            request.strength,
        )
        for n, request in enumerate(requests)
    ]
    for batch in _batches(sorted(pairs, key=lambda pair: pair.width), max(batch_size // 2, 1)):
        _decode(model, batch, wanted)
    return [
        pair.row.completion(prompt_tokens=len(pair.row.prompt) + len(pair.plain.prompt))
        for pair in pairs
    ]


@torch.inference_mode()
def guided_log_likelihoods(
    model: LanguageModel,
    exchanges: Sequence[TokenizedExchange],
    plain: Sequence[TokenizedExchange],
    strengths: Sequence[float],
) -> Tensor:
    """Log-probability of each answer under the guided distribution, summed over its tokens.

    Args:
        model: The model.
        exchanges: Prompts with the context, and the answers.
        plain: Prompts without it, and the same answers.
        strengths: Lambda of each.

    Returns:
        Shape ``(len(exchanges),)``, nats, float32.

    Raises:
        TrimtabError: Nothing to force, or a prompt or answer too short.
    """
    hidden = _answer_states(model, [*exchanges, *plain])
    total = torch.zeros(len(exchanges))
    for n, (item, strength) in enumerate(zip(exchanges, strengths, strict=True)):
        # Row by row: logits of all at once would be answers times vocabulary.
        logits = guided(
            model.logits(hidden[n]), model.logits(hidden[len(exchanges) + n]), strength
        ).log_softmax(dim=-1)
        targets = torch.tensor(item.answer, device=logits.device)
        total[n] = logits.gather(-1, targets[:, None]).sum().cpu()
    return total


def guided(with_context: Tensor, without: Tensor, strength: float | Tensor) -> Tensor:
    """Logits with the context moved by ``strength`` times what it changes, not normalised.

    Args:
        with_context: Logits ``(..., vocabulary)``.
        without: Logits of the same shape.
        strength: Lambda, or one a row ``(..., 1)``.
    """
    influence = with_context.log_softmax(dim=-1) - without.log_softmax(dim=-1)
    return with_context.log_softmax(dim=-1) + strength * influence


@dataclass(frozen=True)
class _Pair:
    row: Row
    plain: Row
    strength: float

    @property
    def width(self) -> int:
        return max(len(self.row.prompt), len(self.plain.prompt))


def _batches(pairs: Sequence[_Pair], size: int) -> Iterator[list[_Pair]]:
    """Runs of pairs, sorted by width, that neither outgrow ``size`` nor a pass over prompts."""
    batch: list[_Pair] = []
    for pair in pairs:
        if batch and (len(batch) == size or 2 * pair.width * (len(batch) + 1) > _PASS_TOKENS):
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


@torch.inference_mode()
def _decode(model: LanguageModel, pairs: Sequence[_Pair], options: Options) -> None:
    """Decode to the end: the rows with context first, those without after them, in one batch."""
    live = list(pairs)
    prompts = [pair.row.prompt for pair in live] + [pair.plain.prompt for pair in live]
    device = model.device
    tokens, mask = padded(prompts, left=True, device=device)
    cache = new_cache(model.hf.config, None, len(prompts), tokens.shape[1] + options.max_new_tokens)
    decoder = model.parts.decoder
    while live:
        logits = model.logits(run(decoder, tokens, mask, cache)[:, -1])
        strengths = torch.tensor([[pair.strength] for pair in live], device=logits.device)
        with_context, without = logits.chunk(2)
        take_next([pair.row for pair in live], guided(with_context, without, strengths), None)
        kept = [n for n, pair in enumerate(live) if pair.row.finish is None]
        if len(kept) < len(live):
            rows = [*kept, *(len(live) + n for n in kept)]
            live = [live[n] for n in kept]
            if live:
                chosen = torch.tensor(rows, device=device)
                mask = mask[chosen]
                cache.batch_select_indices(chosen)
        tokens = torch.tensor([[pair.row.tokens[-1]] for pair in live] * 2, device=device)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)


def _answer_states(model: LanguageModel, exchanges: Sequence[TokenizedExchange]) -> list[Tensor]:
    """The last hidden states that predict each answer's tokens: ``(answer tokens, hidden)``."""
    states: list[Tensor] = [torch.empty(0)] * len(exchanges)
    for batch in answer_batches(model.parts, exchanges):
        hidden = batch.run()
        assert hidden is not None
        predicts = batch.answer[:, 1:].bool().to(hidden.device)
        for row, index in enumerate(batch.rows):
            states[index] = hidden[row, :-1][predicts[row]]
    return states
