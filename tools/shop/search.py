"""Full-text search over products: BM25 as Lucene scores it, with Lucene's English analysis.

PersonalWAB searches with Anserini, which is Lucene with k1 = 0.9 and b = 0.4 and an analyser that
splits words, lowers case, drops the possessive ``'s`` and 33 stopwords, and stems by Porter.
Scripts that are written without spaces are indexed character by character, as Lucene does.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import regex
from bm25s.stopwords import STOPWORDS_EN
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...errors import TrimtabError
from ...files import replacing
from ...words import words_of

# A mark or a joiner is part of its word; scripts without spaces are split afterwards.
_WORD = regex.compile(
    r"\d+(?:[.,]\d+)+[\w\p{M}]*|\w[\w\p{M}\u200c\u200d]*(?:['\u2019]\w[\w\p{M}\u200c\u200d]*)*"
)
_POSSESSIVE = re.compile(r"['\u2019]s$")
_STOPWORDS = frozenset(STOPWORDS_EN)
# Changes whenever the same text would be indexed differently, so that old files are refused.
_ANALYSIS = "lucene-english-2"
_METADATA = "trimtab.search"
# What bm25s keeps of an index: a sparse matrix by columns, one column a term, one row a text.
_NO_SCORES: Mapping[str, np.ndarray] = {
    "data": np.zeros(0, np.float32),
    "indices": np.zeros(0, np.int32),
    "indptr": np.zeros(1, np.int64),
}


def words(text: str) -> list[str]:
    """The terms that a text is indexed by, in order.

    Single letters and digits are kept: ``PlayStation 5`` is not ``PlayStation 4``.

    Example:
        >>> words("The runner's 2.5 mm running shoes")
        ['runner', '2.5', 'mm', 'run', 'shoe']
    """
    found = (_POSSESSIVE.sub("", word) for word in _WORD.findall(text.lower()))
    each = (part for word in found for part in ([word] if word.isascii() else words_of(word)))
    return [_stem(word) for word in each if word not in _STOPWORDS]


class SearchIndex:
    """A BM25 index that gives the ids of the texts that fit a query, best first.

    Args:
        bm25: A built index.
        ids: The id of the text of each of its rows.

    Example:
        >>> index = SearchIndex.build({"a": "red wool scarf", "b": "blue cotton scarf"})
        >>> index.search("a blue scarf")
        ['b', 'a']
    """

    def __init__(self, bm25: bm25s.BM25, ids: Sequence[str]) -> None:
        self._bm25 = bm25
        self.ids = tuple(ids)

    @classmethod
    def build(cls, texts: Mapping[str, str], *, k1: float = 0.9, b: float = 0.4) -> "SearchIndex":
        """Index texts by id.

        Args:
            texts: The texts, by id. Of equally good results, the one that comes first here does.
            k1: How soon a term's repetitions stop to count.
            b: How much a text's length counts, from 0 to 1.

        Raises:
            TrimtabError: ``k1`` is negative, or ``b`` is not within 0 and 1.
        """
        if not (k1 >= 0 and 0 <= b <= 1):
            raise TrimtabError(f"expected k1 >= 0 and 0 <= b <= 1, got k1={k1} and b={b}")
        vocabulary: dict[str, int] = {}
        rows = [
            [vocabulary.setdefault(word, len(vocabulary)) for word in words(text)]
            for text in texts.values()
        ]
        bm25 = bm25s.BM25(k1=k1, b=b, method="lucene")
        if vocabulary:
            bm25.index((rows, vocabulary), create_empty_token=False, show_progress=False)
        else:
            _fill(bm25, vocabulary, len(rows), _NO_SCORES)
        return cls(bm25, list(texts))

    def __len__(self) -> int:
        """How many texts are indexed."""
        return len(self.ids)

    def search(self, query: str, k: int = 10) -> list[str]:
        """The ids of the ``k`` best texts that share a term with the query, best first."""
        return [id for id, _ in self.scored(query, k)]

    def scored(self, query: str, k: int = 10) -> list[tuple[str, float]]:
        """The same, with the BM25 scores, which are above 0.

        Raises:
            TrimtabError: ``k`` is below 1.
        """
        if k < 1:
            raise TrimtabError(f"expected to search for k >= 1 results, got {k}")
        terms = self._bm25.get_tokens_ids(words(query))
        if not terms:
            return []
        # In a fixed order, so that rounding does not depend on the order of the query's words.
        scores = self._bm25.get_scores_from_ids(sorted(terms))
        k = min(k, len(scores))
        worst = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows = np.flatnonzero((scores >= worst) & (scores > 0))
        best = rows[np.argsort(-scores[rows], kind="stable")][:k]
        return [(self.ids[row], float(scores[row])) for row in best]

    def save(self, path: Path | str) -> None:
        """Write the index as one safetensors file, whole or not at all."""
        arrays = {name: self._bm25.scores[name] for name in ("data", "indices", "indptr")}
        arrays["ids"] = _packed(self.ids)
        arrays["vocabulary"] = _packed(list(self._bm25.vocab_dict))
        settings = {"analysis": _ANALYSIS, "k1": self._bm25.k1, "b": self._bm25.b}
        with replacing(Path(path)) as temporary:
            save_file(arrays, temporary, metadata={_METADATA: json.dumps(settings)})

    @classmethod
    def load(cls, path: Path | str) -> "SearchIndex":
        """Read an index that ``save`` wrote.

        Raises:
            TrimtabError: There is no such file, it is no search index, or it was made by another
                text analysis.
        """
        path = Path(path)
        if not path.is_file():
            raise TrimtabError(f"there is no search index {path}; build one with SearchIndex.build")
        try:
            with safe_open(path, framework="numpy") as file:
                settings = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if settings.get("analysis") != _ANALYSIS:
                raise TrimtabError(
                    f"expected the search index {path} in the form {_ANALYSIS}, "
                    f"got {settings.get('analysis')}; delete it and build it anew"
                )
            ids = _unpacked(arrays.pop("ids"))
            vocabulary = {word: row for row, word in enumerate(_unpacked(arrays.pop("vocabulary")))}
            bm25 = bm25s.BM25(k1=settings["k1"], b=settings["b"], method="lucene")
            _fill(bm25, vocabulary, len(ids), {name: arrays[name] for name in _NO_SCORES})
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise TrimtabError(
                f"{path} is no search index ({error}); delete it and build it anew"
            ) from error
        return cls(bm25, ids)


def _fill(
    bm25: bm25s.BM25, vocabulary: dict[str, int], rows: int, scores: Mapping[str, np.ndarray]
) -> None:
    """Give a BM25 object scores that were computed before."""
    bm25.scores = {**scores, "num_docs": rows}
    bm25.vocab_dict = vocabulary
    bm25.unique_token_ids_set = set(vocabulary.values())
    bm25.nonoccurrence_array = None


def _packed(texts: Sequence[str]) -> np.ndarray:
    """Texts as bytes: a safetensors header is too small for a million of them."""
    return np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8)


def _unpacked(packed: np.ndarray) -> list[str]:
    texts: list[str] = json.loads(packed.tobytes())
    return texts


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    return str(_stemmer().stem(word, to_lowercase=False))


@cache
def _stemmer() -> Any:
    # Loaded when first needed: it takes a second.
    from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped, unused-ignore]

    return PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS)
