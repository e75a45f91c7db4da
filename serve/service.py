"""What every endpoint works with."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request

if TYPE_CHECKING:
    from ..steering.dictionaries.settings import SteeringSettings
    from ..steering.model import SteeredModel
    from ..steering.store.steering_store import SteeringStore
    from .access import Authenticator
    from .engine import Engine
    from .expiring import Expiring
    from .learning import Learner
    from .logs import Log
    from .metrics import Metrics
    from .outcomes import Tally
    from .recent import Recent
    from .whose import Whose


@dataclass(frozen=True)
class RequestLimits:
    """What one request may ask for.

    Attributes:
        new_tokens: Of an answer, where the request does not say.
        most_new_tokens: Of an answer, whatever the request says.
        temperature: Where the request does not say.
        seconds: How long an answer may take, waiting included; None is for ever.
        body: Bytes of a request's body.
    """

    new_tokens: int = 256
    most_new_tokens: int = 4096
    temperature: float = 0.0
    seconds: float | None = 300.0
    body: int = 16 * 2**20


@dataclass
class Service:
    """One model, one store, and what stands between them and the callers.

    Attributes:
        model: The model.
        name: What callers name it.
        engine: Answers requests in common batches.
        store: The users' dictionaries.
        whose: Decides what is added for whom.
        settings: How requests are steered, and where new entries are read.
        access: Who may call.
        learner: Builds entries of what users did.
        recent: The answers given last.
        outcomes: Counts what came of answers.
        expiring: Takes out what is too old.
        metrics: What can be measured.
        log: A line a request.
        limits: What one request may ask for.
        draining: Whether the server is being ended.
        began: When the server came up, in seconds since 1970.
    """

    model: SteeredModel
    name: str
    engine: Engine
    store: SteeringStore
    whose: Whose
    settings: SteeringSettings
    access: Authenticator
    learner: Learner
    recent: Recent
    outcomes: Tally
    expiring: Expiring
    metrics: Metrics
    log: Log
    limits: RequestLimits = field(default_factory=RequestLimits)
    draining: bool = False
    began: float = field(default_factory=time.time)

    def close(self) -> None:
        """End what is under way, and write what is only in memory; what waits goes on waiting."""
        if self.draining:
            return
        self.draining = True
        self.expiring.close()
        self.engine.close()  # which ends what is read beside it
        self.learner.close()
        self.outcomes.close()
        self.store.close()


def service_of(request: Request) -> Service:
    """The service that an app was made for."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
