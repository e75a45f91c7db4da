"""How likely a model finds an answer: the log-probability of its tokens under teacher forcing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..decoder.language_model import LanguageModel
from ..vectors.injection import refuse_steered, row_by_row, set_aside, steered_by_all
from ..vectors.steering import Steering
from .answer_batch import AnswerBatch
from .pace import Pace
from .teacher_forcing import TokenizedExchange, answer_batches

_LOGIT_ROWS = 256  # tokens whose logits are in memory at once: 150 MB of a vocabulary of 150,000


@torch.inference_mode()
def answer_log_likelihoods(
    model: LanguageModel,
    exchanges: Sequence[TokenizedExchange],
    steerings: Sequence[Steering | None] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    pace: Pace | None = None,
) -> Tensor:
    """Log-probability of each answer given its prompt, summed over the answer's tokens.

    Inside ``with model.steered(rows)``, what is steered there is added, row for row.

    Prompts that no steering touches run once each and share their common prefix.

    Args:
        model: The model.
        exchanges: Prompts with answers.
        steerings: One a sample; default none.
        progress: Told after each batch how many answers it held.
        pace: How others are given room meanwhile; None gives them none.

    Returns:
        Shape ``(len(exchanges),)``, nats, float32.

    Raises:
        TrimtabError: Nothing to force, or a prompt or answer too short.
    """
    total = torch.zeros(len(exchanges))
    with set_aside(model.parts) as around:
        every = row_by_row(around, steerings or [None] * len(exchanges))
        untouched = all(
            steering.start(len(item.prompt)) >= len(item.prompt) - 1
            for row, item in zip(every, exchanges, strict=True)
            for steering in row
        )
        prefixes = model.prefixes
        for batch in answer_batches(
            model.parts, exchanges, prefill=untouched, prefixes=prefixes, pace=pace
        ):
            rows = [every[row] for row in batch.rows]
            total[list(batch.rows)] = _log_likelihoods(model, batch, exchanges, rows)
            if progress:
                progress(len(rows))
    return total


def batch_log_likelihoods(
    model: LanguageModel,
    batch: AnswerBatch,
    exchanges: Sequence[TokenizedExchange],
    steerings: Sequence[Steering | None],
) -> Tensor:
    """The same for one batch whose prompts have run, so that many steerings can be tried on it.

    Returns:
        Shape ``(len(batch.rows),)``, nats.
    """
    refuse_steered(model.parts, "the likelihood of a prepared batch")
    rows = [() if steering is None else (steering,) for steering in steerings]
    return _log_likelihoods(model, batch, exchanges, rows)


def _log_likelihoods(
    model: LanguageModel,
    batch: AnswerBatch,
    exchanges: Sequence[TokenizedExchange],
    steerings: Sequence[Sequence[Steering]],
) -> Tensor:
    lengths = [len(exchanges[row].prompt) for row in batch.rows]
    # Of one answer under several steerings, the layers below them all run once.
    unchanged = min((each.last_unchanged for row in steerings for each in row), default=math.inf)
    lower = batch.run_lower(int(min(unchanged, model.layer_count)))
    with steered_by_all(model, steerings, lengths):
        hidden = batch.run(lower)
    assert hidden is not None
    return likelihoods_after(model, batch, hidden)


def likelihoods_after(
    model: LanguageModel, batch: AnswerBatch, hidden: Tensor, wanted: Tensor | None = None
) -> Tensor:
    """Log-probability of each answer of a batch whose pass has run.

    Args:
        model: The model.
        batch: The batch.
        hidden: What its ``run`` returned.
        wanted: Of which rows, ``(rows,)`` of bool; the others get 0. None is all.

    Returns:
        Shape ``(rows,)``, nats, float32, on the CPU.
    """
    targets = batch.tokens[:, 1:].to(hidden.device)
    real = batch.answer[:, 1:].bool().to(hidden.device)
    if wanted is not None:
        real &= wanted[:, None].to(hidden.device)
    if not real.any():
        return torch.zeros(len(real))
    # Only positions that predict a real answer token reach the vocabulary.
    parts = zip(
        hidden[:, :-1][real].split(_LOGIT_ROWS), targets[real].split(_LOGIT_ROWS), strict=True
    )
    summed = torch.zeros(real.shape, device=hidden.device)
    summed[real] = torch.cat([_log_probabilities(model, *part) for part in parts])
    return summed.sum(dim=1).cpu()


def _log_probabilities(model: LanguageModel, states: Tensor, targets: Tensor) -> Tensor:
    """Of each target token after a last hidden state, ``(tokens,)``."""
    logits = model.logits(states)
    return logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(dim=-1)
