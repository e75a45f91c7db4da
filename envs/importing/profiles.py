"""A user's profile, from the purchases that precede their first task.

The fields are PersonalWAB's, and so are the values ``Low``, ``Medium`` and ``High``. There a
language model wrote them; here each is counted, by the rule that its function states.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, median

from ..shop.records import Product, Purchase
from .cleaning import words_of

UNKNOWN = "Unknown"
"""What a log does not show and nobody should guess."""

FOCUS_WORDS: Mapping[str, str] = {
    "Quality": "quality sturdy durable solid cheap flimsy broke made lasted",
    "Price": "price money value worth expensive cost deal bargain",
    "Ease of use": "easy easily simple convenient hard difficult use quick",
    "Comfort and fit": "comfortable fit fits size soft tight loose small large",
    "Looks": "cute beautiful pretty color colour design looks look style nice",
    "Delivery": "arrived delivery shipping fast late delivered packaging box",
    "As a gift": "gift birthday christmas present gave daughter son wife husband",
    "Taste and smell": "taste tastes delicious flavor flavour smell scent",
}
"""A review with one of these words speaks of that aspect."""

_FOCUS = {aspect: frozenset(words.split()) for aspect, words in FOCUS_WORDS.items()}
_LOW_WORDS, _HIGH_WORDS = 12, 50
_LOW_VARIETY, _HIGH_VARIETY = 0.5, 0.8
_INTERESTS, _BRANDS, _FOCUSES = 5, 10, 3


def make_profile(
    history: Sequence[Purchase], prices: Mapping[str, Sequence[float]]
) -> dict[str, str]:
    """The profile of a user whose past is ``history``, which is not empty.

    Args:
        history: What precedes the user's first task.
        prices: The prices of all products by main category, in rising order.
    """
    products = [purchase.product_info for purchase in history]
    return {
        "Gender": UNKNOWN,
        "Age": UNKNOWN,
        "Occupation": UNKNOWN,
        "Price Sensitivity": price_sensitivity(products, prices),
        "Shopping Interest": _most([shelf_of(product) for product in products], _INTERESTS),
        "Brand Preference": _most([product.store or "" for product in products], _BRANDS),
        "Diversity Preference": variety(products),
        "Interaction Complexity": wordiness(history),
        "Tone and Style": _tone(history),
        "Item Reference": _references(history),
        "Focus Aspect": _focus(history),
    }


def shelf_of(product: Product) -> str:
    """The narrowest category that is known of a product; empty if none is.

    Categories beyond three words are sales talk that got into the path.
    """
    path = (product.model_extra or {}).get("categories") or []
    narrow = [name for name in path if isinstance(name, str) and len(name.split()) <= 4]
    return narrow[-1] if narrow else product.main_category or ""


def price_sensitivity(products: Sequence[Product], prices: Mapping[str, Sequence[float]]) -> str:
    """``High`` where the user buys in the cheapest third of the categories, ``Low`` in the dearest.

    The mean over purchases of the price's rank among its category's; ``Medium`` without prices.
    """
    ranks = []
    for product in products:
        others = prices.get(product.main_category or "", ())
        if product.price is not None and others:
            below = bisect_left(others, product.price) + bisect_right(others, product.price)
            ranks.append(below / (2 * len(others)))
    if not ranks:
        return "Medium"
    return "High" if mean(ranks) < 1 / 3 else "Low" if mean(ranks) > 2 / 3 else "Medium"


def variety(products: Sequence[Product]) -> str:
    """By the share of purchases that were of another shelf or brand than all the others."""
    share = len({(shelf_of(product), product.store) for product in products}) / len(products)
    return _level(share, _LOW_VARIETY, _HIGH_VARIETY)


def wordiness(history: Sequence[Purchase]) -> str:
    """By the median number of words of a review: below 12 is ``Low``, from 50 on ``High``."""
    return _level(median(len(words_of(p.review.text)) for p in history), _LOW_WORDS, _HIGH_WORDS)


def excited(history: Sequence[Purchase]) -> bool:
    """Whether at least three in ten reviews have an exclamation mark."""
    return sum("!" in purchase.review.text for purchase in history) >= 0.3 * len(history)


def _level(value: float, low: float, high: float) -> str:
    return "Low" if value < low else "High" if value >= high else "Medium"


def _most(names: Sequence[str], limit: int) -> str:
    """The most frequent names, of equals the earlier; none are ``Unknown``."""
    counts = Counter(name for name in names if name)
    return ", ".join(name for name, _ in counts.most_common(limit)) or UNKNOWN


def _tone(history: Sequence[Purchase]) -> str:
    rating = mean(purchase.review.rating for purchase in history)
    names = ("Critical", "Balanced", "Positive", "Enthusiastic")
    tone = [names[sum(rating >= limit for limit in (2.5, 3.5, 4.5))]]
    tone.append({"Low": "brief", "Medium": "informative", "High": "detailed"}[wordiness(history)])
    return ", ".join([*tone, *(["lively"] if excited(history) else [])])


def _references(history: Sequence[Purchase]) -> str:
    """Whether the brand, or two words of the title, are in at least half of the reviews."""
    naming = 0
    for purchase in history:
        said = set(words_of(purchase.review.text))
        product = purchase.product_info
        brand = words_of(product.store or "")
        named = len(said & {word for word in words_of(product.title) if len(word) > 3})
        naming += bool(brand and said >= set(brand)) or named >= 2
    if 2 * naming >= len(history):
        return "Names products and brands in reviews"
    return "Rarely names products or brands in reviews"


def _focus(history: Sequence[Purchase]) -> str:
    said = [set(words_of(purchase.review.text)) for purchase in history]
    named = [focus for words in said for focus, signs in _FOCUS.items() if words & signs]
    return _most(named, _FOCUSES)
