"""Whether the server is up, whether it can answer, and what can be measured of it."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import generate_latest
from pydantic import BaseModel

from ..errors import TrimtabError
from .callers import CallerOf
from .failures import ApiError
from .service import Service, service_of
from .wire import ErrorAnswer

router = APIRouter(tags=["running"])


class State(BaseModel):
    """How the server is."""

    status: str


@router.get("/healthz")
async def healthz() -> State:
    """The process is up."""
    return State(status="ok")


@router.get("/readyz", responses={503: {"model": ErrorAnswer}})
async def readyz(service: Annotated[Service, Depends(service_of)]) -> State:
    """The store can be reached, and the engine takes requests."""
    if service.draining:
        raise ApiError(503, "the server is being ended", code="draining")
    try:
        await to_thread.run_sync(service.store.access_keys.any)
    except TrimtabError as error:
        raise ApiError(
            503, str(error), code="store_unavailable", headers={"Retry-After": "2"}
        ) from error
    return State(status="ready")


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(caller: CallerOf, service: Annotated[Service, Depends(service_of)]) -> Response:
    """Counts and times in Prometheus' form."""
    caller.check("metrics")
    return Response(
        generate_latest(service.metrics.registry),
        media_type="text/plain; version=0.0.4; charset=utf-8",
    )
