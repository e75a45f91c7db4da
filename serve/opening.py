"""From a model and a store to a service."""

from __future__ import annotations

from pathlib import Path

from ..steering.dictionaries.settings import SteeringSettings
from ..steering.dictionaries.steer import steer_by
from ..steering.model import SteeredModel
from ..steering.store.steering_store import SteeringStore
from .holdout import Holdout
from .service import Limits, Service
from .standin import Engine
from .whose import Whose


def open_service(
    model: SteeredModel,
    store: str | Path,
    *,
    settings: SteeringSettings,
    name: str | None = None,
    limits: Limits | None = None,
    holdout: float = 0.0,
    max_rows: int = 16,
    max_waiting: int = 64,
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

    Raises:
        TrimtabError: The store cannot be opened, or does not fit the model or the settings.
    """
    opened = SteeringStore(store, model=model)
    steer = steer_by(opened, settings, model=model)
    return Service(
        model=model,
        name=name or model.name,
        engine=Engine(model, max_rows=max_rows, max_waiting=max_waiting),
        store=opened,
        whose=Whose(opened, steer, Holdout(holdout)),
        settings=settings,
        limits=limits or Limits(),
    )
