"""Whether a past sample is a test sample in disguise: the same text, met again in the history."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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


def words(text: str) -> tuple[str, ...]:
    """The words in lower case, without punctuation and HTML's escapes."""
    return tuple(_WORD.findall(html.unescape(text).casefold()))


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
        bodies = past.body_words, test.body_words
        return not all(bodies) or _shared(*bodies) >= _SAME_BODY
    return (
        min(len(past.output_words), len(test.output_words)) >= _LONG
        and _shared(past.output_words, test.output_words) >= _SAME_OUTPUT
    )


def _shared(left: Sequence[str], right: Sequence[str]) -> float:
    """The share of all different words that both have (Jaccard)."""
    one, other = set(left), set(right)
    return len(one & other) / len(one | other)
