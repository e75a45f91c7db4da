"""Entries read from contrast pairs: positive minus negative activations, and key embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ...errors import TrimtabError
from ..contrast.pairs import ContrastPair, Keys
from ..reading.answers import read_answers
from ..reading.pace import Pace
from ..vectors.entries import Contrast, Entry
from ..vectors.steering_vectors import Point

if TYPE_CHECKING:
    from ..model import SteeredModel

Rejected = Literal["mean", "likeliest"]
"""Of several negative sides of one sample: their mean, or the one that the model finds likeliest.

The likelihoods are worked out in the pass that reads the vectors.
"""


def read_entries(
    model: SteeredModel,
    pairs: Mapping[str, Sequence[ContrastPair]],
    points: Sequence[Point],
    keys: Keys,
    progress: Callable[[int], None] | None = None,
    *,
    rejected: Rejected = "mean",
    pace: Pace | None = None,
) -> dict[str, tuple[list[Entry], Tensor, Tensor]]:
    """Each user's entries with key embeddings and vectors, read in shared batches.

    Args:
        model: The model to read.
        pairs: Contrast pairs by user; those of one sample and kind become one entry.
        points: Where to read.
        keys: What the key texts are made of.
        progress: Told after each batch how many answers it held.
        rejected: What becomes of several pairs of one sample and kind.
        pace: How others are given room to use the model meanwhile; None gives them none.

    Returns:
        By user: the entries, their key embeddings ``(entries, dimensions)``, and their vectors
        ``(entries, points, hidden_size)``.

    Raises:
        TrimtabError: A user without pairs, a layer out of range, or activations that are not
            finite.
    """
    for user_id, own in pairs.items():
        if not own:
            raise TrimtabError(
                f"user {user_id!r} has no contrast pairs; a dictionary needs at least one"
            )
    every = [pair for own in pairs.values() for pair in own]
    sides = [side for pair in every for side in (pair.positive, pair.negative)]
    likelihoods: list[float] = []
    if rejected == "mean":
        read = model.mean_activations(sides, points, progress=progress, pace=pace)
    else:
        chosen_among = _sides_chosen_among(pairs)
        tokenized = [model.tokenized(side) for side in sides]
        read, likely = read_answers(
            model, tokenized, points, chosen_among, progress=progress, pace=pace
        )
        likelihoods = likely[1::2].tolist()
    difference = read[0::2] - read[1::2]
    embedded = model.encoder.encode([pair.key(keys) for pair in every])
    result = {}
    start = 0
    for user_id, own in pairs.items():
        of_sample: dict[tuple[str, Contrast], list[int]] = {}
        for row, pair in enumerate(own, start):
            of_sample.setdefault((pair.sample_id, pair.contrast), []).append(row)
        start += len(own)
        if rejected == "likeliest":
            of_sample = {
                sample: [max(rows, key=likelihoods.__getitem__)]
                for sample, rows in of_sample.items()
            }
        first = [every[rows[0]] for rows in of_sample.values()]
        entries = [
            Entry(p.sample_id, p.key(keys), p.positive.answer, p.contrast, p.timestamp)
            for p in first
        ]
        vectors = torch.stack([difference[rows].mean(dim=0) for rows in of_sample.values()])
        for entry, vector in zip(entries, vectors, strict=True):
            if not torch.isfinite(vector).all():
                raise TrimtabError(
                    f"sample {entry.sample_id!r} of user {user_id!r} gave NaN or infinite "
                    "activations; leave it out, or read in float32"
                )
        result[user_id] = (entries, embedded[[rows[0] for rows in of_sample.values()]], vectors)
    return result


def _sides_chosen_among(pairs: Mapping[str, Sequence[ContrastPair]]) -> list[bool]:
    """Of each pair's positive and negative side whether it is one of several to choose from."""
    found = []
    for own in pairs.values():
        several = Counter((pair.sample_id, pair.contrast) for pair in own)
        for pair in own:
            found += [False, several[pair.sample_id, pair.contrast] > 1]
    return found
