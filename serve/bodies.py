"""What comes in, before anything reads it: bounded bodies, strict JSON, paths as they were written.

A user's id may hold a slash: it comes as ``%2F``, which a server decodes before it looks for the
route. So the paths of users stay as they were written, and ``path_part`` decodes each part.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .failures import ApiError, error_response

_KEPT_RAW = (b"/v1/users/", b"/v1/chat/completions/", b"/page/users/")


class Bodies:
    """An ASGI layer that lets through only bodies that the endpoints can read.

    Args:
        app: What answers.
        limit: At most this many bytes.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw = scope.get("raw_path", b"").partition(b"?")[0]
        if raw.startswith(_KEPT_RAW):
            scope["path"] = raw.decode("latin-1")
        try:
            body = await self._body(scope, receive)
        except ApiError as error:
            answer = error_response(error.status, str(error), code=error.code)
            await answer(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self._app(scope, replay, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit:
                raise self._too_large()
            more = message.get("more_body", False)
        body = b"".join(parts)
        if body and b"json" in headers.get(b"content-type", b"json"):
            check_json(body)
        return body

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"expected a body of at most {self._limit} bytes; send less",
            code="body_too_large",
        )


def check_json(body: bytes) -> None:
    """Refuse what is no JSON, or holds what no other reader of JSON takes.

    Raises:
        ApiError: No UTF-8, no JSON, NaN or infinity, or half of a surrogate pair.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ApiError(400, f"expected a body in UTF-8: {error}", code="invalid_json") from error
    except UnicodeEncodeError as error:
        raise ApiError(
            400, f"expected text of whole Unicode characters: {error.reason}", code="invalid_json"
        ) from error
    except RecursionError:
        raise ApiError(
            400, "expected JSON that is less deeply nested", code="invalid_json"
        ) from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.20} is too large a number")
    return number


def path_part(written: Any, most: int) -> str:
    """A part of a path, decoded.

    Raises:
        ApiError: Empty, too long, or no UTF-8.
    """
    try:
        part = unquote(str(written), errors="strict")
    except UnicodeDecodeError as error:
        raise ApiError(400, f"expected a path in UTF-8: {error}", code="invalid_value") from error
    if not 0 < len(part) <= most:
        raise ApiError(
            400,
            f"expected an id of 1 to {most} characters in the path, got {len(part)}",
            code="invalid_value",
        )
    return part
