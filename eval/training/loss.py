"""What training makes smaller: minus the log-probability of the users' answers."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from ...steering.decoder.language_model import LanguageModel
from ...steering.decoder.partial import beginning_after
from ...steering.vectors.injection import refuse_steered
from .examples import TrainingBatch
from .lower_layers import Lower
from .passes import Before, changing, run_batch
from .trainable import Trainable


def answer_nats(
    model: LanguageModel,
    trainable: Trainable | None,
    batch: TrainingBatch,
    before: Before = (),
    lower: Lower | None = None,
) -> Tensor:
    """Minus the log-probability of each row's answer, ``(rows,)``, in nats; gradients pass.

    Args:
        model: The model, frozen.
        trainable: What is trained; None is nothing.
        batch: The rows.
        before: Frozen stages that come first.
        lower: Kept hidden states to begin from.
    """
    refuse_steered(model.parts, "training")
    if lower is not None:
        batch = batch.after([lower.starts[row] for row in batch.rows])
    hidden = _hidden(model, trainable, batch, before, lower)
    logits = model.logits(hidden[batch.answers])
    targets = batch.tokens.roll(-1, dims=1)[batch.answers]
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    rows = batch.answers.nonzero()[:, 0]
    return torch.zeros(len(batch.rows), device=losses.device).index_add(0, rows, losses)


def _hidden(
    model: LanguageModel,
    trainable: Trainable | None,
    batch: TrainingBatch,
    before: Before,
    lower: Lower | None,
) -> Tensor:
    parts = model.parts
    with ExitStack() as stack:
        stack.enter_context(changing(parts, trainable, batch, before))
        if lower is None:
            return run_batch(parts, batch)
        stack.enter_context(beginning_after(parts, lower.layer, lower.of(batch)))
        return run_batch(parts, batch, *lower.prompts(batch, parts))
