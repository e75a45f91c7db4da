"""Rankings against BM25 written out again, plain cosines and plain order."""

import math
from collections import Counter

import pytest
import torch

from trimtab.steering import load_encoder
from trimtab.steering.contrast.relevance import Relevance, by_bm25, by_recency, by_similarity

TEXTS = [
    "red wool scarf winter",
    "blue cotton scarf",
    "steel pan kitchen",
    "the of and",
    "wool hat winter winter",
    "scarf winter wool blue",
]
COUNTS = [0, 1, 2, 2, 4, 5]


@pytest.fixture(params=["similarity", "bm25", "recency"])
def relevance(request: pytest.FixtureRequest) -> Relevance:
    if request.param == "similarity":
        return by_similarity(load_encoder())
    return by_bm25() if request.param == "bm25" else by_recency()


def test_scores_those_that_may_be_seen_and_no_others(relevance: Relevance) -> None:
    found = relevance(TEXTS, COUNTS)
    assert [score.shape for score in found] == [(count,) for count in COUNTS]
    later_ones_changed = [*TEXTS[:5], "something else altogether"]
    for count, before, after in zip(
        COUNTS[:5], found, relevance(later_ones_changed, COUNTS), strict=False
    ):
        torch.testing.assert_close(before[:count], after[:count], atol=1e-5, rtol=1e-5)


def test_similarity_is_the_cosine() -> None:
    encoder = load_encoder()
    found = by_similarity(encoder)(TEXTS, COUNTS)
    assert float(found[5][1]) == pytest.approx(encoder.similarity(TEXTS[5], TEXTS[1]), abs=1e-5)


def test_bm25_is_lucenes_formula_over_the_earlier_texts() -> None:
    k1, b = 1.2, 0.6
    found = by_bm25(k1=k1, b=b)(TEXTS, COUNTS)
    documents = [text.split() for text in (*TEXTS[:3], "", TEXTS[4])]  # stopwords left out
    mean = sum(map(len, documents)) / len(documents)
    expected = []
    for document in documents:
        counts, total = Counter(document), 0.0
        for word in TEXTS[5].split():
            having = sum(word in other for other in documents)
            rarity = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            length = k1 * (1 - b + b * len(document) / mean)
            total += rarity * counts[word] / (counts[word] + length)
        expected.append(total)
    torch.testing.assert_close(found[5], torch.tensor(expected))
    assert found[3].tolist() == [0, 0]  # a query of stopwords alone


def test_recency_prefers_the_last() -> None:
    assert by_recency()(TEXTS, [0, 0, 0, 0, 0, 3])[5].argsort(descending=True).tolist() == [2, 1, 0]
