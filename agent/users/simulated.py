"""A user played by a local model that has the persona and the target in its prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .conversation import Conversation, Reply
from .persona import MAX_TOKENS, STOP, spoken, user_messages

if TYPE_CHECKING:
    from ...steering.generation.requests import Generates


@dataclass(frozen=True)
class SimulatedUser:
    """A user played by a ``SteeredModel``, unsteered.

    With a ``BatchedModel`` the users' answers are made in common batches, with the agents' steps
    where it is the same model.

    Attributes:
        model: Anything with a ``SteeredModel``'s ``generate``.
        temperature: Of sampling; 0 is greedy, and makes an episode repeatable.
        seed: Of sampling.
    """

    model: Generates
    temperature: float = 0.0
    seed: int = 0

    def answer(self, conversation: Conversation) -> Reply:
        """What the model says in the user's place."""
        from ...steering.generation.requests import Request

        [completion] = self.model.generate(
            [Request(messages=user_messages(conversation))],
            max_new_tokens=MAX_TOKENS,
            temperature=self.temperature,
            seed=self.seed,
            stop=(STOP,),
        )
        return Reply(spoken(completion.text))
