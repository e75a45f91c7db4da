"""A user who follows a script, made from the persona and the target; the same words every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .conversation import Conversation, Reply
from .user_goal import UserGoal

_PURPOSE = {
    "search": "Please search the shop for it.",
    "recommend": "Please recommend me something that goes with what I bought before.",
    "review": "Please write and post a review for me.",
}
_FOUND = "Yes, that is the one. Thank you, that is all."
_NOTHING_MORE = "That is all I can tell you. Please do what you can with it."
_TALKATIVE = "High"
_FEATURE_WORDS = 8


@dataclass(frozen=True)
class ScriptedUser:
    """Answers with one clue after the other: what is to be done, the kind, features, price, brand.

    As PersonalWAB's simulated users, it never names the product that it is looking for; it knows
    it when the agent names it. A user whose profile has a high interaction complexity gives two
    clues at a time.
    """

    def answer(self, conversation: Conversation) -> Reply:
        """The next clue."""
        user_goal = conversation.user_goal
        if user_goal is None:
            return Reply(_NOTHING_MORE)
        if user_goal.type != "review" and _names(conversation.heard[-1], user_goal):
            return Reply(_FOUND)
        each = 2 if user_goal.persona.get("Interaction Complexity") == _TALKATIVE else 1
        # Answers to a named product took no clue.
        spent = each * sum(answer != _FOUND for answer in conversation.answered)
        given = list(clues(user_goal))[spent : spent + each]
        return Reply(" ".join(given) or _NOTHING_MORE)


def clues(user_goal: UserGoal) -> Iterator[str]:
    """What such a user can tell, in the order in which it is told."""
    purpose = _PURPOSE.get(user_goal.type)
    if purpose:
        yield purpose
    if user_goal.type == "review":
        yield f"It is about {user_goal.title}."
        if user_goal.rating is not None:
            yield f"I give it {user_goal.rating:g} of 5 stars."
        focus = user_goal.persona.get("Focus Aspect")
        if focus:
            yield f"What matters to me: {focus}."
        return
    if user_goal.category:
        yield f"I am looking for something in {user_goal.category}."
    for feature in user_goal.features[:2]:
        yield f"It should have this: {_short(feature)}."
    if user_goal.price is not None:
        yield f"I would spend up to {_rounded_up(user_goal.price)} dollars."
    brands = user_goal.persona.get("Brand Preference")
    if brands:
        yield f"I like these brands: {brands}."


def _names(said: str, user_goal: UserGoal) -> bool:
    return any(name and name.lower() in said.lower() for name in (user_goal.asin, user_goal.title))


def _short(feature: str) -> str:
    """A feature's first words, or what it has before a colon."""
    head = feature.partition(":")[0].lower() if ":" in feature[:40] else feature
    return " ".join(head.split()[:_FEATURE_WORDS]).rstrip(".,;")


def _rounded_up(price: float) -> int:
    """To the next ten."""
    return int(-(-price // 10) * 10) or 10
