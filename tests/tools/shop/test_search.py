import math
import random
from collections import Counter

import pytest

from trimtab.errors import TrimtabError
from trimtab.tools.shop.search import SearchIndex, words


def bm25(texts: dict[str, str], query: str, k1: float, b: float) -> dict[str, float]:
    """BM25 as Lucene has it since version 8, written from the formula (Kamphuis et al., 2020)."""
    documents = {id: words(text) for id, text in texts.items()}
    average = sum(map(len, documents.values())) / len(documents)
    found: dict[str, float] = {}
    for term in words(query):
        df = sum(term in document for document in documents.values())
        idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
        for id, document in documents.items():
            tf = Counter(document)[term]
            if tf:
                norm = k1 * (1 - b + b * len(document) / average)
                found[id] = found.get(id, 0.0) + idf * tf / (tf + norm)
    return found


def corpus(seed: int) -> dict[str, str]:
    rng = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(30)]
    return {
        f"p{number}": " ".join(rng.choices(vocabulary, k=rng.randint(1, 20)))
        for number in range(60)
    }


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 0.75), (1.2, 0.0)])
def test_scores_are_bm25(k1, b):
    texts = corpus(seed=1)
    index = SearchIndex.build(texts, k1=k1, b=b)
    for query in ("w1", "w1 w2 w3", "w4 w4 w5 unheard", "w0 w29 w14 w7 w8"):
        expected = bm25(texts, query, k1, b)
        got = dict(index.scored(query, k=60))
        assert got.keys() == expected.keys()
        assert got == pytest.approx(expected, rel=1e-5)
        order = [expected[id] for id in index.search(query, k=10)]
        assert order == sorted(order, reverse=True)
        assert order == pytest.approx(sorted(expected.values(), reverse=True)[:10], rel=1e-5)


def test_equally_good_texts_come_in_the_order_they_were_given():
    texts = {f"p{number}": "red mug" for number in range(50)}
    texts["best"] = "red red mug"
    index = SearchIndex.build(texts)
    assert index.search("red", k=4) == ["best", "p0", "p1", "p2"]
    assert index.search("mug red", k=4) == index.search("red mug", k=4)


def test_no_match_no_words_and_more_than_there_is():
    index = SearchIndex.build({"a": "red wool scarf", "b": "blue scarf", "c": "", "d": "the"})
    assert index.search("") == []
    assert index.search("the of and") == []
    assert index.search("zebra") == []
    assert index.search("scarf", k=1000) == ["b", "a"]
    assert index.search("scarf", k=1) == ["b"]
    assert len(index) == 4
    with pytest.raises(TrimtabError, match="k >= 1"):
        index.search("scarf", k=0)


@pytest.mark.parametrize("texts", [{}, {"a": ""}, {"a": "the", "b": "..."}])
def test_a_corpus_without_words(texts, tmp_path):
    index = SearchIndex.build(texts)
    assert index.search("scarf") == []
    index.save(tmp_path / "index")
    again = SearchIndex.load(tmp_path / "index")
    assert (again.search("scarf"), again.ids) == ([], tuple(texts))


def test_words_are_those_of_lucene_s_english_analysis():
    # Stems as Lucene's analyser gives them, which are Martin Porter's own.
    assert words("The Runner's running; PONIES, happily!") == ["runner", "run", "poni", "happili"]
    assert words("an 8 oz. mug, $1,299.50, don't, wi-fi, v2.0, 3.5mm") == [
        "8", "oz", "mug", "1,299.50", "don't", "wi", "fi", "v2", "0", "3.5mm",
    ]  # fmt: skip
    assert words("caf\u00e9 STRASSE women\u2019s") == ["caf\u00e9", "strass", "women"]


def test_other_forms_of_a_word_are_found():
    index = SearchIndex.build({"a": "waterproof jackets for hikers", "b": "cotton jersey"})
    assert index.search("A jacket to go hiking") == ["a"]


def test_saved_and_loaded_is_the_same(tmp_path):
    index = SearchIndex.build(corpus(seed=2), k1=1.1, b=0.3)
    path = tmp_path / "folder" / "index.safetensors"
    index.save(path)
    again = SearchIndex.load(path)
    for query in ("w1 w2", "w3 w9 w27"):
        assert again.scored(query) == index.scored(query)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_files_that_are_no_index_are_refused(tmp_path):
    path = tmp_path / "index"
    with pytest.raises(TrimtabError, match="no search index"):
        SearchIndex.load(path)
    index = SearchIndex.build(corpus(seed=3))
    index.save(path)
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04 pickled", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(TrimtabError, match="build it anew") as caught:
            SearchIndex.load(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole.replace(b"lucene-english-", b"lucene-klingon-"))
    with pytest.raises(TrimtabError, match="klingon"):
        SearchIndex.load(path)


def test_impossible_settings_are_refused():
    for settings in ({"k1": -1.0}, {"b": 1.5}, {"k1": float("nan")}):
        with pytest.raises(TrimtabError, match="k1"):
            SearchIndex.build({"a": "b"}, **settings)
