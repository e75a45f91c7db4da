"""Whether a past sample is a test sample in disguise: the same text, met again in the history."""

import html
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ...words import words_of

_WORD = re.compile(r"\w+")
_LONG = 20
_SAME_OUTPUT = 0.8
_SAME_BODY = 0.5


@dataclass(frozen=True)
class Text:
    """A sample without its instruction.

    ``body`` is what it is about: an article, a title, or nothing; ``output`` is what came of it.
    """

    body: str
    output: str

    @cached_property
    def body_words(self) -> tuple[str, ...]:
        """The body's words in lower case, without punctuation and HTML's escapes."""
        return words(self.body)

    @cached_property
    def output_words(self) -> tuple[str, ...]:
        """The output's words, in the same way."""
        return words(self.output)

    @cached_property
    def body_set(self) -> frozenset[str]:
        """The body's different words."""
        return frozenset(self.body_words)

    @cached_property
    def output_set(self) -> frozenset[str]:
        """The output's different words."""
        return frozenset(self.output_words)


def words(text: str) -> tuple[str, ...]:
    """The words in lower case, without punctuation and HTML's escapes."""
    plain = html.unescape(text)
    if plain.isascii():
        return tuple(_WORD.findall(plain.casefold()))
    return tuple(words_of(plain))


class Unseen:
    """Texts that no past may hold, ready to be asked about it without comparing all with all.

    Args:
        texts: One user's tests.
    """

    def __init__(self, texts: Iterable[Text]) -> None:
        self._by: defaultdict[object, list[Text]] = defaultdict(list)
        for text in texts:
            keys: list[object] = [text.body_words, text.output_words, *_most_telling(text)]
            for key in keys:
                self._by[key].append(text)

    def holds(self, past: Text) -> bool:
        """Whether the past sample is one of the texts; see ``is_same_text``."""
        keys: set[object] = {past.body_words, past.output_words, *past.output_set}
        keys.discard(())  # what has no body is not the same for that
        found = (text for key in keys & self._by.keys() for text in self._by[key])
        return any(is_same_text(past, text) for text in found)


def _most_telling(text: Text) -> list[str]:
    """As many of a long output's words as one that shares enough of them cannot all lack."""
    if len(text.output_words) < _LONG:
        return []
    count = int((1 - _SAME_OUTPUT) * len(text.output_set)) + 2  # one of them for the rounding
    return sorted(text.output_set, key=lambda word: (-len(word), word))[:count]


def is_same_text(past: Text, test: Text) -> bool:
    """Whether the past sample is the test sample itself, or nearly.

    It is if their bodies have the same words; or if their outputs have, and the bodies share half
    of their words or one has no body (a headline that an author uses every week, over other
    articles, is no leak); or if their outputs are long and share four words of five.
    """
    if past.body_words and past.body_words == test.body_words:
        return True
    if not past.output_words or not test.output_words:
        return False
    if past.output_words == test.output_words:
        bodies = past.body_set, test.body_set
        return not all(bodies) or _share(*bodies, _SAME_BODY)
    return min(len(past.output_words), len(test.output_words)) >= _LONG and _share(
        past.output_set, test.output_set, _SAME_OUTPUT
    )


def _share(left: frozenset[str], right: frozenset[str], least: float) -> bool:
    """Whether at least this share of all their words is in both (Jaccard)."""
    few, many = sorted((len(left), len(right)))
    if few / many < least:  # not even if the one is part of the other
        return False
    both = len(left & right)
    return both / (few + many - both) >= least
