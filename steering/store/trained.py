"""Users steered by the interventions that were trained for them, kept in a store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..vectors.low_rank import Stage, packed, unpacked
from ..vectors.steering import Steering

if TYPE_CHECKING:
    from torch import Tensor

    from ..dictionaries.steer import Steer
    from .steering_store import SteeringStore

_REMEMBERED = 1000  # users whose stages are held ready


def keep_stages(
    store: SteeringStore, user_id: str, name: str, stages: Sequence[Stage], *, fingerprint: str
) -> None:
    """Keep what was trained for a user in a store, beside their entries.

    Args:
        store: The store.
        user_id: Whose.
        name: What it is called, such as ``perfit``.
        stages: In the order in which they are applied.
        fingerprint: Of the model that they were trained for.

    Raises:
        TrimtabError: As for ``SteeringStore.put_intervention``.
    """
    store.put_intervention(user_id, name, *packed(stages, fingerprint=fingerprint))


def kept_stages(
    store: SteeringStore, user_id: str, name: str, *, fingerprint: str | None = None
) -> tuple[Stage, ...]:
    """What ``keep_stages`` kept; nothing where there is none of that name.

    Raises:
        TrimtabError: It was trained for another model, or as for ``SteeringStore.intervention``.
    """
    stage = store.intervention(user_id, name)
    if stage is None:
        return ()
    what = f"the intervention {name!r} of {user_id!r}"
    return unpacked(stage.tensors, stage.meta, what, fingerprint=fingerprint)


class TrainedSteer:
    """Steers each user by the stages that a store keeps under a name; a ``Steer``.

    A user who is switched off is not steered. What a user has set for the strength is about
    vectors: a trained intervention is applied as it was trained, or not at all.

    Args:
        store: The store.
        name: The stages' name, such as ``perfit``; None applies the shared ones alone.
        shared: Stages that everybody gets first, such as a collective one.
        steer: Whose vectors lie on top; None adds none.
        fingerprint: Of the model; None checks nothing.

    Attributes:
        shared: As given.
    """

    def __init__(
        self,
        store: SteeringStore,
        name: str | None,
        *,
        shared: Sequence[Stage] = (),
        steer: Steer | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self._store = store
        self._name = name
        self.shared = tuple(shared)
        self._steer = steer
        self._fingerprint = fingerprint
        self._known: dict[str, tuple[int, tuple[Stage, ...]]] = {}
        self._lock = threading.Lock()

    def __call__(
        self, user: str, query: str | Tensor, before: int | None = None
    ) -> Steering | None:
        """What is applied and added for one request; see ``Steer``.

        Raises:
            TrimtabError: The user's stages are another model's, or the store cannot be read.
        """
        return self.added(user, self._steer(user, query, before) if self._steer else None)

    def added(self, user: str, vectors: Steering | None) -> Steering | None:
        """What is applied for a user, with these vectors on top of it.

        Raises:
            TrimtabError: As for a call.
        """
        known = self._store.user(user)
        if known is not None and not known.switches.factor:
            return None
        own = () if known is None else self._stages(user, self._name, known.version)
        stages = (*self.shared, *own)
        if not stages:
            return vectors
        if vectors is None:
            return Steering.by_stages(stages, self._fingerprint)
        return vectors.under(stages)

    def _stages(self, user: str, name: str | None, version: int) -> tuple[Stage, ...]:
        if name is None:
            return ()
        with self._lock:
            kept = self._known.get(user)
        if kept is not None and kept[0] == version:
            return kept[1]
        stages = kept_stages(self._store, user, name, fingerprint=self._fingerprint)
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[user] = version, stages
        return stages
