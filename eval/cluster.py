"""A Ray cluster: one that runs already, or one of this machine's own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from ..errors import TrimtabError

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_worker_niceness": "0",  # Ray gives its workers the lowest priority, which waits for all
    # A busy machine is slow to start what Ray Serve would else end after 5 s, and start again.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}


@contextmanager
def connected(address: str | None = None, *, cores: int = 1) -> Iterator[None]:
    """Be connected to a cluster inside the context.

    A process that is connected already stays so.

    Args:
        address: ``HOST:PORT`` of a cluster, ``auto`` for the one on this machine, or ``local`` for
            a new one on it, which ends with the context; None is that of ``RAY_ADDRESS``, and
            without it ``local``.
        cores: The new cluster counts at least so many cores, even if the machine has fewer.

    Raises:
        TrimtabError: No cluster answers there.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    own: dict[str, Any] = {"num_cpus": max(cores, os.cpu_count() or 1), "include_dashboard": False}
    try:
        ray.init(address, logging_level=logging.WARNING, **(own if address == "local" else {}))
    except Exception as error:  # Ray raises bare ones
        said = (str(error).splitlines() or [type(error).__name__])[0]
        cure = (
            "look whether the machine has room for one"
            if address == "local"
            else "start one with `ray start --head`, and give the address that it prints"
        )
        raise TrimtabError(
            f"expected a Ray cluster at {address}, and none answers: {said}; {cure}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
