r"""The words of a text in any script, for whoever counts or compares them.

Python's ``\w+`` leaves out combining marks, so that a Hindi word falls into pieces, and takes a
whole line of Chinese, Japanese or Thai for one word. Here a word is

- a run of letters, their marks and digits of any script, in lower case; punctuation ends it;
- one character (an extended grapheme cluster, UAX #29) of a script that is written without spaces
  between words, as the CJK evaluations of ROUGE and BLEU do it;
- one emoji, or any other symbol that ASCII does not have.
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


def words_of(text: str) -> list[str]:
    """The words of a text, in order.

    Letters that Unicode can write in two ways, such as "é", are one.

    Example:
        >>> words_of("¡Está aquí!")
        ['está', 'aquí']
        >>> words_of("安静的海 😂")
        ['安', '静', '的', '海', '😂']
    """
    words: list[str] = []
    word = ""
    for character in _CHARACTER.findall(unicodedata.normalize("NFC", text.casefold())):
        alone = _SINGLE.match(character)
        if not alone and _PART_OF_WORD.match(character):
            word += character
            continue
        words += [token for token in (word, character if alone else "") if token]
        word = ""
    return [*words, word] if word else words
