"""What ROUGE counts in a text of any script: words, and characters where words have no spaces.

The tokenizer of the rouge-score package keeps ``[a-z0-9]`` alone, so that a Russian, Hindi, Thai or
Chinese text has no token and scores 0 against itself, and "está" is "est". Here a token is
what ``words_of`` calls a word. Of an ASCII text these are exactly the tokens of rouge-score.
"""

from __future__ import annotations

import re

from ..words import words_of

_ASCII_WORD = re.compile(r"[a-z0-9]+")


def rouge_tokens(text: str) -> list[str]:
    """The tokens of a text.

    Letters that Unicode can write in two ways, such as "é", are one.

    Example:
        >>> rouge_tokens("¡Está aquí!")
        ['está', 'aquí']
        >>> rouge_tokens("安静的海 😂")
        ['安', '静', '的', '海', '😂']
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return words_of(text)
