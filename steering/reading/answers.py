"""Answers to choose among: how likely each is, and what the model makes of it, in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..decoder.language_model import LanguageModel
from ..vectors.steering_vectors import Point
from .capture import last_of, read_batch
from .likelihood import likelihoods_after
from .pace import Pace
from .teacher_forcing import TokenizedExchange, answer_batches, different


class AnswersRead(NamedTuple):
    """What one pass told of answers.

    Attributes:
        activations: At each point, averaged over each answer's tokens: ``(answers, points,
            hidden_size)``, float32, on the CPU.
        log_likelihoods: Of each answer, summed over its tokens: ``(answers,)``, nats; 0 where
            it was not asked for.
    """

    activations: Tensor
    log_likelihoods: Tensor


@torch.inference_mode()
def read_answers(
    model: LanguageModel,
    exchanges: Sequence[TokenizedExchange],
    points: Sequence[Point],
    likelihoods_of: Sequence[bool],
    *,
    progress: Callable[[int], None] | None = None,
    pace: Pace | None = None,
) -> AnswersRead:
    """What ``mean_activations`` and ``answer_log_likelihoods`` tell, each prompt run once for both.

    Args:
        model: The model, unsteered.
        exchanges: Prompts with the answers to force.
        points: Where to read.
        likelihoods_of: Which answers' likelihoods are wanted, one flag an answer; what they add is
            the layers after the last point, and the vocabulary.
        progress: Told after each batch how many answers it held.
        pace: How others are given room meanwhile; None gives them none.

    Raises:
        TrimtabError: As ``mean_activations``.
    """
    last = last_of(model.parts, points)
    once, places = different(exchanges)
    times = Counter(places)
    scored = torch.zeros(len(once), dtype=torch.bool)
    scored[[place for place, wanted in zip(places, likelihoods_of, strict=True) if wanted]] = True
    activations: list[Tensor] = [torch.empty(0)] * len(once)
    likelihoods = torch.zeros(len(once))
    batches = answer_batches(
        model.parts,
        once,
        last_layer=None if scored.any() else last,
        prefixes=model.prefixes,
        pace=pace,
    )
    for batch in batches:
        read, hidden = read_batch(model.parts, batch, points)
        rows = list(batch.rows)
        if hidden is not None:
            likelihoods[rows] = likelihoods_after(model, batch, hidden, scored[rows])
        for row, index in enumerate(rows):
            activations[index] = read[row]
        if progress:
            progress(sum(times[index] for index in rows))
    return AnswersRead(torch.stack(activations)[places], likelihoods[places])
