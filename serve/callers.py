"""Who a request comes from, found before its endpoint answers."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from .access import Caller
from .failures import ApiError
from .service import Service, service_of

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_bearer = HTTPBearer(auto_error=False, description="A key that `trimtab keys make` made.")


async def caller_of(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None,
) -> Caller:
    """Who a request comes from.

    Raises:
        ApiError: A key is needed and not given; or none is needed, and a web page of elsewhere
            sends the request.
    """
    key = await to_thread.run_sync(service.access.key, given.credentials if given else None)
    if key is None:
        _refuse_other_sites(request)
    return Caller(key)


def _refuse_other_sites(request: Request) -> None:
    """Without keys, a page that a browser shows must not reach the server under a name of its own.

    Raises:
        ApiError: The request names another host, or comes from another site.
    """
    named = [request.url.hostname]
    origin = request.headers.get("origin")
    if origin is not None:  # "null" is what a page sends that hides where it comes from
        named.append(urlsplit(origin).hostname or origin)
    for host in named:
        if host is not None and host not in _LOOPBACK:
            raise ApiError(
                403,
                f"without keys only this machine is answered, not {host}; make a key: trimtab "
                "keys make",
                code="no_keys",
            )


CallerOf = Annotated[Caller, Depends(caller_of)]
