"""What users did becomes entries, behind the answer that acknowledged it.

An interaction is on the disk before it is acknowledged, and waits there until its entries are:
they come in the transaction in which it ceases to wait. So a server that is killed loses nothing
of it and learns nothing twice, and what is forgotten meanwhile does not come back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..agent.calling.detection import call_format_of
from ..agent.calling.sides import sides
from ..errors import TrimtabError
from ..steering.contrast.pairs import ContrastPair, Exchange
from ..steering.dictionaries.dictionary import SteeringDictionary
from ..steering.dictionaries.reading import read_entries
from ..steering.dictionaries.settings import SteeringSettings
from ..steering.generation.requests import Options, Request
from ..steering.store.database import StoreUnavailable
from ..steering.store.interactions import Waiting
from ..steering.store.steering_store import SteeringStore
from ..steering.vectors.steering_vectors import Point, points_of
from .engine import Engine, EngineClosed, EngineFailure, QueueFull

if TYPE_CHECKING:
    from ..steering.model import SteeredModel
    from .metrics import Metrics

_log = logging.getLogger(__name__)

_AT_ONCE = 16
_TRIES = 3
_NEW_TOKENS = 128  # of the model's own answer, where the user rejected none


class NoContrast(TrimtabError):
    """What was chosen is what the model answers anyway."""


@dataclass(frozen=True)
class Done:
    """What a user did.

    Attributes:
        id: Of the interaction.
        request: What dictionaries are asked about: the user's last words.
        messages: The conversation, as plain dicts.
        tools: The tools that could be called, as plain dicts.
        chosen: What the user chose: words, or a call.
        rejected: What the user rejected; None is whatever the model itself would answer.
        time: When.
    """

    id: str
    request: str
    messages: Sequence[dict[str, Any]]
    tools: Sequence[dict[str, Any]]
    chosen: dict[str, Any]
    rejected: dict[str, Any] | None
    time: int

    def content(self) -> dict[str, Any]:
        """As plain values, without the id."""
        return {
            "request": self.request,
            "messages": list(self.messages),
            "tools": list(self.tools),
            "chosen": self.chosen,
            "rejected": self.rejected,
            "time": self.time,
        }

    @classmethod
    def of(cls, waiting: Waiting) -> Done:
        """What the store kept."""
        return cls(id=waiting.interaction_id, **waiting.content)


class Learner:
    """Builds entries in a thread of its own, which takes turns with the engine at the model.

    Args:
        model: Read, and asked for what nobody rejected.
        engine: Asked, and taken turns with.
        store: Where interactions wait, and entries go.
        settings: Where vectors are read, as long as the store holds none.
        metrics: Told what was learned and what was not.
        seconds: How often the store is asked for what other processes left.
    """

    def __init__(
        self,
        model: SteeredModel,
        engine: Engine,
        store: SteeringStore,
        settings: SteeringSettings,
        metrics: Metrics,
        *,
        seconds: float = 30.0,
    ) -> None:
        self._model = model
        self._engine = engine
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._seconds = seconds
        self._wake = threading.Event()
        self._closing = False
        self._lock = threading.Lock()
        # Guarded by `_lock`: what this process has acknowledged and not yet learned from.
        self._open: defaultdict[str, dict[str, Future[None]]] = defaultdict(dict)
        self._tries: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._thread = threading.Thread(target=self._run, name="trimtab-learner", daemon=True)
        self._thread.start()

    def keep(self, user: str, done: Done, *, since: int | None = None) -> bool:
        """Acknowledge what a user did; the entry is built later.

        Args:
            user: Who.
            done: What.
            since: When the answer that it is about was given, in milliseconds since 1970.

        Returns:
            False if it is known already.

        Raises:
            UnknownUser: The user was forgotten after ``since``.
            TrimtabError: The store cannot be written.
        """
        fresh = self._store.interactions.keep(user, done.id, done.content(), since=since)
        if fresh:
            with self._lock:
                self._open[user][done.id] = Future()
            self._wake.set()
        return fresh

    def look(self) -> None:
        """Look into the store now: what waits there may have changed."""
        self._wake.set()

    def waiting(self, user: str) -> int:
        """How many interactions of a user this process knows of that are not learned from yet."""
        with self._lock:
            return len(self._open.get(user, ()))

    async def settled(self, user: str, seconds: float) -> None:
        """Wait until what this process has acknowledged of a user is learned, for so long."""
        with self._lock:
            open_ = [*self._open.get(user, {}).values()]
        if open_:
            await asyncio.wait([asyncio.wrap_future(one) for one in open_], timeout=seconds)

    def close(self) -> None:
        """End; what still waits is learned from by the next process."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._closing:
            try:
                more = self._learn_some()
            except (StoreUnavailable, QueueFull) as error:
                _log.warning("learning waits: %s", error)
                more = False
            except EngineClosed:
                return
            except Exception:
                _log.exception("learning failed by a fault of the server")
                more = False
            if not more:
                self._wake.wait(self._seconds)
                self._wake.clear()

    def _learn_some(self) -> bool:
        """Learn from the oldest interactions; whether there may be more."""
        with self._lock:
            known = {(user, id) for user, own in self._open.items() for id in own}
        waiting = self._store.interactions.waiting(limit=_AT_ONCE)
        if len(waiting) < _AT_ONCE:
            # The others were forgotten, or another process has learned from them.
            for user, id in known - {(one.user_id, one.interaction_id) for one in waiting}:
                self._settle(user, id)
        with self._lock:
            for one in waiting:  # of another process, or of this one before it was ended
                self._open[one.user_id].setdefault(one.interaction_id, Future())
        for one in waiting:
            if self._closing:
                return False
            self._learn(one.user_id, one)
        return len(waiting) >= _AT_ONCE

    def _learn(self, user: str, waiting: Waiting) -> None:
        which = user, waiting.interaction_id
        try:
            dictionary = self._built(user, Done.of(waiting))
            self._metrics.learned(self._store.interactions.learned(dictionary, [which[1]]))
        except NoContrast:
            self._give_up(user, which[1], "no contrast")
        except (StoreUnavailable, EngineClosed, QueueFull):
            raise  # the interaction goes on waiting
        except TrimtabError as error:
            _log.warning("an interaction cannot be learned from: %s", error)
            self._give_up(user, which[1], "unfit")
        except Exception as error:
            self._tries[which] += 1
            if self._tries[which] >= _TRIES and not isinstance(error, EngineFailure):
                self._give_up(user, which[1], "fault")
                del self._tries[which]
            _log.exception("an interaction was not learned from by a fault of the server")
        self._settle(*which)

    def _give_up(self, user: str, interaction: str, reason: str) -> None:
        self._store.interactions.give_up(user, [interaction])
        self._metrics.refused(reason)

    def _settle(self, user: str, interaction: str) -> None:
        with self._lock:
            own = self._open.get(user, {})
            settled = own.pop(interaction, None)
            if not own:
                self._open.pop(user, None)
        if settled is not None:
            settled.set_result(None)

    def _built(self, user: str, done: Done) -> SteeringDictionary:
        """The entry of one interaction.

        Raises:
            NoContrast: The model would have answered so anyway.
            TrimtabError: It cannot be read.
        """
        pairs = [self._pair(done, rejected) for rejected in self._rejected(done)]
        points = self._points()
        with self._engine.in_turns() as pace:
            read = read_entries(self._model, {user: pairs}, points, self._settings.keys, pace=pace)
        entries, keys, vectors = read[user]
        return SteeringDictionary(
            user_id=user,
            fingerprint=self._model.fingerprint,
            points=points,
            encoder_name=self._model.encoder.name,
            keys_from=self._settings.keys,
            entries=entries,
            keys=keys,
            vectors=vectors,
        )

    def _points(self) -> tuple[Point, ...]:
        """Where the store's entries have vectors."""
        known = self._store.population().points
        if known:
            return tuple(known)
        return points_of(self._settings.layers(self._model), self._settings.sites)

    def _pair(self, done: Done, rejected: dict[str, Any]) -> ContrastPair:
        own = call_format_of(self._model)
        chosen, other = sides(done.chosen, rejected, done.tools, own)
        if chosen == other:
            raise NoContrast("what was chosen and what was rejected are the same")
        return ContrastPair(
            sample_id=done.id,
            request=done.request,
            positive=Exchange(done.messages, chosen, done.tools),
            negative=Exchange(done.messages, other, done.tools),
            contrast="response",
            timestamp=done.time,
        )

    def _rejected(self, done: Done) -> list[dict[str, Any]]:
        """What the chosen side is set against: what was rejected, or the model's own answer."""
        if done.rejected is not None:
            return [done.rejected]
        if done.chosen.get("tool_calls"):
            return [self._likeliest_other_call(done)]
        request = Request(done.messages, tuple(done.tools))
        for temperature in (0.0, 0.7, 1.0):
            options = Options(max_new_tokens=_NEW_TOKENS, temperature=temperature)
            # Beyond a full queue, since what is learned must not wait for a quiet hour.
            ticket = self._engine.submit(request, options, beyond=True)
            text = ticket.result(timeout=300).text.strip()
            if text and text != str(done.chosen.get("content", "")).strip():
                return [{"content": text}]
        raise NoContrast("the model answers so anyway")

    def _likeliest_other_call(self, done: Done) -> dict[str, Any]:
        """A call of the tool that the model likes best among the others."""
        from ..steering.reading.likelihood import answer_log_likelihoods

        named = done.chosen["tool_calls"][0]["function"]["name"]
        others = [
            {"tool_calls": [{"function": {"name": tool["function"]["name"], "arguments": "{}"}}]}
            for tool in done.tools
            if tool["function"]["name"] != named
        ]
        if not others:
            raise NoContrast("there is no other tool")
        own = call_format_of(self._model)
        starts = [sides(other, done.chosen, done.tools, own)[0] for other in others]
        exchanges = [
            self._model.tokenized(Exchange(done.messages, start, done.tools)) for start in starts
        ]
        with self._engine.in_turns() as pace:
            scores = answer_log_likelihoods(self._model, exchanges, pace=pace)
        return others[int(scores.argmax())]
