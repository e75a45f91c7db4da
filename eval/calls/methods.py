"""How function calls are decoded, as methods: nothing of a user is in them, as cases have none.

Steered by the dictionary of a user who has nothing to do with a case, they show what steering costs
where it is not wanted.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from ..methods.method import Treatment

if TYPE_CHECKING:
    from torch import Tensor

    from ...steering.dictionaries.steer import Steer
    from ...steering.vectors.steering import Steering
    from ..methods.method import Decode, Method, PreparedUsers, Treat
    from ..methods.registry import Known


@dataclass(frozen=True)
class Free:
    """No grammar: whatever calls can be read in the answer.

    Attributes:
        store: A store of users' dictionaries: each case is steered by a user's who is drawn from
            it, as the shop is. Empty steers nothing.
    """

    name: ClassVar[str] = "free"
    decode: ClassVar[Decode] = "free"

    store: str = ""

    def prepare(self, users: PreparedUsers) -> Treat:
        """Open the store, if there is one.

        Raises:
            TrimtabError: It holds nobody's dictionary, or those of another model.
        """
        steer = steer_by_drawn_users(self.store, users) if self.store else None
        return lambda sample: Treatment(decode=self.decode, steer=steer)

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}


@dataclass(frozen=True)
class Constrained(Free):
    """One call that fits its tool's schema; in categories of parallel calls up to 8."""

    name: ClassVar[str] = "constrained"
    decode: ClassVar[Decode] = "constrained"


@dataclass(frozen=True)
class Auto(Free):
    """Text or calls as the model likes, calls held to their schemas."""

    name: ClassVar[str] = "auto"
    decode: ClassVar[Decode] = "auto"


def steer_by_drawn_users(uri: str, users: PreparedUsers) -> Steer:
    """Steer every case by the dictionary of a user drawn for it, at the shop's settings.

    Raises:
        TrimtabError: The store holds nobody's dictionary, or those of another model.
    """
    from ...agent.shop.settings import TOOL_CHOICE
    from ...steering.dictionaries.steer import steer_by
    from ...steering.store.steering_store import SteeringStore

    store = SteeringStore(uri, model=users.model, audit_reads=False, existing=True)
    owners = sorted(store)
    if not owners:
        raise TrimtabError(f"the store {uri} holds nobody's dictionary to steer by")
    steer = steer_by(store, TOOL_CHOICE, model=users.model)

    def steered(user: str, query: str | Tensor, before: int | None = None) -> Steering | None:
        # Every case is a user of its own.
        return steer(random.Random(f"{users.seed}/{user}").choice(owners), query)

    return steered


CALL_METHODS: Known = {made.name: made for made in (Free, Constrained, Auto)}
"""The ways to decode calls by name."""
