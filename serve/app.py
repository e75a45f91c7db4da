"""The app: all endpoints around one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI

from . import chat, feedback, running, users
from .bodies import Bodies
from .callers import CallerOf
from .failures import ApiError, add_handlers
from .page import router as page
from .page.episodes import Episodes
from .service import Service, service_of
from .timed import Timed
from .wire import ModelList, ServedModel

models = APIRouter(tags=["models"])


def create_app(service: Service, *, episodes: Episodes | None = None) -> FastAPI:
    """The server's app around a service, which is closed when the app is shut down.

    Args:
        service: The model, the store, and what stands around them.
        episodes: What can be played on the page; None is nothing.

    Example:
        >>> uvicorn.run(create_app(service))  # doctest: +SKIP
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(service.close)
        if episodes is not None and episodes.building is not None:
            await to_thread.run_sync(episodes.building.close)

    app = FastAPI(
        lifespan=lifespan,
        title="trimtab",
        summary="A language model steered by each user's own history, behind OpenAI's API",
        version="1",
        docs_url=None,  # the usual pages load their scripts from elsewhere; there is one of our own
        redoc_url=None,
    )
    app.state.service = service
    app.state.episodes = episodes
    add_handlers(app)
    for router in (chat.router, models, feedback.router, users.router, running.router):
        app.include_router(router)
    app.include_router(page.router)
    app.add_middleware(Bodies, limit=service.limits.body)
    app.add_middleware(Timed, metrics=service.metrics, log=service.log)
    return app


@models.get("/v1/models")
async def list_models(
    caller: CallerOf, service: Annotated[Service, Depends(service_of)]
) -> ModelList:
    """The one model that is served."""
    return ModelList(data=[_served(service)])


@models.get("/v1/models/{name:path}")
async def one_model(
    name: str, caller: CallerOf, service: Annotated[Service, Depends(service_of)]
) -> ServedModel:
    """The model that is served, by its name."""
    if name != service.name:
        raise ApiError(
            404,
            f"expected the model {service.name!r}, got {name!r}; GET /v1/models lists it",
            code="model_not_found",
            param="model",
        )
    return _served(service)


def _served(service: Service) -> ServedModel:
    return ServedModel(id=service.name, created=int(service.began))
