"""Entries read from contrast pairs: positive minus negative activations, and key embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import TrimtabError
from ..contrast.pairs import ContrastPair, Keys
from ..vectors.entries import Contrast, Entry
from ..vectors.steering_vectors import Point

if TYPE_CHECKING:
    from ..model import SteeredModel


def read_entries(
    model: SteeredModel,
    pairs: Mapping[str, Sequence[ContrastPair]],
    points: Sequence[Point],
    keys: Keys,
    progress: Callable[[int], None] | None = None,
) -> dict[str, tuple[list[Entry], Tensor, Tensor]]:
    """Each user's entries with key embeddings and vectors, read in shared batches.

    Args:
        model: The model to read.
        pairs: Contrast pairs by user; those of one sample and kind become one entry.
        points: Where to read.
        keys: What the key texts are made of.
        progress: Told after each batch how many answers it held.

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
    read = model.mean_activations(
        [side for pair in every for side in (pair.positive, pair.negative)],
        points,
        progress=progress,
    )
    difference = read[0::2] - read[1::2]
    embedded = model.encoder.encode([pair.key(keys) for pair in every])
    result = {}
    start = 0
    for user_id, own in pairs.items():
        of_sample: dict[tuple[str, Contrast], list[int]] = {}
        for row, pair in enumerate(own, start):
            of_sample.setdefault((pair.sample_id, pair.contrast), []).append(row)
        start += len(own)
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
