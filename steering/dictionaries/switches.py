"""What users have set for themselves: steered or not, weaker or stronger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .dictionary import SteeringDictionary

MAX_STRENGTH = 2.0
"""The most that a user's own strength factor may be."""


@dataclass(frozen=True)
class Switches:
    """What a user has set for themselves.

    Attributes:
        enabled: Whether the user is steered at all.
        strength: What every strength is multiplied with, from 0 to ``MAX_STRENGTH``; 1 is as the
            settings say.
    """

    enabled: bool = True
    strength: float = 1.0

    @property
    def factor(self) -> float:
        """What every strength is multiplied with; 0 where the user is not steered."""
        return self.strength if self.enabled else 0.0


@dataclass(frozen=True)
class KnownUser:
    """A user as a store has them at one moment.

    Attributes:
        dictionary: The caller's own; None where the user has none.
        switches: What the user has set.
        version: Changes with every write to the user.
    """

    dictionary: SteeringDictionary | None
    switches: Switches
    version: int


@runtime_checkable
class KeepsSwitches(Protocol):
    """What keeps users' switches beside their dictionaries, such as a ``SteeringStore``."""

    def user(self, user_id: str) -> KnownUser | None:
        """Dictionary and switches at one moment; None where nothing is kept of the user."""
        ...


def known_user(
    dictionaries: Mapping[str, SteeringDictionary], user_id: str
) -> tuple[SteeringDictionary | None, Switches]:
    """A user's dictionary, if there is one, and switches, which only a store keeps."""
    if isinstance(dictionaries, KeepsSwitches):
        known = dictionaries.user(user_id)
        return (None, Switches()) if known is None else (known.dictionary, known.switches)
    return dictionaries.get(user_id), Switches()
