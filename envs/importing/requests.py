"""What a user would say to have a purchase found, recommended or reviewed.

A request uses what the person knows at that time and no more: the kind of product and one word
about it, what they would spend, and after the purchase its title and how they liked it. A search
never has the product's id or rating, nor its title as it stands. A brand that the user has bought
before is left out of a search, so that only the history tells it; any other is named half the
time, and always where nothing else sets the product apart.

Every user keeps to a manner, drawn by seed and by how they write: few words or many, an opening,
a closing, capitals, exclamation marks.
"""

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..shop.records import Product, Purchase, TaskType
from .cleaning import words_of
from .profiles import excited, shelf_of, wordiness

PHRASES: Mapping[TaskType, Mapping[str, tuple[str, ...]]] = {
    "search": {
        "Low": ("find {thing}", "looking for {thing}", "search for {thing}", "need {thing}"),
        "Medium": (
            "I am looking for {thing}",
            "can you search for {thing}",
            "please find me {thing}",
            "I would like to find {thing}",
        ),
        "High": (
            "I have been thinking of getting {thing}, could you search the shop for it",
            "could you have a look at what the shop has, I need {thing}",
            "I do not know what it is called exactly, but please search for {thing}",
        ),
    },
    "recommend": {
        "Low": ("recommend me something{shelf}", "any suggestions{shelf}", "what next{shelf}"),
        "Medium": (
            "what would you recommend to me{shelf}",
            "can you suggest something that suits me{shelf}",
            "going by what I bought before, what should I get next{shelf}",
        ),
        "High": (
            "I have no particular product in mind, but I would like to buy something{shelf} again, "
            "what would you recommend to someone like me",
            "you know what I have bought so far, could you suggest something new that I would "
            "like{shelf}",
        ),
    },
    "review": {
        "Low": ("review {product}, {verdict}", "write my review of {product}, {verdict}"),
        "Medium": (
            "please write a review of {product} for me, {verdict}",
            "I want to review {product}, {verdict}",
        ),
        "High": (
            "I have had {product} for a while now, could you write a review for me, {verdict}",
            "it is time that I review {product}, please write it the way I would, {verdict}",
        ),
    },
}
VERDICTS = (
    (1.5, ("I regret buying it", "it was a disappointment")),
    (2.5, ("I am not happy with it", "it is not what I hoped for")),
    (3.5, ("it is all right", "it is so-so")),
    (4.5, ("I quite like it", "it is good")),
    (float("inf"), ("I love it", "I am very happy with it")),
)
_OPENINGS = ("", "", "", "hi", "hello", "hey")
_CLOSINGS = ("", "", "", "thanks", "thank you", "please")
_SMALL_WORDS = (
    "a an and the of for with in on by to from or at your my our new set pack count pcs piece "
    "pieces size color style version edition inch inches oz lb ct vol pk no various com inc ltd "
    "asin configuration"
)
_STOP = frozenset(_SMALL_WORDS.split())
_WORD = re.compile(r"[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*")
# What follows one of these in a title says more of the product than what kind it is.
_KIND_ENDS = re.compile(r"\s[-–|:]\s|[,(\[;|:/]|\b(?:with|for|in|of|by|from|to|and|w)\b", re.I)
_ROUND = (5, 10, 20, 25, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10000)
_LONGEST_SHELF = 40
_TITLE_CHARACTERS = 80


@dataclass(frozen=True)
class InferredManner:
    """How a user wraps every request."""

    wordiness: str
    opening: str
    closing: str
    lower_case: bool
    excited: bool

    @classmethod
    def of(cls, history: Sequence[Purchase], rng: random.Random) -> "InferredManner":
        """By how the user's reviews are written; openings and closings are drawn."""
        texts = [p.review.text for p in history if p.review.text]
        lower = sum(text[0].islower() for text in texts)
        return cls(
            wordiness(history),
            rng.choice(_OPENINGS),
            rng.choice(_CLOSINGS),
            2 * lower > len(texts),
            excited(history),
        )

    def say(self, core: str) -> str:
        """The core of a request as this user says it."""
        end = "!" if self.excited else "."
        parts = [part for part in (self.opening, core, self.closing) if part]
        text = ", ".join(parts)
        return text if self.lower_case else text[:1].upper() + text[1:] + end


