"""What every user is: someone who hears what the agent says, and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...tools.shop.toolkit import RESPOND
from .user_goal import UserGoal


@dataclass(frozen=True)
class Reply:
    """What a user answers.

    Attributes:
        text: The user's words.
        leaves: The user ends the conversation with them.
    """

    text: str
    leaves: bool = False


@dataclass(frozen=True)
class Conversation:
    """What a user has heard and said so far; the agent's tool calls are not heard.

    Attributes:
        user_goal: What the user came for; None where nobody said.
        request: The user's first words.
        heard: What the agent said, in order; the last is to be answered.
        answered: What the user said to each but the last.
    """

    user_goal: UserGoal | None
    request: str
    heard: tuple[str, ...]
    answered: tuple[str, ...]

    @classmethod
    def of(
        cls, user_goal: UserGoal | None, request: str, steps: Sequence[Mapping[str, Any]]
    ) -> Conversation:
        """The conversation that an episode's step records hold."""
        said = [
            step
            for step in steps
            if step["error"] is None and step["call"] and step["call"]["name"] == RESPOND
        ]
        return cls(
            user_goal=user_goal,
            request=request,
            heard=tuple(str(step["value"]) for step in said),
            answered=tuple(step["reply"] for step in said[:-1]),
        )

    def messages(self, greeting: str) -> list[dict[str, str]]:
        """As chat messages from the user's side: the agent is the one who is answered.

        Args:
            greeting: What the agent is taken to have opened with; chat templates let the other
                side begin.
        """
        others = [greeting, *self.heard]
        own = [self.request, *self.answered]
        turns: list[dict[str, str]] = []
        for number, other in enumerate(others):
            turns.append({"role": "user", "content": other})
            if number < len(own):
                turns.append({"role": "assistant", "content": own[number]})
        return turns


class User(Protocol):
    """Someone whom an agent can talk to.

    A user keeps nothing between two answers: all that one goes by is in the conversation, so that
    an episode that is resumed goes on as it would have. Another kind of user is another class
    with this method.
    """

    def answer(self, conversation: Conversation) -> Reply:
        """Answer what the agent said last.

        Raises:
            TrimtabError: The machinery failed; the episode is broken off and not scored.
        """
        ...
