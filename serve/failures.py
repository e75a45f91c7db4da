"""Errors in OpenAI's form, with the right status."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..errors import TrimtabError
from ..files import encodable
from ..steering.generation.row import PromptTooLong
from ..steering.store.access import UnknownUser
from ..steering.store.database import StoreUnavailable
from .engine import EngineClosed, QueueFull

_log = logging.getLogger(__name__)

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
_MOST = 500  # characters of a message: what came may be megabytes


class ApiError(Exception):
    """Something that the caller is told.

    Args:
        status: The HTTP status.
        message: One line: what was expected, what came, what to do.
        code: A word for programs.
        param: The field that it is about.
        headers: Sent with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})


def error_response(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error as OpenAI's clients read it."""
    line = encodable(" ".join(message.split()))
    line = f"{line[:_MOST]}…" if len(line) > _MOST else line
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body = {"error": {"message": line, "type": kind, "param": param, "code": code}}
    return JSONResponse(body, status, headers=headers)


def response_of(error: Exception) -> JSONResponse:
    """What a caller is told of an error; one of ours keeps its traceback in the log."""
    if isinstance(error, ApiError):
        return error_response(
            error.status,
            str(error),
            code=error.code,
            param=error.param,
            headers=error.headers,
        )
    if isinstance(error, UnknownUser):
        # The error's own words help whoever owns the store: they name it, and the nearest user.
        return error_response(404, "nothing is kept of this user", code="user_not_found")
    if isinstance(error, QueueFull):
        wait = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        return error_response(429, str(error), code="queue_full", headers=wait)
    if isinstance(error, EngineClosed):
        return error_response(503, str(error), code="draining")
    if isinstance(error, StoreUnavailable):
        return error_response(
            503, str(error), code="store_unavailable", headers={"Retry-After": "2"}
        )
    if isinstance(error, TrimtabError):
        long = isinstance(error, PromptTooLong)
        code = "context_length_exceeded" if long else "invalid_value"
        return error_response(400, str(error), code=code)
    _log.error("a request failed by a fault of the server", exc_info=error)
    return error_response(500, "the server failed; its log has the traceback", code="internal")


def add_handlers(app: FastAPI) -> None:
    """Let the app answer every error in this form."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        return response_of(error)

    async def unfit(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _misfit(error.errors())

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return error_response(error.status_code, str(error.detail), headers=error.headers)

    app.add_exception_handler(RequestValidationError, unfit)
    app.add_exception_handler(HTTPException, http)
    for kind in (ApiError, TrimtabError):
        app.add_exception_handler(kind, ours)
    app.add_exception_handler(Exception, ours)


def _misfit(errors: Sequence[Any]) -> JSONResponse:
    """The first thing that does not fit: where, and what was expected."""
    first = errors[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    path = ".".join(place)[:120]
    reason = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return error_response(400, f"the body is not JSON: {reason}", code="invalid_json")
    came = first.get("input")
    shown = f"; got {came!r:.80}" if isinstance(came, str | int | float | bool) else ""
    message = f"{path}: {reason}{shown}" if path else f"{reason}{shown}"
    return error_response(400, message, code="invalid_value", param=path or None)
