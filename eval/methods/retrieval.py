"""Which of a user's past samples come first for a request, and an encoder that remembers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ...steering.contrast.relevance import Relevance, by_bm25, by_recency, by_similarity

if TYPE_CHECKING:
    from ...steering.dictionaries.encoder import Encoder

By = Literal["encoder", "bm25", "recency", "random", "all"]
"""What of the past comes first: what is nearest by the sentence encoder or by BM25, what is
latest, what a draw says, or all of it, whatever the number."""


class RememberedEncoder:
    """An encoder that embeds no text twice.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self._encoder = encoder
        self._known: dict[str, Tensor] = {}

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Shape ``(len(texts), dimensions)``; see ``Encoder.encode``."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            embedded = self._encoder.encode(missing)
            self._known.update(zip(missing, embedded, strict=True))
        return torch.stack([self._known[text] for text in texts]) if texts else torch.empty(0, 0)


def nearest(
    texts: Sequence[str], query: str, by: By, encoder: RememberedEncoder, *, seed: str = ""
) -> list[int]:
    """Places of the texts, which are in the order of time, those that come first for a query first.

    Args:
        texts: What the query is compared with, oldest first.
        query: The request.
        by: What comes first.
        encoder: For ``encoder``.
        seed: Of ``random``: which come first is drawn.
    """
    places = range(len(texts))
    if by == "random":
        return random.Random(seed).sample(places, len(texts))
    if by == "all":
        return list(reversed(places))
    return ranking(texts, query, relevance(by, encoder))


def relevance(by: By, encoder: RememberedEncoder) -> Relevance:
    """The relevance of that name; not of what is drawn, or of all."""
    if by == "encoder":
        return by_similarity(encoder)  # type: ignore[arg-type]  # all that is used of one is there
    return by_bm25() if by == "bm25" else by_recency()


def ranking(texts: Sequence[str], query: str, relevant: Relevance) -> list[int]:
    """Places of the texts, which are in the order of time, the most relevant first.

    Of two equally relevant ones the later comes first.
    """
    if not texts:
        return []
    # The query stands for a text that came after all of them; only its own scores are asked for.
    counts = [0] * len(texts) + [len(texts)]
    scores = relevant([*texts, query], counts)[-1].tolist()
    return sorted(range(len(texts)), key=lambda place: (-scores[place], -place))
