"""Keys: who may call, for which users, and what for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import TrimtabError
from ..steering.store.keys import KeptKey
from ..steering.store.steering_store import SteeringStore
from .failures import ApiError

Right = Literal["chat", "learn", "manage", "metrics"]
"""What a key may do: ask, tell what users did, see and change what is kept of users, measure."""

RIGHTS: tuple[Right, ...] = get_args(Right)


@dataclass(frozen=True)
class Users:
    """For which users a key may act.

    Attributes:
        kind: ``all``, ``prefix``: those whose ids begin so, or ``one``.
        of: The beginning, or the id.
    """

    kind: Literal["all", "prefix", "one"] = "all"
    of: str = ""

    def hold(self, user: str) -> bool:
        """Whether a user is among them."""
        if self.kind == "all":
            return True
        return user == self.of if self.kind == "one" else user.startswith(self.of)

    def __str__(self) -> str:
        return self.kind if self.kind == "all" else f"{self.kind}:{self.of}"

    @classmethod
    def read(cls, text: str) -> Users:
        """What ``str`` wrote.

        Raises:
            TrimtabError: Something else.
        """
        kind, colon, of = text.partition(":")
        if kind == "all" and not colon:
            return cls()
        if kind == "prefix" and of:
            return cls("prefix", of)
        if kind == "one" and of:
            return cls("one", of)
        raise TrimtabError(f"expected users all, prefix:BEGINNING or one:ID, got {text!r}")


@dataclass(frozen=True)
class Key:
    """What a key allows.

    Attributes:
        id: Names the key; no secret.
        users: For whom it may act.
        rights: What it may do.
    """

    id: str
    users: Users
    rights: frozenset[Right]

    @classmethod
    def of(cls, kept: KeptKey) -> Key:
        """A key as the store keeps it."""
        rights = frozenset(right for right in RIGHTS if right in kept.rights.split(","))
        return cls(kept.id, Users.read(kept.users), rights)


def make_key(store: SteeringStore, label: str, users: Users, rights: frozenset[Right]) -> str:
    """Make a key, of which the store keeps a hash alone.

    Returns:
        The key itself, which nobody can read again.

    Raises:
        TrimtabError: No right, or the store cannot be written.
    """
    if not rights:
        raise TrimtabError(f"expected at least one right of {', '.join(RIGHTS)}, got none")
    id = secrets.token_hex(6)
    token = f"tt-{id}-{secrets.token_urlsafe(32)}"
    store.access_keys.put(
        id,
        digest=_digest(token),
        label=label,
        users=str(users),
        rights=",".join(sorted(rights)),
    )
    return token


class Authenticator:
    """Who a request comes from.

    Without any key in the store everybody on this machine may do everything, and nobody else
    anything. As soon as a key has been seen, one is needed for as long as the process runs.

    Args:
        store: Where the keys are kept.
        loopback: Whether the server listens on this machine alone.
    """

    def __init__(self, store: SteeringStore, *, loopback: bool = True) -> None:
        self._store = store
        self._required = not loopback

    def required(self) -> bool:
        """Whether a key is needed; reads the store until one is."""
        if not self._required and self._store.access_keys.any():
            self._required = True
        return self._required

    def key(self, token: str | None) -> Key | None:
        """The key that a token is; None where none is needed.

        Raises:
            ApiError: No such key.
        """
        if not self.required():
            return None
        id = token.split("-")[1] if token and token.count("-") >= 2 else ""
        kept = self._store.access_keys.find(id) if id else None
        if token and kept is not None and hmac.compare_digest(kept.digest, _digest(token)):
            return Key.of(kept)
        raise ApiError(
            401,
            "expected a key as 'Authorization: Bearer tt-...'; make one: trimtab keys make",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


@dataclass(frozen=True)
class Caller:
    """Who a request comes from; without a key, somebody on this machine.

    Attributes:
        key: What it may do; None is everything.
    """

    key: Key | None = None

    def check(self, right: Right, user: str | None = None) -> None:
        """Refuse what the key does not allow.

        Raises:
            ApiError: It lacks the right, or may not act for the user.
        """
        if self.key is None:
            return
        if right not in self.key.rights:
            raise ApiError(
                403,
                f"the key {self.key.id} may {', '.join(sorted(self.key.rights))}, not {right}; use "
                "another key",
                code="missing_right",
            )
        if user is not None and not self.key.users.hold(user):
            raise ApiError(
                403,
                f"the key {self.key.id} may not act for this user; use a key that may",
                code="user_not_allowed",
                param="user",
            )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
