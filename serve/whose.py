"""How one request is steered: the user, their switches, the arm they are in, what was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..steering.dictionaries.steer import SteerBy
from ..steering.store.steering_store import SteeringStore
from ..steering.vectors.steering import Steering
from .holdout import Holdout
from .wire import Reason, SteeringBlock, SteeringBlockEntry, SteeringWish


@dataclass(frozen=True)
class SteeringDecision:
    """What is added for one request.

    Attributes:
        steering: The vectors; None is nothing.
        reason: Why it is nothing.
    """

    steering: Steering | None
    reason: Reason | None = None

    def block(self) -> SteeringBlock:
        """What the caller is told of it."""
        steering = self.steering
        if steering is None:
            return SteeringBlock(whose="nothing", reason=self.reason)
        pushes = steering.pushes()
        capped: bool | None = steering.bound() < 1
        if steering.cap is not None and not capped:
            capped = None  # each token's own activation decides
        strength = steering.strength
        return SteeringBlock(
            whose="own",
            picked=[
                SteeringBlockEntry(
                    id=picked.entry.sample_id,
                    key=picked.entry.key,
                    similarity=picked.similarity,
                    weight=picked.weight,
                )
                for picked in steering.picked
            ],
            strength=strength if isinstance(strength, int | float) else None,
            push={f"layer {point.layer} {point.site}": size for point, size in pushes.items()},
            push_size=math.hypot(*pushes.values()),
            capped=capped,
        )


class Whose:
    """Decides what is added for whom; ``steer_by`` alone says which vectors those are.

    Args:
        store: The users' dictionaries and switches.
        steer: From ``steer_by``, over the same store.
        holdout: Who is never steered, to compare with.
    """

    def __init__(
        self,
        store: SteeringStore,
        steer: SteerBy,
        holdout: Holdout,
    ) -> None:
        self._store = store
        self._steer = steer
        self._holdout = holdout

    def steered(self, user: str | None, query: str, wish: SteeringWish | None) -> SteeringDecision:
        """What is added for a request; reads the database, so it is no work for the event loop.

        Args:
            user: Whose request it is; None is nobody's.
            query: What the dictionary is asked about.
            wish: What the request says of its steering.

        Raises:
            TrimtabError: No proper id, or the store cannot be read.
        """
        wish = wish or SteeringWish()
        if user is None:
            return SteeringDecision(None, "nobody named")
        if self._holdout.holds(user):
            return SteeringDecision(None, "held out")
        if wish.whose == "off":
            return SteeringDecision(None, "asked off")
        found = self._store.user(user)
        if found is not None and not found.switches.factor:
            return SteeringDecision(None, "switched off")
        steering = self._steer(
            user, query, wish.before, strength=wish.strength, k=wish.k, without=wish.without
        )
        if steering is None:
            return SteeringDecision(None, "nothing kept")
        return SteeringDecision(steering)
