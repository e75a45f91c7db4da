"""From a model and a store to a service."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path

from ..steering.dictionaries.settings import SteeringSettings
from ..steering.dictionaries.steer import steer_by
from ..steering.model import SteeredModel
from ..steering.store.steering_store import SteeringStore
from ..steering.store.trained import TrainedSteer
from ..steering.vectors.low_rank import load_stages
from .access import Authenticator
from .engine import Engine
from .expiring import Expiring
from .holdout import Holdout
from .learning import Learner
from .logs import Log
from .metrics import Metrics
from .outcomes import Tally
from .recent import Recent
from .service import RequestLimits, Service
from .whose import Whose


def open_service(
    model: SteeredModel,
    store: str | Path,
    *,
    settings: SteeringSettings,
    name: str | None = None,
    limits: RequestLimits | None = None,
    holdout: float = 0.0,
    max_rows: int = 16,
    max_waiting: int = 64,
    loopback: bool = True,
    expire_after: timedelta | None = None,
    log_words: bool = False,
    trained: str | None = None,
    shared: Path | None = None,
) -> Service:
    """Open what is served.

    Args:
        model: The model.
        store: The ``SteeringStore``'s URL or file.
        settings: How requests are steered, and where new entries are read.
        name: What callers name the model; None is the model's own name.
        limits: What one request may ask for.
        holdout: The share of users who are never steered.
        max_rows: So many answers are decoded together.
        max_waiting: So many more may wait.
        loopback: Whether this machine alone is listened to; else a key is needed.
        expire_after: How long an entry is kept since it was written; None is for ever.
        log_words: Write what users and the model say into the log.
        trained: The name under which the store keeps what was trained for each user, such as
            ``perfit``; it is applied under their vectors. None applies nothing.
        shared: A file of ``save_stages`` with what every user gets first.

    Raises:
        TrimtabError: The store cannot be opened, or what is given does not fit the model.
    """
    opened = SteeringStore(store, model=model)
    model.encoder.encode([""])  # loaded now, not while the first user waits
    steer = steer_by(opened, settings, model=model)
    applied = None
    if trained is not None or shared is not None:
        stages = () if shared is None else load_stages(shared, fingerprint=model.fingerprint)
        applied = TrainedSteer(opened, trained, shared=stages, fingerprint=model.fingerprint)
    engine = Engine(model, max_rows=max_rows, max_waiting=max_waiting)
    arms = Holdout(holdout)
    metrics = Metrics(engine)
    return Service(
        model=model,
        name=name or model.name,
        engine=engine,
        store=opened,
        whose=Whose(opened, steer, arms, applied),
        settings=settings,
        access=Authenticator(opened, loopback=loopback),
        learner=Learner(model, engine, opened, settings, metrics),
        recent=Recent(),
        outcomes=Tally(opened, arms),
        expiring=Expiring(opened, expire_after),
        metrics=metrics,
        log=Log(words=log_words),
        limits=limits or RequestLimits(),
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
