"""A user played by a model behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import ipaddress
import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from ...errors import TrimtabError
from .conversation import Conversation, Reply
from .persona import MAX_TOKENS, STOP, spoken, user_messages

OWN_KEY = "TRIMTAB_USER_API_KEY"
"""The environment variable with the key of whatever endpoint is given."""

OPENAI_KEY = "OPENAI_API_KEY"
"""The environment variable with OpenAI's key, which is sent to OpenAI alone."""

_OPENAI_HOST = "api.openai.com"
_UNAUTHORIZED = {401, 403}

_log = logging.getLogger(__name__)

_PASSING = {408, 409, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 60.0


class EndpointUser:
    """A user played through ``POST {url}/chat/completions``.

    Args:
        url: The endpoint's base, such as ``https://api.openai.com/v1``.
        model: The model's name there.
        key: Sent as a bearer token; None takes it from the environment: ``TRIMTAB_USER_API_KEY``
            for any endpoint, ``OPENAI_API_KEY`` for https://api.openai.com alone. No key is sent
            where there is none, as servers of one's own want none.
        temperature: Of sampling.
        retries: How often a request is sent again after a failure that may pass: no connection,
            a timeout, too many requests, a server's error.
        first_wait: Seconds before the first retry, doubled for each further one; a server's
            ``Retry-After`` stands above it.
        timeout: Seconds that one request may take.
        pause: What waits; tests put another one.

    Raises:
        TrimtabError: The URL is none, or a key would be sent over plain http to another machine.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        temperature: float = 0.0,
        retries: int = 4,
        first_wait: float = 0.5,
        timeout: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise TrimtabError(
                f"expected the endpoint's address as http://... or https://..., got {url!r}"
            )
        if not model:
            raise TrimtabError(f"expected the name of a model at {url}, got none")
        self.url = url.rstrip("/")
        self.model = model
        self.temperature = temperature
        self.retries = retries
        self.first_wait = first_wait
        self._pause = pause
        own_key, self._unsent = _key_for(httpx.URL(self.url), key)
        if self._unsent:
            _log.warning("%s", self._unsent)
        headers = {"Authorization": f"Bearer {own_key}"} if own_key else {}
        self._client = httpx.Client(headers=headers, timeout=timeout)

    def answer(self, conversation: Conversation) -> Reply:
        """What the model says in the user's place.

        Raises:
            TrimtabError: The endpoint refuses, stays away for all retries, or answers something
                else than a chat completion.
        """
        answer = self._post(
            {
                "model": self.model,
                "messages": user_messages(conversation),
                "temperature": self.temperature,
                "max_tokens": MAX_TOKENS,
                "stop": [STOP],
            }
        )
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise TrimtabError(
                f"expected a chat completion from {self.url}, got {str(answer)[:120]}"
            )
        return Reply(spoken(text))

    def _post(self, body: Mapping[str, Any]) -> Any:
        failure, wait = "", self.first_wait
        for attempt in range(self.retries + 1):
            if attempt:
                # Spread, so that many users who were refused at once do not come back at once.
                self._pause(min(wait, _LONGEST_WAIT) * random.uniform(1.0, 1.25))
                wait = self.first_wait * 2**attempt
            try:
                response = self._client.post(f"{self.url}/chat/completions", json=body)
            except httpx.TransportError as error:
                failure = f"{type(error).__name__} {error}".strip()
                continue
            if response.is_success:
                try:
                    return response.json()
                except ValueError:
                    return response.text
            failure = f"{response.status_code} {_reason(response)}"
            if response.status_code not in _PASSING:
                lacking = self._unsent if response.status_code in _UNAUTHORIZED else ""
                raise TrimtabError(
                    f"the user's endpoint {self.url} refuses: {failure}"
                    + (f" ({lacking})" if lacking else "")
                )
            wait = max(wait, _asked_to_wait(response))
        raise TrimtabError(
            f"the user's endpoint {self.url} failed {self.retries + 1} times, last with {failure}"
        )


def _key_for(url: httpx.URL, given: str | None) -> tuple[str | None, str]:
    """The key that goes to this address, and in a line why one that is there does not.

    Raises:
        TrimtabError: A key was meant for this address, and others could read it on its way.
    """
    own = given or os.environ.get(OWN_KEY)
    if own:
        if url.scheme != "https" and not _is_this_machine(url.host):
            raise TrimtabError(
                f"expected an https address to send a key to, got {url}: anybody on the way could "
                f"read the key; use https, or unset {OWN_KEY} for a server that needs none"
            )
        return own, ""
    openai = os.environ.get(OPENAI_KEY)
    if openai and url.scheme == "https" and url.host == _OPENAI_HOST:
        return openai, ""
    if openai:
        return None, (
            f"{OPENAI_KEY} is sent to https://{_OPENAI_HOST} alone, not to {url.host}; set "
            f"{OWN_KEY} if this endpoint needs a key"
        )
    return None, ""


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _reason(response: httpx.Response) -> str:
    """What the endpoint says went wrong, in one line."""
    try:
        fault = response.json()["error"]
        text = str(fault["message"] if isinstance(fault, dict) else fault)
    except (ValueError, KeyError, TypeError):
        text = response.text or response.reason_phrase
    return " ".join(text.split())[:200]


def _asked_to_wait(response: httpx.Response) -> float:
    """The seconds of ``Retry-After``; 0 where there is none, or a date."""
    try:
        return max(float(response.headers["retry-after"]), 0.0)
    except (KeyError, ValueError):
        return 0.0
