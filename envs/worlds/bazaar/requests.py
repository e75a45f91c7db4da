"""How users of the bazaar ask: plainly, or in an idiom whose meaning only their past tells."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from ...shop.records import TaskType
from .idioms import IDIOMS
from .items import CatalogueItem
from .language import with_article
from .shelves import SHELVES

PLAIN: Mapping[TaskType, tuple[str, ...]] = {
    "search": (
        "search the shop for {a}",
        "please run a search for {a}",
        "look up {a} in the catalog for me",
        "do a product search for {a}",
        "search the listings, I need to find {a}",
        "find {a} with the search, please",
    ),
    "recommend": (
        "recommend me something that I would like next",
        "what would you recommend for me, going by what I bought before",
        "suggest my next purchase, maybe {a}",
        "please recommend me something from {shelf}",
        "any recommendations for me in {shelf}",
        "based on my past purchases, suggest something from {shelf}",
    ),
    "review": (
        "write a review of the {product} that I bought",
        "post a review for my {product}",
        "please add my review of the {product}",
        "put up a review of the {product} from me",
        "leave a product review for the {product} I got",
        "I want to review the {product}, write it for me",
    ),
}
_VERDICTS = {
    1: ("I regret buying it", "it was a waste of money"),
    2: ("I was let down by it", "it is not what I hoped for"),
    3: ("it is all right", "it is so-so"),
    4: ("I quite like it", "it is good"),
    5: ("I love it", "it is superb"),
}
_OPENINGS = ("", "", "hi", "hey", "hello there", "ok", "right then", "morning")
_CLOSINGS = ("", "", "thanks", "cheers", "ta", "much obliged", "thank you")
_ENDS = (".", "", "!", " ...")


@dataclass(frozen=True)
class Manner:
    """How a user wraps every request, whatever it asks for."""

    opening: str
    closing: str
    end: str
    lower_case: bool

    @classmethod
    def draw(cls, rng: random.Random) -> "Manner":
        """A manner at random."""
        return cls(
            rng.choice(_OPENINGS), rng.choice(_CLOSINGS), rng.choice(_ENDS), rng.random() < 0.3
        )

    def wrap(self, rng: random.Random, words: str) -> str:
        """The request as it is typed; opening and closing are left out half of the time."""
        opening = self.opening if rng.random() < 0.5 else ""
        closing = self.closing if rng.random() < 0.5 else ""
        text = f"{opening}, {words}" if opening else words
        text = f"{text}, {closing}" if closing else text
        if not self.lower_case:
            text = text[0].upper() + text[1:]
        return text + self.end


def describe_thing(rng: random.Random, item: CatalogueItem) -> str:
    """What a request says of its target, whatever its type: one or two features and the noun."""
    features = rng.sample(item.features, k=rng.choice((1, 1, 2)))
    return f"{', '.join(features)} {item.noun}"


def ambiguous_request(rng: random.Random, idiom: int, item: CatalogueItem, manner: Manner) -> str:
    """A request in the idiom; nothing but the idiom can tell what type it is."""
    thing = describe_thing(rng, item)
    words = rng.choice(IDIOMS[idiom]).format(a=with_article(thing), bare=thing)
    return manner.wrap(rng, words)


def idiom_of(request: str) -> int | None:
    """The idiom that a request is worded in, whatever it asks for; None where it is plain."""
    said = request.lower()
    for number, wordings in enumerate(IDIOMS):
        for wording in wordings:
            around = wording.lower().replace("{bare}", "{a}").split("{a}")
            if all(part.strip(" ,:") in said for part in around):
                return number
    return None


def plain_request(
    rng: random.Random,
    template: str,
    item: CatalogueItem,
    manner: Manner,
    rating: int | None = None,
) -> str:
    """A request in a template of ``PLAIN``; it may say how the product was where rated, 1 to 5."""
    thing = describe_thing(rng, item)
    words = template.format(
        a=with_article(thing), shelf=SHELVES[item.shelf].name, product=item.short_name
    )
    if rating and rng.random() < 0.6:
        words = f"{words}: {rng.choice(_VERDICTS[rating])}"
    return manner.wrap(rng, words)
