"""What users did, and what is kept of them: to see, to change, to take along, to forget."""

from __future__ import annotations

import secrets
import time
from datetime import datetime
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field, model_validator

from ..steering.dictionaries.switches import MAX_STRENGTH
from .bodies import path_part
from .callers import CallerOf
from .chat import query_of
from .failures import ApiError
from .learning import Done
from .service import Service, service_of
from .wire import (
    MAX_USER,
    ChatTool,
    ErrorAnswer,
    Incoming,
    Message,
    MessageToolCall,
    SampleId,
    Text,
)

router = APIRouter(
    prefix="/v1/users/{user_id}",
    tags=["users"],
    responses={status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 413, 503)},
)

Served = Annotated[Service, Depends(service_of)]


def user_of(user_id: Annotated[str, Path(description="The user's id, percent-encoded.")]) -> str:
    """The user that a path names."""
    return path_part(user_id, MAX_USER)


User = Annotated[str, Depends(user_of)]
Time = Annotated[int, Field(ge=-(2**62), le=2**62)]


class Side(Incoming):
    """An answer that was chosen or rejected: words, or calls."""

    content: Text | None = None
    tool_calls: Annotated[list[MessageToolCall], Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _said(self) -> Side:
        if not (self.content or "").strip() and not self.tool_calls:
            raise ValueError("expected content or tool_calls, got neither")
        return self

    def plain(self) -> dict[str, Any]:
        """As a plain dict."""
        return self.model_dump(exclude_none=True)


def side_of(given: str | Side) -> dict[str, Any]:
    """A side as a plain dict; a text is its content."""
    return Side(content=given).plain() if isinstance(given, str) else given.plain()


Spoken = Annotated[str, Field(min_length=1, max_length=4_000_000, pattern=r"\S")]


class Interaction(Incoming):
    """What a user did: what was asked, what they chose, and what they rejected."""

    id: SampleId | None = None
    request: Spoken | Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    tools: Annotated[list[ChatTool], Field(max_length=20_000)] = Field(default_factory=list)
    chosen: Spoken | Side
    rejected: Spoken | Side | None = None
    time: Time | None = None

    def done(self) -> Done:
        """As it is learned from."""
        asked = self.request
        messages = [Message(role="user", content=asked)] if isinstance(asked, str) else asked
        return Done(
            id=self.id or f"int-{secrets.token_hex(12)}",
            request=query_of(messages),
            messages=[message.plain() for message in messages],
            tools=[tool.plain() for tool in self.tools],
            chosen=side_of(self.chosen),
            rejected=None if self.rejected is None else side_of(self.rejected),
            time=int(time.time()) if self.time is None else self.time,
        )


class Acknowledged(BaseModel):
    """What was told is on the disk.

    Attributes:
        id: Of the interaction.
        status: ``kept``: an entry is being built of it. ``known``: it had been told before.
            ``counted``: there is nothing to learn from it.
    """

    id: str
    status: Literal["kept", "known", "counted"]


class SwitchesNow(BaseModel):
    """What a user has set for themselves."""

    enabled: bool
    strength: float


class SwitchesWish(Incoming):
    """What a user wants to set; what is not given stays."""

    enabled: bool | None = None
    strength: Annotated[float, Field(ge=0, le=MAX_STRENGTH)] | None = None


class ListedEntry(BaseModel):
    """An entry: what was asked and chosen, when, and how often it steered an answer."""

    id: str
    request: str
    chosen: str
    contrast: Literal["context", "response"]
    time: int
    built: datetime
    uses: int
    last_used: datetime | None


class KeptOfUser(BaseModel):
    """What is kept of a user."""

    user: str
    switches: SwitchesNow
    entries: list[ListedEntry]
    waiting: int


class Event(BaseModel):
    """Something that happened to what is kept of a user."""

    event: str
    at: datetime
    until: datetime
    count: int


class Dropped(BaseModel):
    """How many entries are gone."""

    dropped: int


class Forgotten(BaseModel):
    """Whether anything had been kept."""

    forgotten: bool


@router.post("/interactions", status_code=202)
async def tell(user: User, body: Interaction, caller: CallerOf, service: Served) -> Acknowledged:
    """Tell what a user did; the entry is built behind the answer, and used by the next request."""
    caller.check("learn", user)
    done = body.done()
    fresh = await to_thread.run_sync(service.learner.keep, user, done)
    return Acknowledged(id=done.id, status="kept" if fresh else "known")


@router.get("")
async def see(user: User, caller: CallerOf, service: Served) -> KeptOfUser:
    """What is kept of a user: each entry, since when, and how often it was used."""
    caller.check("manage", user)

    def found() -> KeptOfUser:
        known = service.store.user(user)
        enabled, strength = (True, 1.0)
        if known is not None:
            enabled, strength = known.switches.enabled, known.switches.strength
        return KeptOfUser(
            user=user,
            switches=SwitchesNow(enabled=enabled, strength=strength),
            entries=[
                ListedEntry(
                    id=kept.sample_id,
                    request=kept.key,
                    chosen=kept.answer,
                    contrast=kept.contrast,
                    time=kept.timestamp,
                    built=kept.built,
                    uses=kept.uses,
                    last_used=kept.last_used,
                )
                for kept in service.store.kept(user)
            ],
            waiting=service.learner.waiting(user),
        )

    return await to_thread.run_sync(found)


@router.patch("")
async def switch(user: User, body: SwitchesWish, caller: CallerOf, service: Served) -> SwitchesNow:
    """Switch a user's steering off or on, weaker or stronger."""
    caller.check("manage", user)
    now = await to_thread.run_sync(
        lambda: service.store.switch(user, enabled=body.enabled, strength=body.strength)
    )
    return SwitchesNow(enabled=now.enabled, strength=now.strength)


@router.delete("/entries/{entry_id}")
async def drop(user: User, entry_id: str, caller: CallerOf, service: Served) -> Dropped:
    """Delete the entries of one interaction."""
    caller.check("manage", user)
    entry = path_part(entry_id, 256)

    def dropped() -> int:
        waiting = service.store.interactions.give_up(user, [entry])
        known = service.store.user(user)
        if known is None or known.dictionary is None:
            return waiting
        return waiting + service.store.drop(user, [entry])

    count = await to_thread.run_sync(dropped)
    service.learner.look()
    if not count:
        raise ApiError(
            404, f"nothing is kept of an interaction {entry!r} of this user", code="entry_not_found"
        )
    return Dropped(dropped=count)


@router.delete("")
async def forget(user: User, caller: CallerOf, service: Served) -> Forgotten:
    """Erase everything that is kept of a user."""
    caller.check("manage", user)
    service.recent.forget(user)
    service.outcomes.forget(user)

    def forgotten() -> bool:
        if service.store.user(user) is None:
            return False
        service.store.forget(user)
        return True

    gone = await to_thread.run_sync(forgotten)
    service.learner.look()
    return Forgotten(forgotten=gone)


@router.get("/copy")
async def copy(user: User, caller: CallerOf, service: Served) -> dict[str, Any]:
    """Everything that is kept of a user, numbers of vectors included."""
    caller.check("manage", user)

    def copied() -> dict[str, Any]:
        if service.store.user(user) is None:
            raise ApiError(404, "nothing is kept of this user", code="user_not_found")
        return service.store.copy_of(user).to_dict()

    return await to_thread.run_sync(copied)


@router.get("/audit")
async def audit(user: User, caller: CallerOf, service: Served) -> list[Event]:
    """Every read and change of what is kept of a user, in order of time."""
    caller.check("manage", user)
    events = await to_thread.run_sync(service.store.audit, user)
    return [
        Event(event=event.event, at=event.at, until=event.until, count=event.count)
        for event in events
    ]
