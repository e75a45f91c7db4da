"""Several replicas of the server on Ray Serve, all on one PostgreSQL database.

A replica holds a model and nothing else that must last. Requests of one user go to one replica,
where their dictionary is warm, as long as it keeps up; another one answers as well.
"""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions, RequestRouterConfig
from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica
from ray.serve.schema import LoggingConfig
from starlette.types import ASGIApp

from ..errors import TrimtabError
from ..eval.cluster import connected
from ..steering.dictionaries.settings import SteeringSettings
from .app import create_app
from .opening import open_service
from .service import RequestLimits, Service

USER_HEADER = b"x-trimtab-user"
"""Names the user to the router, which reads no bodies; whom a request is for, its body says."""

_NAME = "trimtab"  # of the application
_TRIES = 2  # to make a replica
_ONGOING = 512  # requests that a replica's engine and its queue may hold; it answers 429 itself


@dataclass(frozen=True)
class ReplicaPlan:
    """What each replica opens, as plain values that go to other machines.

    Attributes:
        model: The model's name, hub id or folder.
        store: The store's URL.
        settings: How requests are steered, and where new entries are read.
        dtype: In which the model is loaded; None is by the hardware.
        device: On which; None is by the hardware.
        disk_prefixes: Whether callers' system prompts are kept on disk, run, for the next start.
        options: Other arguments of ``open_service``.
        limits: What one request may ask for.
        expire_days: How long entries are kept; None is for ever.
    """

    model: str
    store: str
    settings: SteeringSettings
    dtype: str | None = None
    device: str | None = None
    disk_prefixes: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    limits: RequestLimits = field(default_factory=RequestLimits)
    expire_days: float | None = None

    def open(self) -> Service:
        """The service of one replica.

        Raises:
            TrimtabError: The model or the store cannot be opened.
        """
        from ..steering.model import SteeredModel

        model = SteeredModel.from_pretrained(
            self.model, dtype=self.dtype, device=self.device, disk_prefixes=self.disk_prefixes
        )
        days = self.expire_days
        return open_service(
            model,
            self.store,
            settings=self.settings,
            limits=self.limits,
            expire_after=None if days is None else timedelta(days=days),
            **self.options,
        )


class Replica:
    """One server among several; Ray Serve makes it and sends it requests."""

    def __init__(self, plan: ReplicaPlan) -> None:
        from .logs import log_as_json

        log_as_json()
        self._service = plan.open()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The app, which Ray Serve asks for."""
        return create_app(self._service)

    def __del__(self) -> None:
        service = getattr(self, "_service", None)
        if service is not None:
            service.close()


class ByUser(RequestRouter):
    """Prefers for each user one replica, and the others in an order of the user's own.

    The order is by rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to
    Increase Hit Rates", 1998): a replica that goes or comes moves the users of that replica alone.
    """

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """The replicas, the preferred one first."""
        user = user_in(_scope(pending_request))
        if user is None:
            drawn = random.sample(candidate_replicas, min(2, len(candidate_replicas)))
            return [drawn]
        names = {str(replica.replica_id): replica for replica in candidate_replicas}
        return [[names[name]] for name in preferred(user, list(names))]


def preferred(user: bytes, replicas: list[str]) -> list[str]:
    """Replicas in the order in which they are to answer a user."""

    def weight(replica: str) -> bytes:
        return hashlib.sha256(user + b"/" + replica.encode()).digest()

    return sorted(replicas, key=weight, reverse=True)


def user_in(scope: dict[str, Any]) -> bytes | None:
    """The user that a request's header or path names, percent-encoded; None where neither does."""
    for name, value in scope.get("headers", ()):
        if bytes(name).lower() == USER_HEADER:
            return bytes(value)
    raw = bytes(scope.get("raw_path") or scope.get("path", "").encode())
    if raw.startswith(b"/v1/users/"):
        return raw.split(b"/")[3] or None
    return None


def _scope(pending: PendingRequest | None) -> dict[str, Any]:
    first = pending.args[0] if pending is not None and pending.args else None
    if isinstance(first, bytes):  # what Ray's proxy, in whose process this runs, has just pickled
        first = pickle.loads(first)
    scope = getattr(first, "asgi_scope", None)
    return scope if isinstance(scope, dict) else {}


@contextmanager
def replicas(
    plan: ReplicaPlan, count: int, *, host: str, port: int, gpus: float = 0.0
) -> Iterator[None]:
    """Serve with replicas inside the context; what is under way at its end is finished.

    They run in the Ray cluster that this process is connected to, that of ``RAY_ADDRESS``, or a
    new one on this machine.

    Args:
        plan: What each opens.
        count: How many.
        host: Where to listen.
        port: Where to listen.
        gpus: How many each takes.

    Raises:
        TrimtabError: No cluster answers, or a replica cannot be made.
    """
    with connected(cores=count):
        deployment = serve.deployment(
            name=_NAME,
            num_replicas=count,
            max_ongoing_requests=_ONGOING,
            ray_actor_options={"num_cpus": 1, "num_gpus": gpus},
            request_router_config=RequestRouterConfig.model_validate(
                {"request_router_class": ByUser}
            ),
            graceful_shutdown_timeout_s=40.0,
            max_constructor_retry_count=_TRIES,
        )(serve.ingress()(Replica))
        try:
            try:
                # The app logs each answer itself, without the user's id that a path may hold.
                quiet = LoggingConfig(enable_access_log=False)
                options = HTTPOptions(host=host, port=port)
                serve.start(http_options=options, logging_config=quiet)
                serve.run(deployment.bind(plan), name=_NAME, route_prefix="/", logging_config=quiet)
            except (RuntimeError, RayError) as error:
                raise TrimtabError(f"no replica could be made: {_reason(str(error))}") from error
            yield
        finally:
            serve.delete(_NAME)
            if not serve.status().applications:  # nobody else's in a cluster that is shared
                serve.shutdown()


def _reason(said: str) -> str:
    """What a replica's own traceback ends with, in what Ray says of it."""
    lines = [line.strip() for line in said.splitlines() if "Error: " in line]
    return lines[-1].partition("Error: ")[2] if lines else " ".join(said.split())
