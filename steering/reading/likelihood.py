"""How likely a model finds an answer: the log-probability of its tokens under teacher forcing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..decoder.language_model import LanguageModel
from ..vectors.injection import steered
from ..vectors.steering import Steering
from .teacher_forcing import Forced, ForcedBatch, forced_batches


@torch.inference_mode()
def answer_log_likelihoods(
    model: LanguageModel,
    forced: Sequence[Forced],
    steerings: Sequence[Steering | None] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Log-probability of each answer given its prompt, summed over the answer's tokens.

    Prompts that no steering touches run once each and share their common prefix.

    Args:
        model: The model.
        forced: Prompts with answers.
        steerings: One a sample; default none.
        progress: Told after each batch how many answers it held.

    Returns:
        Shape ``(len(forced),)``, nats, float32.

    Raises:
        TrimtabError: Nothing to force, or a prompt or answer too short.
    """
    total = torch.zeros(len(forced))
    steerings = steerings or [None] * len(forced)
    untouched = all(
        steering is None or steering.start(len(item.prompt)) >= len(item.prompt) - 1
        for steering, item in zip(steerings, forced, strict=True)
    )
    for batch in forced_batches(model.parts, forced, prefill=untouched):
        rows = [steerings[row] for row in batch.rows]
        total[list(batch.rows)] = batch_log_likelihoods(model, batch, forced, rows)
        if progress:
            progress(len(rows))
    return total


def batch_log_likelihoods(
    model: LanguageModel,
    batch: ForcedBatch,
    forced: Sequence[Forced],
    steerings: Sequence[Steering | None],
) -> Tensor:
    """The same for one batch whose prompts have run, so that many steerings can be tried on it.

    Returns:
        Shape ``(len(batch.rows),)``, nats.
    """
    lengths = [len(forced[row].prompt) for row in batch.rows]
    with steered(model, steerings, lengths):
        hidden = batch.run()
    assert hidden is not None
    targets = batch.tokens[:, 1:].to(hidden.device)
    real = batch.answer[:, 1:].bool().to(hidden.device)
    # Only positions that predict a real answer token reach the vocabulary.
    logits = model.logits(hidden[:, :-1][real])
    chosen = logits.gather(-1, targets[real][:, None])[:, 0] - logits.logsumexp(dim=-1)
    summed = torch.zeros(real.shape, device=hidden.device)
    summed[real] = chosen
    return summed.sum(dim=1).cpu()
