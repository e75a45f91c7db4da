"""A text's key phrases, by a fixed rule and without a model.

Runs of words between function words and punctuation are candidates; a word's score is its degree
over its frequency, and a phrase's is the sum of its words' (RAKE: Rose et al., "Automatic Keyword
Extraction from Individual Documents", 2010).
"""

import re
from collections import Counter

_LONGEST = 3
_PIECES = re.compile(r"[^\w\s'-]+")
_WORD = re.compile(r"[^\W\d_](?:[\w'-]*\w)?")
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
    a about above achieve achieved achieves across address addressed addresses after again
    against aim all allow allows almost along already also although always am among an analyze
    analyzed analyzes and any applied applies apply are article as ask at available background
    based be became because become been before being below between both but by came can cannot
    clear collect come comes compare compared compares concept consider considered considers
    constructed could cover covered covers demonstrate demonstrated demonstrates develop
    developed develops did different do does doing done down drawn due during each either
    estimate evaluate evaluated evaluates even every evidence examine examined far few first for
    from further furthermore future gets give given gives goal had has have having he hard hence her
    here him his hope how however i if important improve improved improves in increased
    increases increasing into introduce introduced introduces is isolate isolated isolates it
    its itself just known large less let like limit look made main make makes many margin matter
    matters may means measure might more moreover most much must my near need nevertheless new
    no nor not novel now obtain obtained of off often on once one only or other others our out
    over own paper part per percent perform performance performed performs present presented
    presents propose proposed proposes provide provided provides rather real remains repeat
    repeated results same second several shall she should show showed shown shows since so some
    still studied studies study studying such suggest suggests take taken takes taking than that
    the their them then there therefore these they third this those though three through thus to
    together too total two under understand until up upon use used using various very via was we
    well were what when where whereas whether which while who whose why will with within without
    work would yet you your
    """,
    )
)


def keyphrases(text: str, count: int) -> list[str]:
    """The best phrases, of at most three words, in the order in which the text has them.

    Args:
        text: English.
        count: At most this many.

    Example:
        >>> keyphrases("We present a sparse solver for linear systems.", 2)
        ['sparse solver', 'linear systems']
    """
    phrases = _candidates(text)
    if not phrases:
        return []
    frequency = Counter(word for phrase in phrases for word in phrase)
    degree: Counter[str] = Counter()
    for phrase in phrases:
        for word in phrase:
            degree[word] += len(phrase)
    places: dict[tuple[str, ...], int] = {}
    for place, phrase in enumerate(phrases):
        places.setdefault(phrase, place)

    def score(phrase: tuple[str, ...]) -> float:
        return sum(degree[word] / frequency[word] for word in phrase)

    # A phrase that comes again is more telling than a long one that does not.
    repeats = Counter(phrases)
    best = sorted(places, key=lambda phrase: (-repeats[phrase], -score(phrase), places[phrase]))
    return [" ".join(phrase) for phrase in sorted(best[:count], key=places.__getitem__)]


def _candidates(text: str) -> list[tuple[str, ...]]:
    phrases = []
    for piece in _PIECES.split(text.lower()):
        run: list[str] = []
        for word in [*piece.split(), ""]:
            if is_telling(word):
                run.append(word)
                continue
            if 0 < len(run) <= _LONGEST:
                phrases.append(tuple(run))
            run = []
    return phrases


def is_telling(word: str) -> bool:
    """Whether a word may stand in a phrase; adverbs in "-ly" tell nothing of the matter."""
    if not _WORD.fullmatch(word) or len(word) < 3 or word.endswith("ly"):
        return False
    return word not in _FUNCTION_WORDS
