"""Feedback on an answer by its id: counted, and learned from where it says what was wanted."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends
from pydantic import Field, model_validator

from .bodies import path_part
from .callers import CallerOf
from .failures import ApiError
from .learning import Done
from .outcomes import Came
from .service import Service, service_of
from .users import Acknowledged, Side, Spoken, Time, side_of
from .wire import ErrorAnswer, Incoming

router = APIRouter(tags=["chat"])


class Feedback(Incoming):
    """What came of an answer.

    Attributes:
        rating: Whether the user liked it.
        chosen: What the user chose in its place: a correction, which is learned from with the
            answer as the rejected side. A good answer without one is itself the chosen side.
        tool_error: Whether a call of it failed.
        choice: Which of several answers.
        time: When, as in an interaction.
    """

    rating: Literal["good", "bad"] | None = None
    chosen: Spoken | Side | None = None
    tool_error: bool = False
    choice: Annotated[int, Field(ge=0, le=64)] = 0
    time: Time | None = None

    @model_validator(mode="after")
    def _said(self) -> Feedback:
        if self.rating is None and self.chosen is None and not self.tool_error:
            raise ValueError("expected rating, chosen or tool_error, got none of them")
        return self


@router.post(
    "/v1/chat/completions/{completion_id}/feedback",
    status_code=202,
    responses={status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 413, 503)},
)
async def feedback(
    completion_id: str,
    body: Feedback,
    caller: CallerOf,
    service: Annotated[Service, Depends(service_of)],
) -> Acknowledged:
    """Tell what came of an answer of the last hour; only the server that gave it knows it."""
    caller.check("learn")
    id = path_part(completion_id, 256)
    answered = service.recent.find(id)
    if answered is None or body.choice >= len(answered.answers):
        raise ApiError(
            404,
            f"no answer {id!r} to a user is remembered with a choice {body.choice}; feedback is "
            "taken for an hour, later tell it as an interaction",
            code="completion_not_found",
        )
    caller.check("learn", answered.user)
    said = {
        "good": body.rating == "good",
        "bad": body.rating == "bad",
        "corrected": body.chosen is not None,
        "tool_error": body.tool_error,
    }
    told = service.recent.first_told(answered, body.choice, [one for one in said if said[one]])
    service.outcomes.came(answered.user, Came(**dict.fromkeys(told, True)), since=answered.asked)
    answer = answered.answers[body.choice]
    if body.chosen is None and body.rating != "good":
        return Acknowledged(id=id, status="counted")
    chosen = answer if body.chosen is None else side_of(body.chosen)
    done = Done(
        id=id if body.choice == 0 else f"{id}-{body.choice}",  # each choice is an answer of its own
        request=answered.request,
        messages=answered.messages,
        tools=answered.tools,
        chosen=chosen,
        rejected=None if body.chosen is None else answer,
        time=int(time.time()) if body.time is None else body.time,
    )
    fresh = await to_thread.run_sync(
        lambda: service.learner.keep(answered.user, done, since=answered.asked)
    )
    return Acknowledged(id=done.id, status="kept" if fresh else "known")