def search_request(
    product: Product, manner: InferredManner, bought_brands: Collection[str], rng: random.Random
) -> str:
    """Ask for a product by its kind, a word more, perhaps its brand and what it may cost."""
    may_name = (product.store or "") not in bought_brands
    name_brand = rng.random() < 0.5 and may_name
    name_price = rng.random() < 0.5
    said = _thing(product, name_brand=name_brand, may_name=may_name, rng=rng)
    if name_price and product.price is not None and product.price < _ROUND[-1]:
        said += f", under ${next(limit for limit in _ROUND if limit > product.price)}"
    return manner.say(rng.choice(PHRASES["search"][manner.wordiness]).format(thing=said))


def recommend_request(product: Product, manner: InferredManner, rng: random.Random) -> str:
    """Ask for a recommendation, half the time from the product's category."""
    shelf = shelf_of(product)
    named = rng.random() < 0.5 and 0 < len(shelf) <= _LONGEST_SHELF
    words = words_of(product.title)
    given = named and words == words_of(shelf)
    phrase = rng.choice(PHRASES["recommend"][manner.wordiness])
    return manner.say(phrase.format(shelf=f" in {shelf}" if named and not given else ""))


def review_request(purchase: Purchase, manner: InferredManner, rng: random.Random) -> str:
    """Ask for a review of a product that the user has, by its title, and say how it was liked."""
    title = purchase.product_info.title
    if len(title) > _TITLE_CHARACTERS:
        title = title[: _TITLE_CHARACTERS + 1].rsplit(" ", 1)[0].rstrip(" ,;:-([")
    named = title if title.lower().startswith(("the ", "my ")) else f"the {title}"
    verdict = next(words for limit, words in VERDICTS if purchase.review.rating < limit)
    phrase = rng.choice(PHRASES["review"][manner.wordiness])
    return manner.say(phrase.format(product=named, verdict=rng.choice(verdict)))


def _thing(product: Product, *, name_brand: bool, may_name: bool, rng: random.Random) -> str:
    """The kind of product, a word more of its title, its brand; never the title as it stands."""
    kind = _kind(product)
    known = {*kind, *words_of(product.store or "")}
    others = [w for w in dict.fromkeys(_plain(product.title)) if not known & {w, *words_of(w)}]
    detail = rng.choice(others) if others else ""
    brand = f" from {product.store}" if product.store else ""
    if not (name_brand or (may_name and not detail)):
        brand = ""
    tries = []
    for words in (kind, kind[-1:]):
        text = _with_article(" ".join(words)) if words else ""
        tries += [f"{text}{brand}, {detail} if possible"] if text and detail else []
        tries += [f"{text}{brand}", text] if text else []
    shelf = shelf_of(product)
    if 0 < len(shelf) <= _LONGEST_SHELF:
        tries.append(f"something in {shelf}")
    title = f" {' '.join(words_of(product.title))} "
    allowed = (text for text in tries if title not in f" {' '.join(words_of(text))} ")
    return next(allowed, "something that I have seen in the shop")


def _kind(product: Product) -> list[str]:
    """What kind of product it is: the last two plain words of the title's first part.

    Without such words, those of its shelf.
    """
    title, brand = product.title, set(words_of(product.store or ""))
    if product.store and title.lower().startswith(product.store.lower()):
        title = title[len(product.store) :]
    parts = ([w for w in _plain(part) if w not in brand] for part in _KIND_ENDS.split(title))
    return (next((part for part in parts if part), None) or _plain(shelf_of(product)))[-2:]


def _plain(text: str) -> list[str]:
    """The words that one says: of three letters or more, no numbers, models or small words."""
    found = (word.lower() for word in _WORD.findall(text) if not _in_a_model(word, text))
    return [word for word in found if len(word) > 2 and word not in _STOP]


def _in_a_model(word: str, text: str) -> bool:
    """Whether the word is the letters of something with digits in it, such as ``K380``."""
    return re.search(rf"\d{re.escape(word)}|{re.escape(word)}-?\d", text) is not None


def _with_article(words: str) -> str:
    if words.endswith("s") and not words.endswith("ss"):
        return f"some {words}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
