"""Whose vectors are added, and by which settings: the one place that decides what steers whom.

The text methods, the shop, the agent's graph and the chat model all ask a function that
``steer_by`` made. A control is the same function with another ``whose``: it differs from its
method in nothing but whose vectors are added.
"""

from __future__ import annotations

import copy
import hashlib
import json
import numbers
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, get_args

from torch import Tensor

from ...errors import TrimtabError
from ..vectors.entries import Contrast
from ..vectors.steering import Steering
from ..vectors.steering_vectors import Point, SteeringVectors, points_of
from .derangement import derangement
from .dictionary import SteeringDictionary
from .encoder import load_encoder
from .population import Population
from .settings import HasDepths, SteeringSettings
from .steer_checks import Whose, check_fits, check_kinds, picked_kind, with_options
from .sums import KeepsSums, OthersSums
from .switches import Switches, known_user
from .two_parts import TwoParts

_REMEMBERED_QUERIES = 256


class Embeds(Protocol):
    """A sentence encoder."""

    @property
    def name(self) -> str:
        """What the encoder is called; keys of another one cannot be compared with its queries."""
        ...

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows, shape ``(len(texts), dimensions)``."""
        ...


class ReadsAndEmbeds(HasDepths, Protocol):
    """What is needed of a model: which layer a depth is, and the sentence encoder of queries."""

    @property
    def encoder(self) -> Embeds:
        """The sentence encoder."""
        ...


class Steer(Protocol):
    """What steers a request of a user; ``steer_by`` makes one."""

    def __call__(
        self, user: str, query: str | Tensor, before: int | None = None
    ) -> Steering | None:
        """What is added for one request; None is nothing.

        Args:
            user: Whose request it is.
            query: The request, or its embedding of shape ``(dimensions,)``.
            before: Only entries of samples strictly earlier than this are picked.
        """
        ...


def steer_by(
    dictionaries: Mapping[str, SteeringDictionary],
    settings: SteeringSettings | None = None,
    whose: Whose = "own",
    seed: int = 0,
    *,
    model: ReadsAndEmbeds | None = None,
) -> SteerBy:
    """Decide by which vectors each user's requests are steered.

    Args:
        dictionaries: The users' dictionaries: a ``SteeringStore``, or any mapping by user.
        settings: Where vectors are added, which entries are picked, and how. None is the default
            of ``SteeringSettings`` at whatever points a dictionary holds.
        whose: ``own`` steers a user by their own entries. The controls: ``other`` by those of
            another user, each user lent once, whatever their time; ``population`` by the mean of
            everybody else's. In two parts a control replaces the picked entries alone, and the
            collective part stays: everybody else's mean in their place leaves nothing personal.
        seed: Of who lends to whom.
        model: Whose layers the settings' depths are, and whose encoder embeds queries; settings
            need it.

    Returns:
        A function of the user, the request (or its embedding) and a time that only earlier entries
        are picked for; see ``SteerBy.__call__`` for what a single request may set besides. A user
        without a dictionary is not steered, nor, under any ``whose``, one who is switched off in
        the store; a user's own strength factor there multiplies the settings' strength.

    Raises:
        TrimtabError: Dictionaries without vectors at the settings' sites and depths, with keys of
            another kind or encoder, or without an entry of the kind that is to be picked; a
            control or steering in two parts without other users to take it from.

    Example:
        >>> steer = steer_by({"ada": dictionary}, settings, model=model)  # doctest: +SKIP
        >>> steer("ada", "a light rain jacket")  # doctest: +SKIP
    """
    return SteerBy(dictionaries, settings, whose, seed, model=model)


def steer_or_store(
    steer: Steer | None,
    store: Mapping[str, SteeringDictionary] | None,
    settings: SteeringSettings | None,
    model: ReadsAndEmbeds,
) -> Steer | None:
    """What steers, given as such or as dictionaries and settings; None is nothing.

    Raises:
        TrimtabError: Both are given, or as for ``steer_by``.
    """
    if steer is not None and store is not None:
        raise TrimtabError("expected steer=... or store=..., got both; give one of them")
    return steer if store is None else steer_by(store, settings, model=model)


class SteerBy:
    """The function that ``steer_by`` returns; see there.

    Attributes:
        settings: Where vectors are added, which entries are picked, and how.
        whose: Whose vectors steer.
        seed: Of who lends to whom.
        points: Where vectors are added; None is wherever a dictionary holds some.
    """

    def __init__(
        self,
        dictionaries: Mapping[str, SteeringDictionary],
        settings: SteeringSettings | None,
        whose: Whose,
        seed: int,
        *,
        model: ReadsAndEmbeds | None,
    ) -> None:
        if whose not in get_args(Whose):
            raise TrimtabError(f"expected whose {', '.join(get_args(Whose))}, got {whose!r}")
        self.settings = settings or SteeringSettings()
        self.whose = whose
        self.seed = seed
        self.points: tuple[Point, ...] | None = None
        if settings is not None:
            if model is None:
                raise TrimtabError(
                    "which layers the settings' depths are depends on the model; pass model=..."
                )
            self.points = points_of(settings.layers(model), settings.sites)
        self._named_keys = None if settings is None else settings.keys
        self._dictionaries = dictionaries
        self._model = model
        self._sums = (
            None if isinstance(dictionaries, KeepsSums) else OthersSums(dictionaries, self._placed)
        )
        self._queries: dict[str, Tensor] = {}
        self._lock = threading.Lock()
        self._check_all()
        self._lender = derangement(self._lenders(), seed) if whose == "other" else {}

    def __call__(
        self,
        user: str,
        query: str | Tensor,
        before: int | None = None,
        *,
        strength: float | None = None,
        k: int | None = None,
        without: Collection[str] = (),
    ) -> Steering | None:
        """What is added for one request of a user; see ``Steer``.

        Args:
            user: Whose request it is.
            query: The request, or its embedding of shape ``(dimensions,)``.
            before: Only entries of samples strictly earlier than this are picked.
            strength: In the place of the settings' strength, for this request. The user's own
                factor multiplies this too.
            k: In the place of the settings' ``k``, for this request.
            without: Samples of the user whose entries are left out of this request.

        Raises:
            TrimtabError: The user is no text and no number, an option is out of its range, the
                dictionary lacks what the settings name, or there is nobody else to take the other
                users' part from.
        """
        user = user_name(user)
        settings = with_options(self.settings, strength, k, without)
        own, switches = known_user(self._dictionaries, user)
        if own is None or not switches.factor:
            return None
        own = self._placed(own)
        settings = replace(settings, strength=settings.strength * switches.factor)
        if self.whose == "population":
            return self._by_everybody_else(user, own, settings)
        others = self._others(user)
        if self.whose == "other":
            own, before, without = self._lent(user, own), None, ()
        query = self._embedded(query, own)
        return settings.select(own, query, before=before, without=without, others=others)

    def control(self, whose: Whose) -> SteerBy:
        """The same with another ``whose``."""
        return SteerBy(
            self._dictionaries,
            None if self.points is None else self.settings,
            whose,
            self.seed,
            model=self._model,
        )

    def embedding_with(self, model: ReadsAndEmbeds) -> SteerBy:
        """The same with another object for the same model, whose encoder embeds the queries."""
        same = copy.copy(self)
        same._model = model
        return same

    def description(self, users: Iterable[str] | None = None) -> dict[str, Any]:
        """Plain data that tells this steering from another: settings, whose, and the vectors.

        Args:
            users: Who is steered; None is everybody. Of a store, only their dictionaries are read.
        """
        return {
            "settings": asdict(self.settings),
            "points": None if self.points is None else [list(point) for point in self.points],
            "whose": self.whose,
            "seed": self.seed if self.whose == "other" else None,
            "dictionaries": self._digest(users),
        }

    def _digest(self, users: Iterable[str] | None) -> dict[str, Any]:
        named = sorted(self._dictionaries if users is None else set(map(user_name, users)))
        known = {user: known_user(self._dictionaries, user) for user in named}
        steered = {user: own for user, (own, _) in known.items() if own is not None}
        read = dict(steered)
        if isinstance(self._dictionaries, KeepsSums):
            for user in steered:
                if lender := self._lender.get(user):
                    read[lender] = self._dictionaries[lender]
        elif self._needs_others or self.whose == "other":
            read |= self._dictionaries
        digest = hashlib.sha256()
        for user, own in sorted(read.items()):
            digest.update(json.dumps([user, own.digest]).encode())
            if user in known and (switches := known[user][1]) != Switches():
                digest.update(json.dumps(asdict(switches)).encode())
        if isinstance(self._dictionaries, KeepsSums) and self._needs_others:
            everyone = self._dictionaries.population().to_json()
            digest.update(json.dumps(everyone, sort_keys=True).encode())
        return {"number": len(steered), "digest": digest.hexdigest()[:16]}

    @property
    def _needs_others(self) -> bool:
        """Whether the other users' sums have a part in what is added."""
        guarded = self.settings.outliers != "keep"
        return self.settings.in_two_parts or self.whose == "population" or guarded

    def _others(self, user: str) -> Population | None:
        """Everybody else's entries, where they have a part in it."""
        if not self._needs_others:
            return None
        if self._sums is None:
            assert isinstance(self._dictionaries, KeepsSums)
            return self._dictionaries.population(without=user)
        only_guards = not (self.settings.in_two_parts or self.whose == "population")
        if only_guards and not set(self._dictionaries) - {user}:
            return None  # outliers are compared with the others where there are any
        return self._sums.without(user)

    def _by_everybody_else(
        self, user: str, own: SteeringDictionary, settings: SteeringSettings
    ) -> Steering | None:
        """The others' mean in the place of what the user's own request would pick."""
        others = self._others(user)
        assert others is not None
        if settings.in_two_parts:
            # The personal part is what is picked over the others' mean: of that mean, nothing.
            vectors = TwoParts(others, settings.collective).vectors(own.points, None)
        else:
            wanted = picked_kind(self.settings)
            kinds: list[Contrast] = sorted(others.kinds) if wanted is None else [wanted]
            mean = SteeringVectors.mean(others.mean(kind) for kind in kinds).values
            vectors = SteeringVectors({point: mean[point] for point in own.points})
        return Steering(
            vectors,
            strength=settings.strength,
            positions=settings.positions,
            relative=settings.relative,
            cap=settings.cap or None,
            max_norm=settings.max_norm or None,
            fingerprint=own.fingerprint,
        )

    def _lent(self, user: str, own: SteeringDictionary) -> SteeringDictionary:
        """The dictionary that a user borrows; their own where nothing of it can be picked.

        Raises:
            TrimtabError: The user came after it was drawn who lends to whom.
        """
        lender = self._lender.get(user)
        if lender is not None:
            return self._placed(self._dictionaries[lender])
        if self._lends(own):
            raise TrimtabError(
                f"user {user!r} came after it was drawn which users' dictionaries the control "
                "lends; call steer_by again"
            )
        return own

    def _placed(self, dictionary: SteeringDictionary) -> SteeringDictionary:
        """The dictionary at the settings' points alone.

        Raises:
            TrimtabError: It lacks them, or its keys are of another kind or encoder.
        """
        self._check(dictionary)
        if self.points is None or self.points == dictionary.points:
            return dictionary
        return dictionary.restricted(self.points)

    def _check(self, dictionary: SteeringDictionary) -> None:
        encoder = None if self._model is None else self._model.encoder.name
        check_fits(dictionary, self.points or (), self._named_keys, encoder)

    def _embedded(self, query: str | Tensor, dictionary: SteeringDictionary) -> Tensor:
        if isinstance(query, Tensor):
            return query
        with self._lock:
            known = self._queries.get(query)
        if known is None:
            encoder: Embeds = (
                load_encoder(dictionary.encoder_name)
                if self._model is None
                else self._model.encoder
            )
            known = encoder.encode([query])[0]
            with self._lock:
                if len(self._queries) >= _REMEMBERED_QUERIES:
                    del self._queries[next(iter(self._queries))]
                self._queries[query] = known
        return known

    def _check_all(self) -> None:
        """Refuse now what would fail, or steer nobody, at the first request."""
        if self._sums is None:
            assert isinstance(self._dictionaries, KeepsSums)
            everyone = self._dictionaries.population()
            first = next(iter(self._dictionaries), None) if everyone.points else None
            if first is not None:
                self._check(self._dictionaries[first])  # all of a store are alike
                check_kinds({kind: 2 for kind in everyone.kinds}, self.settings, self.whose)
            return
        holders: dict[Contrast, int] = {}
        for user, dictionary in self._dictionaries.items():
            if not isinstance(user, str):
                raise TrimtabError(
                    f"expected dictionaries by user ids that are text, got {user!r}; use "
                    f"{str(user)!r}"
                )
            self._check(dictionary)
            for kind in {entry.contrast for entry in dictionary.entries}:
                holders[kind] = holders.get(kind, 0) + 1
        if len(self._dictionaries):
            check_kinds(holders, self.settings, self.whose)

    def _lenders(self) -> list[str]:
        """Who has something to lend."""
        if self._sums is None:
            return list(self._dictionaries)
        return [user for user, own in self._dictionaries.items() if self._lends(own)]

    def _lends(self, dictionary: SteeringDictionary) -> bool:
        """Whether it holds an entry of the kind that is picked."""
        wanted = picked_kind(self.settings)
        return any(wanted in (None, entry.contrast) for entry in dictionary.entries)


def user_name(user: Any) -> str:
    """A user's id as text; a whole number is the user who is called so.

    Raises:
        TrimtabError: It is neither, or empty.
    """
    if isinstance(user, numbers.Integral) and user is not True and user is not False:
        return str(int(user))
    if isinstance(user, str) and user:
        return user
    raise TrimtabError(
        f"expected a user id that is text or a whole number, got {user!r} ({type(user).__name__})"
    )
