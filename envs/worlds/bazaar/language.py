"""Small words around the names of things."""

_PAIRS = {"headphones", "earbuds", "trousers", "shoes", "shorts", "gloves", "shears"}


def is_plural(thing: str) -> bool:
    """Whether the name ends in a single "s": "headphones", but not "French press"."""
    return thing.endswith("s") and not thing.endswith("ss")


def with_article(thing: str) -> str:
    """The thing with "a" or "an"; plural things as they are."""
    if is_plural(thing):
        return thing
    return f"an {thing}" if thing[0].lower() in "aeiou" else f"a {thing}"


def counted(noun: str) -> str:
    """The noun as one thing: "pair of headphones", "set of gel pens", "rain jacket"."""
    if not is_plural(noun):
        return noun
    return f"{'pair' if noun.split()[-1] in _PAIRS else 'set'} of {noun}"
