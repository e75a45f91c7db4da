"""Which of a user's earlier texts resemble a later one: by the encoder, BM25 or recency.

A relevance is a plain callable; adding one is writing a function. It is given a user's texts in
the order of time and, for each, how many of the first ones it may be compared with, so that no
score depends on a text that came later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...words import words_of

if TYPE_CHECKING:
    from ..dictionaries.encoder import Encoder

_TERM = re.compile(r"\b\w\w+\b")

Relevance = Callable[[Sequence[str], Sequence[int]], Sequence[Tensor]]
"""From texts and counts to a score for each of the first ``counts[i]`` texts, for each text ``i``.

Scores of text ``i`` have the shape ``(counts[i],)``; higher is more relevant.
"""


def by_similarity(encoder: Encoder) -> Relevance:
    """Cosine of the texts' embeddings; every text is embedded once."""

    def scores(texts: Sequence[str], counts: Sequence[int]) -> list[Tensor]:
        embedded = encoder.encode(texts)
        return [embedded[:count] @ own for own, count in zip(embedded, counts, strict=True)]

    return scores


def by_bm25(*, k1: float = 1.5, b: float = 0.75) -> Relevance:
    """BM25 over the earlier texts alone, English stopwords left out.

    Args:
        k1: How soon a word's repetitions stop to count.
        b: How much a text's length counts, from 0 to 1.
    """

    def scores(texts: Sequence[str], counts: Sequence[int]) -> list[Tensor]:
        import bm25s

        words = [_terms(text) for text in texts]
        rankings = []
        for own, count in zip(words, counts, strict=True):
            if not own or not any(words[:count]):
                rankings.append(torch.zeros(count))  # bm25s takes no empty query or vocabulary
                continue
            # How rare a word is must not be learned from later texts, hence an index for each.
            index = bm25s.BM25(k1=k1, b=b)
            index.index(words[:count], show_progress=False)
            rankings.append(torch.from_numpy(index.get_scores(own)))
        return rankings

    return scores


def _terms(text: str) -> list[str]:
    """What BM25 counts: of an ASCII text bm25s' own terms, of any other its words."""
    from bm25s.stopwords import STOPWORDS_EN

    if text.isascii():
        terms = _TERM.findall(text.lower())
    else:
        terms = [word for word in words_of(text) if len(word) > 1 or not word.isascii()]
    return [word for word in terms if word not in STOPWORDS_EN]


def by_recency() -> Relevance:
    """The latest first."""

    def scores(texts: Sequence[str], counts: Sequence[int]) -> list[Tensor]:
        return [torch.arange(count, dtype=torch.float32) for count in counts]

    return scores
