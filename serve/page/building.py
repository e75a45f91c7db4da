"""A demonstration's users get their dictionaries behind the page: whoever is looked at comes first.

A dictionary takes some tens of seconds on a plain machine, and the world has a hundred users; so
some are built at the start, and the others when somebody chooses them. A reading begins while no
answer is under way, and takes turns with those that come meanwhile.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...agent.shop.pairs import context_pairs, tool_choice_pairs
from ...eval.shop.dictionaries import kept_dictionary, wants_context
from ...files import home
from ...steering.dictionaries.dictionary import SteeringDictionary
from ...steering.dictionaries.reading import read_entries
from ...steering.vectors.steering_vectors import points_of
from ..engine import EngineClosed

if TYPE_CHECKING:
    from ...envs.shop.environment import ShopEnvironment
    from ...steering.contrast.pairs import ContrastPair
    from ...steering.vectors.entries import Entry
    from ..service import Service

_log = logging.getLogger(__name__)

_TASKS_AT_ONCE = 5
_IDLE_SECONDS = 0.2  # between two looks whether the engine has nothing else to do


@dataclass(frozen=True)
class Progress:
    """How far a user's dictionary is.

    Attributes:
        ready: Whether it is built, or there is nothing to build it from.
        done: Past tasks that have been read.
        of: All that are.
    """

    ready: bool
    done: int = 0
    of: int = 0


class Building:
    """Builds users' dictionaries in a thread of its own, those asked for last first.

    Args:
        service: Whose model reads, and whose store keeps.
        shop: Whose users' past tasks are read.
        first: Whose dictionaries are built without being asked for, in this order.
    """

    def __init__(self, service: Service, shop: ShopEnvironment, first: Sequence[str] = ()) -> None:
        self._service = service
        self._shop = shop
        self._past = {user: shop.world.past_tasks(user, sys.maxsize) for user in shop.world.users}
        self._changed = threading.Condition()
        # Guarded by `_changed`:
        known = set(service.store)
        self._done = {user: len(past) for user, past in self._past.items() if user in known}
        self._wanted = deque(user for user in first if user in self._past and user not in known)
        self._under_way: str | None = None
        self._failed: set[str] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="trimtab-demo", daemon=True)
        self._thread.start()

    def want(self, user: str) -> Progress:
        """Build a user's dictionary next, unless it is there; how far it is."""
        with self._changed:
            done, of = self._done.get(user, 0), len(self._past.get(user, ()))
            if done >= of or user in self._failed:
                return Progress(ready=True, done=done, of=of)
            if user != self._under_way:
                if user in self._wanted:
                    self._wanted.remove(user)
                self._wanted.appendleft(user)
                self._changed.notify_all()
            return Progress(ready=False, done=done, of=of)

    def ready(self, user: str) -> bool:
        """Whether a user's dictionary is there; asks for nothing."""
        with self._changed:
            return self._done.get(user, 0) >= len(self._past.get(user, ()))

    def close(self) -> None:
        """End; what is not built is built when the server comes up again."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._wanted)
                if self._closing:
                    return
                user = self._under_way = self._wanted.popleft()
            try:
                self._build(user)
                self._shop.ready()  # after the first dictionary, before a tool is likely called
            except EngineClosed:
                return
            except Exception:
                _log.exception("the dictionary of %s was not built", user)
                with self._changed:
                    self._failed.add(user)
            with self._changed:
                self._under_way = None

    def _build(self, user: str) -> None:
        model, settings = self._service.model, self._service.settings
        kept = kept_dictionary(model, self._shop, user, settings, folder=home() / "dictionaries")
        if kept is not None:  # of an evaluation that was run on this machine
            self._service.store.put(kept)
            self._tell(user, len(self._past[user]))
            return
        points = points_of(settings.layers(model), settings.sites)
        of_task = self._pairs(user)
        tasks = list(of_task)
        entries: list[Entry] = []
        keys, vectors = [], []
        for start in range(0, len(tasks), _TASKS_AT_ONCE):
            some = tasks[start : start + _TASKS_AT_ONCE]
            pairs = [pair for task in some for pair in of_task[task]]
            if not self._idle():
                return
            with self._service.engine.in_turns() as pace:
                read = read_entries(
                    model, {user: pairs}, points, settings.keys, rejected="likeliest", pace=pace
                )
            found, embedded, differences = read[user]
            entries += found
            keys.append(embedded)
            vectors.append(differences)
            self._tell(user, min(start + len(some), len(tasks) - 1))
        self._service.store.put(
            SteeringDictionary(
                user_id=user,
                fingerprint=model.fingerprint,
                points=points,
                encoder_name=model.encoder.name,
                keys_from=settings.keys,
                entries=entries,
                keys=torch.cat(keys),
                vectors=torch.cat(vectors),
            )
        )
        self._tell(user, len(self._past[user]))

    def _pairs(self, user: str) -> dict[str, list[ContrastPair]]:
        """The user's contrast pairs by past task."""
        kinds = [tool_choice_pairs(self._shop, self._past[user])]
        if wants_context(self._service.settings):
            kinds.append(context_pairs(self._service.model, self._shop, [user]))
        of_task: dict[str, list[ContrastPair]] = {}
        for kind in kinds:
            for pair in kind.get(user, ()):
                of_task.setdefault(pair.sample_id, []).append(pair)
        return of_task

    def _tell(self, user: str, done: int) -> None:
        with self._changed:
            self._done[user] = done

    def _idle(self) -> bool:
        """Wait until no answer is under way; False when the server is being ended."""
        with self._changed:
            while not self._closing:
                now = self._service.engine.statistics
                if not now.running and not now.waiting:
                    return True
                self._changed.wait(_IDLE_SECONDS)
        return False
