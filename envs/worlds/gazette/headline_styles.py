"""How the gazette's authors write headlines: a fingerprint for each, and what it makes of facts."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .beats import Story, third

Form = Literal["statement", "question", "number", "first person", "second person"]
Case = Literal["title", "sentence", "lower"]
Length = Literal["short", "medium", "long"]

FORMS: Mapping[Form, tuple[str, ...]] = {
    "statement": (
        "{actor} {adverb}{verbs} {thing}",
        "how the {actor} {adverb}{verbs} {thing}",
        "{actor} says it is time to {adverb}{verb} {thing}",
        "no more doubt, {actor} {adverb}{verbs} {thing}",
    ),
    "question": (
        "why would the {actor} {adverb}{verb} {thing}?",
        "can the {actor} {adverb}{effect}?",
        "is it wise to {adverb}{verb} {thing}?",
        "what happens when the {actor} {adverb}{verbs} {thing}?",
        "who asked the {actor} to {adverb}{verb} {thing}?",
        "will it {adverb}{effect}?",
    ),
    "number": (
        "{count} {counted} that {adverb}tell us about the {actor}",
        "{count} reasons to {adverb}{verb} {thing}",
        "{count} {counted}, one {adjective}{actor}",
        "{count} ways to {adverb}{effect}",
    ),
    "first person": (
        "why I {adverb}want to {verb} {thing}",
        "what the {actor} {adverb}taught me",
        "I was wrong about the {adjective}{actor}",
        "my {adjective}day with the {actor}",
    ),
    "second person": (
        "what the {adjective}{actor} means for you",
        "how you can {adverb}{effect}",
        "you should {adverb}{verb} {thing}, too",
        "your {adjective}guide to {counted}",
    ),
}
"""Ways to put a story, by form; ``{adverb}`` and ``{adjective}`` take the author's pet words."""
ADVERBS = (
    "finally", "quietly", "really", "boldly", "actually", "simply", "at last", "secretly", "gladly",
    "stubbornly", "suddenly", "proudly",
)  # fmt: skip
ADJECTIVES = (
    "humble", "brave", "curious", "unlikely", "tiny", "grumpy", "forgotten", "glorious", "perfect",
    "messy", "honest", "wild",
)  # fmt: skip
_SMALL = {"a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to"}
_FORM_WEIGHTS: Mapping[Form, int] = {
    "statement": 4,
    "question": 4,
    "number": 3,
    "first person": 2,
    "second person": 2,
}


@dataclass(frozen=True)
class HeadlineStyle:
    """An author's fingerprint.

    Attributes:
        form: The form of most headlines.
        other_form: That of the others.
        ways: The templates of each of the two forms that this author uses.
        colon: What stands before a colon: the "beat" or the "place" of the story, or nothing.
        adverb: A pet word before verbs.
        adjective: A pet word before nouns.
        length: "medium" adds the place, "long" the place and what it is for.
        case: Capitals.
        end: What stands after every headline that is no question.
    """

    form: Form
    other_form: Form
    ways: Mapping[Form, tuple[str, ...]]
    colon: Literal["beat", "place", ""]
    adverb: str
    adjective: str
    length: Length
    case: Case
    end: str

    @classmethod
    def draw(cls, rng: random.Random) -> "HeadlineStyle":
        """A style at random."""
        forms = list(_FORM_WEIGHTS)
        form = rng.choices(forms, list(_FORM_WEIGHTS.values()))[0]
        other_form = rng.choice([other for other in forms if other != form])
        return cls(
            form=form,
            other_form=other_form,
            ways={each: tuple(rng.sample(FORMS[each], k=2)) for each in (form, other_form)},
            colon=rng.choices(("", "beat", "place"), (5, 3, 2))[0],
            adverb=rng.choice(ADVERBS),
            adjective=rng.choice(ADJECTIVES),
            length=rng.choices(("short", "medium", "long"), (4, 3, 3))[0],
            case=rng.choices(("title", "sentence", "lower"), (5, 4, 1))[0],
            end=rng.choices(("", "!", " ..."), (7, 2, 1))[0],
        )


def write_headline(rng: random.Random, story: Story, style: HeadlineStyle, habit: float) -> str:
    """A headline: what it says is the story's, how it says it the author's.

    Args:
        rng: Where chance comes from.
        story: The facts.
        style: The author's fingerprint.
        habit: How often each habit is followed; where one is not, it is left out, and a form that
            is not the usual one is the author's other.
    """

    def follows() -> bool:
        return rng.random() < habit

    form = style.form if follows() else style.other_form
    adverb = f"{style.adverb} " if follows() else ""
    adjective = f"{style.adjective} " if follows() else ""
    words = rng.choice(style.ways[form]).format(
        actor=story.actor,
        verb=story.verb,
        verbs=third(story.verb),
        thing=story.thing,
        effect=story.effect,
        count=story.count,
        counted=story.counted,
        adverb=adverb,
        adjective=adjective,
    )
    asks = words.endswith("?")
    words = words.removesuffix("?")
    if style.length != "short" and style.colon != "place" and follows():
        words = f"{words} in {story.place}"
    if style.length == "long" and story.effect not in words and follows():
        words = f"{words} to {story.effect}"
    if style.colon and follows():
        words = f"{getattr(story, style.colon)}: {words}"
    end = "?" if asks else style.end if follows() else ""
    return _in_case(words, style.case) + end


def _in_case(words: str, case: Case) -> str:
    if case == "lower":
        return words.lower()
    if case == "title":
        parts = words.split()
        return " ".join(
            word if number and word.lower() in _SMALL else word[0].upper() + word[1:]
            for number, word in enumerate(parts)
        )
    return words[0].upper() + words[1:]
