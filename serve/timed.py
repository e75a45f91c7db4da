"""Every request is timed and counted, whatever answers it."""

from __future__ import annotations

import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .logs import Log
from .metrics import Metrics


class Timed:
    """An ASGI layer that counts requests by endpoint and status.

    Args:
        app: What answers.
        metrics: Where they are counted.
        log: Told of those that failed.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: Log) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499  # the client went away
        began = time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            status = 500
            raise
        finally:
            seconds = time.monotonic() - began
            endpoint = f"{scope['method']} {_path(scope)}"
            self._metrics.request(endpoint, status, seconds)
            if status >= 400:
                self._log.request(
                    "refused" if status < 500 else "failed",
                    endpoint=endpoint,
                    status=status,
                    seconds=round(seconds, 3),
                )


def _path(scope: Scope) -> str:
    """The endpoint as it is declared: a path as it came may name a user."""
    route: Any = scope.get("route")
    return getattr(route, "path", "elsewhere")
