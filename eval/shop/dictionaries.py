"""The shopping users' steering dictionaries: built from their training tasks, kept, or given."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...errors import TrimtabError
from ..methods.entries import readable_dictionary

if TYPE_CHECKING:
    from ...envs.shop.environment import ShopEnvironment
    from ...steering.contrast.pairs import ContrastPair
    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.model import SteeredModel

T = TypeVar("T")

# Changes whenever the same users and settings would make other dictionaries.
_FORM = 2

# Users built together: wide enough for full batches, few enough that a build tells how far it is,
# and that a broken-off one keeps most of its work. What all prompts begin with is run once for all.
_USERS_AT_ONCE = 2


def shop_dictionaries(
    model: SteeredModel,
    environment: ShopEnvironment,
    users: Sequence[str],
    settings: SteeringSettings,
    *,
    with_context: bool = False,
    folder: Path,
    progress: Callable[[int], None] | None = None,
) -> dict[str, SteeringDictionary]:
    """Each user's dictionary, from their training tasks by response contrast.

    Args:
        model: To read from.
        environment: The shop.
        users: Whose; a user without training tasks gets none.
        settings: What is read: sites, depths and keys.
        with_context: Also entries by context contrast.
        folder: Where dictionaries are kept; one that is there is not built again.
        progress: Told how many users more are done.
    """
    from ...agent.shop.pairs import context_pairs, tool_choice_pairs
    from ...steering.dictionaries.building import build_dictionaries

    places = {
        user: folder / f"{_digest(model, environment, user, settings, with_context)}.safetensors"
        for user in users
    }
    dictionaries = {}
    for user, place in places.items():
        kept = readable_dictionary(place)
        if kept is not None:
            dictionaries[user] = kept
    if progress:
        progress(len(dictionaries))
    missing = [user for user in users if user not in dictionaries]
    for some in _runs(missing, _USERS_AT_ONCE):
        tasks = [t for user in some for t in environment.world.past_tasks(user, sys.maxsize)]
        both = [tool_choice_pairs(environment, tasks)]
        if with_context:
            both.append(context_pairs(model, environment, some))
        pairs: dict[str, Sequence[ContrastPair]] = {
            user: own for user in some if (own := [p for kind in both for p in kind.get(user, ())])
        }
        if pairs:
            built = build_dictionaries(
                model,
                pairs,
                layers=settings.layers(model),
                sites=settings.sites,
                keys=settings.keys,
                rejected="likeliest",
            )
            for user, dictionary in built.items():
                dictionary.save(places[user])
            dictionaries.update(built)
        if progress:
            progress(len(some))
    return {user: dictionaries[user] for user in users if user in dictionaries}


def kept_dictionary(
    model: SteeredModel,
    environment: ShopEnvironment,
    user: str,
    settings: SteeringSettings,
    *,
    folder: Path,
) -> SteeringDictionary | None:
    """What ``shop_dictionaries`` has kept of a user; None where it has built nothing yet."""
    digest = _digest(model, environment, user, settings, wants_context(settings))
    return readable_dictionary(folder / f"{digest}.safetensors")


def given_dictionaries(
    folder: Path, model: SteeredModel, users: Sequence[str]
) -> dict[str, SteeringDictionary]:
    """The dictionaries in a folder of files ``<user id>.safetensors``; see ``load_dictionaries``.

    Raises:
        TrimtabError: As for ``load_dictionaries``.
    """
    from ...steering.dictionaries.loading import load_dictionaries

    return load_dictionaries(folder, users, model=model)


def stored_dictionaries(
    uri: str, model: SteeredModel, users: Sequence[str]
) -> dict[str, SteeringDictionary]:
    """The dictionaries that a ``SteeringStore`` holds of these users.

    Raises:
        TrimtabError: It holds none of the users, or those of another model.
    """
    from ...steering.store.steering_store import SteeringStore

    store = SteeringStore(uri, model=model)
    dictionaries = {user: store[user] for user in users if user in store}
    if not dictionaries:
        raise TrimtabError(
            f"the store at {uri} holds a dictionary of none of the users; expected such as "
            f"{users[0]!r}"
        )
    return dictionaries


def wants_context(settings: SteeringSettings) -> bool:
    """Whether settings pick entries by context contrast."""
    return settings.contrast == "context" or settings.in_two_parts


def of_kinds(
    dictionaries: Mapping[str, SteeringDictionary], kinds: Sequence[str]
) -> dict[str, SteeringDictionary]:
    """The dictionaries' entries of these kinds alone; who has none is left out."""
    chosen = {}
    for user, dictionary in dictionaries.items():
        places = [n for n, entry in enumerate(dictionary.entries) if entry.contrast in kinds]
        if len(places) == len(dictionary.entries):
            chosen[user] = dictionary
        elif places:
            chosen[user] = dictionary.replaced(
                entries=[dictionary.entries[n] for n in places],
                keys=dictionary.keys[places],
                vectors=dictionary.vectors[places],
            )
    return chosen


def _digest(
    model: SteeredModel,
    environment: ShopEnvironment,
    user: str,
    settings: SteeringSettings,
    with_context: bool,
) -> str:
    """What a user's dictionary depends on, as a file name."""
    parts = [
        _FORM,
        model.fingerprint,
        environment.world.fingerprint,
        user,
        settings.layers(model),
        list(settings.sites),
        settings.keys,
        with_context,
        model.encoder.name,
        environment.toolkit.schemas(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _runs(items: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    return (items[start : start + length] for start in range(0, len(items), length))
