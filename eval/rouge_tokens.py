"""What ROUGE counts in a text of any script: words, and characters where words have no spaces.

The tokenizer of the rouge-score package keeps ``[a-z0-9]`` alone, so that a Russian, Hindi, Thai or
Chinese text has no token and scores 0 against itself, and "está" is "est". Here a token is

- a run of letters, their marks and digits of any script, in lower case; punctuation ends it;
- one character (an extended grapheme cluster, UAX #29) of a script that is written without spaces
  between words, as the CJK evaluations of ROUGE and BLEU do it;
- one emoji, or any other symbol that ASCII does not have.

Of an ASCII text these are exactly the tokens of rouge-score.
"""

from __future__ import annotations

import unicodedata

import regex

# Scripts whose words are not set apart by spaces.
_UNSPACED_SCRIPTS = (
    "Han", "Hira", "Kana", "Bopo", "Yiii", "Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Lana", "Talu",
    "Tale", "Java", "Bali", "Cham",
)  # fmt: skip
_UNSPACED = "".join(rf"\p{{scx={script}}}" for script in _UNSPACED_SCRIPTS)
_SINGLE = regex.compile(
    rf"[{_UNSPACED}&&[\p{{L}}\p{{M}}\p{{N}}]]|\p{{Extended_Pictographic}}|[\p{{S}}--\p{{ASCII}}]",
    regex.VERSION1,
)
_PART_OF_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]")
_CHARACTER = regex.compile(r"\X")
_ASCII_WORD = regex.compile(r"[a-z0-9]+")


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
    return _tokens(text)


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    word = ""
    for character in _CHARACTER.findall(unicodedata.normalize("NFC", text.casefold())):
        alone = _SINGLE.match(character)
        if not alone and _PART_OF_WORD.match(character):
            word += character
            continue
        found += [token for token in (word, character if alone else "") if token]
        word = ""
    return [*found, word] if word else found
