"""How one request is steered: the user, their switches, the arm they are in, what was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..steering.dictionaries.steer import SteerBy
from ..steering.store.steering_store import SteeringStore
from ..steering.store.trained import TrainedSteer
from ..steering.vectors.steering import Steering
from .holdout import Holdout
from .wire import Reason, SteeringBlock, SteeringBlockEntry, SteeringWish


@dataclass(frozen=True)
class SteeringDecision:
    """What is added for one request.

    Attributes:
        steering: The vectors, and the interventions under them; None is nothing.
        reason: Why it is nothing.
        shared: How many of the interventions everybody gets.
    """

    steering: Steering | None
    reason: Reason | None = None
    shared: int = 0

    def block(self) -> SteeringBlock:
        """What the caller is told of it."""
        steering = self.steering
        if steering is None:
            return SteeringBlock(whose="nothing", reason=self.reason)
        pushes = steering.pushes()
        capped: bool | None = steering.bound() < 1
        if steering.cap is not None and not capped:
            capped = None  # each token's own activation decides
        strength = steering.strength if steering.vectors.values else None
        own = bool(steering.vectors.values) or len(steering.stages) > self.shared
        return SteeringBlock(
            whose="own" if own else "shared",
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
            trained=len(steering.stages),
        )


class Whose:
    """Decides what is added for whom.

    ``steer_by`` alone says which vectors those are, and ``TrainedSteer`` what lies under them.

    Args:
        store: The users' dictionaries and switches.
        steer: From ``steer_by``, over the same store.
        holdout: Who is never steered, to compare with.
        trained: What was trained for users, over the same store; None is nothing.
    """

    def __init__(
        self,
        store: SteeringStore,
        steer: SteerBy,
        holdout: Holdout,
        trained: TrainedSteer | None = None,
    ) -> None:
        self._store = store
        self._steer = steer
        self._holdout = holdout
        self._trained = trained

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
        if self._trained is not None:
            steering = self._trained.added(user, steering)
        if steering is None:
            return SteeringDecision(None, "nothing kept")
        shared = len(self._trained.shared) if self._trained is not None else 0
        return SteeringDecision(steering, shared=shared)
