"""Everybody's entries but one user's: from a store's running sums, or from sums over a mapping."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from ...errors import TrimtabError
from .dictionary import SteeringDictionary
from .population import Population


@runtime_checkable
class KeepsSums(Protocol):
    """What keeps all users' entries summed up by itself, such as a ``SteeringStore``."""

    def population(self, *, without: str | None = None) -> Population:
        """Everyone's entries, or all but one user's."""
        ...


class OthersSums:
    """The sums of a mapping's dictionaries, kept in step with it.

    A dictionary that was added to or dropped from, and a user who came or went, are noticed when
    the sums are next asked for; all other users are not summed again.

    Args:
        dictionaries: By user, all with vectors at the same points.
        prepared: What is summed of a dictionary; restricts it to some points, say.
    """

    def __init__(
        self,
        dictionaries: Mapping[str, SteeringDictionary],
        prepared: Callable[[SteeringDictionary], SteeringDictionary],
    ) -> None:
        self._dictionaries = dictionaries
        self._prepared = prepared
        self._summed: dict[str, tuple[Tensor, Population]] = {}
        self._total: Population | None = None
        self._lock = threading.Lock()

    def without(self, user: str) -> Population:
        """Everybody's entries but this user's.

        Raises:
            TrimtabError: There is nobody else.
        """
        with self._lock:
            self._catch_up()
            total, own = self._total, self._summed.get(user)
        if total is None or not set(self._summed) - {user}:
            raise TrimtabError(
                f"expected the dictionaries of others than {user!r}, got none; take more users"
            )
        return total if own is None else total.minus(own[1])

    def _catch_up(self) -> None:
        for user in [user for user in self._summed if user not in self._dictionaries]:
            assert self._total is not None
            self._total = self._total.minus(self._summed.pop(user)[1])
        for user, dictionary in self._dictionaries.items():
            # Whatever changes a dictionary's entries gives it another tensor of vectors.
            known = self._summed.get(user)
            if known is not None and known[0] is dictionary.vectors:
                continue
            own = Population.of(self._prepared(dictionary))
            if known is not None:
                assert self._total is not None
                self._total = self._total.minus(known[1])
            self._total = own if self._total is None else self._total.plus(own)
            self._summed[user] = dictionary.vectors, own


def population_of(dictionaries: Mapping[str, SteeringDictionary], *, without: str) -> Population:
    """Everybody's entries but one user's, of a store or of any other mapping by user.

    A store keeps them summed up; of another mapping, all are read.

    Raises:
        TrimtabError: There is nobody else.
    """
    if isinstance(dictionaries, KeepsSums):
        return dictionaries.population(without=without)
    others = [own for user, own in dictionaries.items() if user != without]
    if not others:
        raise TrimtabError(f"expected the dictionaries of others than {without!r}, got none")
    return Population.of(*others)
