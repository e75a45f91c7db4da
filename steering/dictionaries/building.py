"""From contrast pairs to dictionaries: what is read, for many users in the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import TrimtabError
from ..contrast.pairs import Contrast, ContrastPair, Keys
from ..vectors.steering_vectors import Point, Site, points_of
from .dictionary import Entry, SteeringDictionary

if TYPE_CHECKING:
    from ..model import SteeredModel


def build_dictionaries(
    model: SteeredModel,
    pairs: Mapping[str, Sequence[ContrastPair]],
    *,
    layers: Iterable[int],
    sites: Iterable[Site] = ("mid", "mlp"),
    keys: Keys = "input",
    progress: Callable[[int], None] | None = None,
) -> dict[str, SteeringDictionary]:
    """Build many users' dictionaries in the same batches; see ``SteeringDictionary.build``.

    Raises:
        TrimtabError: A user without pairs, or as for ``build``.
    """
    for user_id, own in pairs.items():
        if not own:
            raise TrimtabError(
                f"user {user_id!r} has no contrast pairs; a dictionary needs at least one"
            )
    points = points_of(layers, sites)
    dictionaries = {}
    for user_id, (entries, embedded, vectors) in read_entries(
        model, pairs, points, keys, progress
    ).items():
        dictionaries[user_id] = SteeringDictionary(
            user_id=user_id,
            fingerprint=model.fingerprint,
            points=points,
            encoder_name=model.encoder.name,
            keys_from=keys,
            entries=entries,
            keys=embedded,
            vectors=vectors,
        )
    return dictionaries


def read_entries(
    model: SteeredModel,
    pairs: Mapping[str, Sequence[ContrastPair]],
    points: Sequence[Point],
    keys: Keys,
    progress: Callable[[int], None] | None = None,
) -> dict[str, tuple[list[Entry], Tensor, Tensor]]:
    """Each user's entries with key embeddings and vectors, read in shared batches."""
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
