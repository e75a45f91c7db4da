"""A person: the graph stops where they are to speak, and resumes with what they said."""

from __future__ import annotations

from dataclasses import dataclass

from .conversation import Conversation, Reply

LEAVE = "/quit"
"""Said alone, this ends the conversation."""


@dataclass(frozen=True)
class HumanUser:
    """A person who answers through a LangGraph interrupt.

    The graph needs a checkpointer. It stops with what the agent said as the interrupt's value;
    ``agent.invoke(Command(resume="my answer"), config)`` goes on.
    """

    def answer(self, conversation: Conversation) -> Reply:
        """What the person said; the first time, this interrupts the graph."""
        from langgraph.types import interrupt

        text = str(interrupt(conversation.heard[-1])).strip()
        return Reply("", leaves=True) if text == LEAVE else Reply(text)
