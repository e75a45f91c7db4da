"""What comes first for a request."""

import pytest

from trimtab.eval.methods.retrieval import RememberedEncoder, ranking, relevance

TEXTS = ["red apples", "blue boats at sea", "red boats", "green tea"]


@pytest.mark.parametrize(
    ("by", "first"), [("encoder", [2, 1]), ("bm25", [2, 1]), ("recency", [3, 2])]
)
def test_the_most_relevant_come_first(letters, by, first):
    order = ranking(
        TEXTS, "red boats at sea"[4:] + " red", relevance(by, RememberedEncoder(letters))
    )
    assert sorted(order) == [0, 1, 2, 3]
    assert order[:2] == first or sorted(order[:2]) == sorted(first)


def test_of_equals_the_later_comes_first(letters):
    encoder = RememberedEncoder(letters)
    assert ranking(["same", "same", "same"], "same", relevance("encoder", encoder)) == [2, 1, 0]
    assert ranking(["x", "y"], "nothing alike", relevance("bm25", encoder)) == [1, 0]
    assert ranking([], "x", relevance("encoder", encoder)) == []


def test_no_text_is_embedded_twice(letters):
    seen = []

    class Counting:
        name = "counting"

        def encode(self, texts):
            seen.extend(texts)
            return letters.encode(texts)

    encoder = RememberedEncoder(Counting())
    encoder.encode(["a", "b", "a"])
    found = encoder.encode(["b", "c"])
    assert seen == ["a", "b", "c"]
    assert found.tolist() == letters.encode(["b", "c"]).tolist()
