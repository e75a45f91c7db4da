"""The page's own endpoints: its files, whom it can show, and the episodes of a demonstration."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from ...envs.shop.records import ShoppingTask
from ...steering.dictionaries.switches import MAX_STRENGTH
from ..callers import CallerOf
from ..failures import ApiError
from ..service import Service, service_of
from ..users import User
from ..wire import Incoming, ToolName
from .endpoints import endpoints_page
from .episodes import Episodes, is_clear

router = APIRouter(include_in_schema=False)

Served = Annotated[Service, Depends(service_of)]

MOST_USERS = 500
"""So many users are listed, of those that came first; of a larger store, an id is typed."""

_LOOKED_AT = 5_000

_FILES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "api.js": "text/javascript",
    "building.js": "text/javascript",
    "choosers.js": "text/javascript",
    "elements.js": "text/javascript",
    "kept.js": "text/javascript",
    "tokens.js": "text/javascript",
}

_HEADERS = {
    # The page runs its own scripts alone, and asks this server alone.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class ListedUser(BaseModel):
    """A user whom the page can show.

    Attributes:
        id: The user's id.
        label: Who it is in a few words, where that is known.
        ready: Whether the dictionary is there; in a demonstration it may be yet to be built.
    """

    id: str
    label: str = ""
    ready: bool = True


class About(BaseModel):
    """What the page starts from.

    Attributes:
        model: The name of the model that is served.
        users: Those whom the caller may act for, by id.
        more: Whether there are more than are listed.
        strength: The settings' own.
        k: The settings' own.
        most_factor: The most that a user's own factor may be.
        demo: Whether there are episodes to play.
    """

    model: str
    users: list[ListedUser]
    more: bool
    strength: float
    k: int
    most_factor: float = MAX_STRENGTH
    demo: bool


class ListedEpisode(BaseModel):
    """An episode in the list of a user's.

    Attributes:
        id: The test task's id.
        request: What the user says.
        clear: Whether the words name what is to be done.
    """

    id: str
    request: str
    clear: bool


class Player(BaseModel):
    """What a demonstration knows of a user."""

    profile: dict[str, Any]
    episodes: list[ListedEpisode]


class Built(BaseModel):
    """How far a user's dictionary is; see ``Building.want``."""

    ready: bool
    done: int
    of: int


class Opening(BaseModel):
    """What the model is asked at the start of an episode.

    Attributes:
        messages: The conversation.
        tools: The shop's tools.
        before: Only entries of earlier samples may be picked.
    """

    messages: list[dict[str, str]]
    tools: list[dict[str, Any]]
    before: int


class ModelCall(Incoming):
    """A call that the model made."""

    name: ToolName
    arguments: dict[str, Any] = Field(default_factory=dict)


class CallResult(BaseModel):
    """What came of a call; see ``Called``."""

    content: str
    failed: bool
    right: bool
    wanted: str
    score: float


def _file(name: str, kind: str) -> Response:
    content = (files(__package__) / name).read_bytes()
    return Response(content, media_type=f"{kind}; charset=utf-8", headers=_HEADERS)


@router.get("/")
async def page() -> Response:
    """The page."""
    return _file("index.html", "text/html")


@router.get("/docs")
async def endpoints(request: Request) -> Response:
    """The page of all endpoints."""
    page = endpoints_page(request.app.openapi())
    return Response(page, media_type="text/html; charset=utf-8", headers=_HEADERS)


@router.get("/page/files/{name}")
async def page_file(name: str) -> Response:
    """A file of the page's."""
    if name not in _FILES:
        raise ApiError(404, "the page has no such file", code="not_found")
    return _file(name, _FILES[name])


@router.get("/page/about")
async def about(request: Request, caller: CallerOf, service: Served) -> About:
    """What the page starts from."""
    caller.check("chat")
    episodes = _episodes(request)
    # Ids are sealed one by one: a page must not open those of a million users.
    known = await to_thread.run_sync(lambda: service.store.users(limit=_LOOKED_AT))
    more = len(known) == _LOOKED_AT
    if episodes is not None:
        known = list(dict.fromkeys([*episodes.users, *known]))
    if caller.key is not None:
        known = [user for user in known if caller.key.users.hold(user)]
    listed = [
        ListedUser(id=user, label=episodes.label(user), ready=episodes.ready(user))
        if episodes
        else ListedUser(id=user)
        for user in known[:MOST_USERS]
    ]
    return About(
        model=service.name,
        users=listed,
        more=more or len(known) > MOST_USERS,
        strength=service.settings.strength,
        k=service.settings.k,
        demo=episodes is not None,
    )


@router.get("/page/tools")
async def tools(request: Request, caller: CallerOf) -> list[dict[str, Any]]:
    """The shop's tools."""
    caller.check("chat")
    return await to_thread.run_sync(_demo(request).tools)


@router.get("/page/users/{user_id}")
async def player(user: User, request: Request, caller: CallerOf) -> Player:
    """Who a user of the demonstration is, and their episodes."""
    caller.check("chat", user)
    episodes = _demo(request)
    return Player(
        profile=dict(episodes.profile(user)),
        episodes=[
            ListedEpisode(id=task.id, request=task.task, clear=is_clear(task))
            for task in episodes.of_user(user)
        ],
    )


@router.get("/page/users/{user_id}/building")
async def building(user: User, request: Request, caller: CallerOf) -> Built:
    """How far a user's dictionary is, which is built next because somebody asks."""
    caller.check("chat", user)
    builds = _demo(request).building
    return Built(**vars(builds.want(user))) if builds else Built(ready=True, done=0, of=0)


@router.get("/page/episodes/{task_id}")
async def opening(task_id: str, request: Request, caller: CallerOf) -> Opening:
    """What the model is asked at the start of an episode."""
    episodes = _demo(request)
    task = _task(episodes, task_id)
    caller.check("chat", task.user_id)
    return Opening(
        messages=episodes.messages(task),
        tools=await to_thread.run_sync(episodes.tools),
        before=task.timestamp,
    )


@router.post("/page/episodes/{task_id}/calls")
async def call(task_id: str, body: ModelCall, request: Request, caller: CallerOf) -> CallResult:
    """Make a call of an episode."""
    episodes = _demo(request)
    task = _task(episodes, task_id)
    caller.check("chat", task.user_id)
    done = await to_thread.run_sync(episodes.call, task, body.name, body.arguments)
    return CallResult(**vars(done))


def _episodes(request: Request) -> Episodes | None:
    found = getattr(request.app.state, "episodes", None)
    assert found is None or isinstance(found, Episodes)
    return found


def _demo(request: Request) -> Episodes:
    episodes = _episodes(request)
    if episodes is None:
        raise ApiError(404, "there are no episodes here; start with --demo", code="no_demo")
    return episodes


def _task(episodes: Episodes, task_id: str) -> ShoppingTask:
    task = episodes.find(task_id)
    if task is None:
        raise ApiError(404, "there is no such episode", code="episode_not_found")
    return task
