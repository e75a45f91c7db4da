"""Users' dictionaries from contrast pairs, read at all sites of some layers and kept by content.

A file holds one user's entries at one layer, so that a method that wants another layer or another
site reads no more than is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...errors import TrimtabError
from ...steering.dictionaries.building import build_dictionaries
from ...steering.dictionaries.dictionary import SteeringDictionary
from ...steering.vectors.steering_vectors import SITES, points_of

if TYPE_CHECKING:
    from ...steering.contrast.pairs import ContrastPair, Exchange, Keys
    from ...steering.model import SteeredModel
    from .method import Kind, ModelVariant

# Changes whenever the same pairs would make other entries.
_FORM = 1

# Pairs read together, of whole users: wide enough for a full batch, few enough that a preparation
# tells how far it is, and that a broken-off one keeps most of its work.
_PAIRS_AT_ONCE = 24


def check_call_entries(task: str, kinds: Sequence[Kind], variant: ModelVariant | None) -> None:
    """Refuse entries that only texts have.

    Args:
        task: Whose calls are steered, for the message.
        kinds: What the entries are to be made from.
        variant: What the model that is read is to run as.

    Raises:
        TrimtabError: Another kind than ``response`` or ``context``, or a model variant.
    """
    others = [f"{kind} entries" for kind in kinds if kind not in ("response", "context")]
    if others or variant is not None:
        what = others[0] if others else "an adapter"
        raise TrimtabError(
            f"a method that steers with {what} is for texts; {task} is steered by response or "
            "context entries, read from the model as it is: choose fints or two-part, without an "
            "adapter"
        )


def readable_dictionary(path: Path) -> SteeringDictionary | None:
    """What an earlier run kept at ``path``; None where there is nothing that can be read."""
    try:
        return SteeringDictionary.load(path)
    except TrimtabError:
        return None


def kept_dictionaries(
    model: SteeredModel,
    pairs: Mapping[str, Sequence[ContrastPair]],
    *,
    layers: Iterable[int],
    keys: Keys,
    folder: Path,
    variant: str = "",
    progress: Callable[[int], None] | None = None,
) -> dict[str, SteeringDictionary]:
    """Each user's dictionary at all sites of the layers; only what is not kept is read.

    Args:
        model: To read from.
        pairs: By user id; a user without pairs gets no dictionary.
        layers: Counted from 0.
        keys: What the key texts are made of.
        folder: Where entries are kept.
        variant: The key of the model variant that is active.
        progress: Told how many users more are done.
    """
    layers = sorted(set(layers))
    users = [user for user, own in pairs.items() if own]
    dictionaries: dict[str, SteeringDictionary] = {}
    for some in _together(users, pairs):
        places = {
            (user, layer): folder / f"{digest}-{layer}.safetensors"
            for user in some
            for digest in [_digest(model, pairs[user], keys, variant)]
            for layer in layers
        }
        kept = {where: readable_dictionary(path) for where, path in places.items()}
        missing = sorted({layer for (_, layer), there in kept.items() if there is None})
        lacking = [u for u in some if any(kept[u, layer] is None for layer in missing)]
        if lacking:
            read = build_dictionaries(
                model, {u: pairs[u] for u in lacking}, layers=missing, sites=SITES, keys=keys
            )
            for user, dictionary in read.items():
                for layer in missing:
                    part = dictionary.restricted(points_of([layer], SITES))
                    part.save(places[user, layer])
                    kept[user, layer] = part
        for user in some:
            there = [kept[user, layer] for layer in layers]
            dictionaries[user] = _side_by_side([part for part in there if part is not None], user)
        if progress:
            progress(len(some))
    return dictionaries


def _together(
    users: Sequence[str], pairs: Mapping[str, Sequence[ContrastPair]]
) -> Iterator[list[str]]:
    """The users in order, as many at once as have a batch of pairs between them."""
    some: list[str] = []
    waiting = 0
    for user in users:
        some.append(user)
        waiting += len(pairs[user])
        if waiting >= _PAIRS_AT_ONCE:
            yield some
            some, waiting = [], 0
    if some:
        yield some


def one_after_another(dictionaries: Sequence[SteeringDictionary]) -> SteeringDictionary:
    """The entries of several dictionaries of one user, which have the same points, in one."""
    first = dictionaries[0]
    return first.replaced(
        points=first.points,
        entries=[entry for each in dictionaries for entry in each.entries],
        keys=torch.cat([each.keys for each in dictionaries]),
        vectors=torch.cat([each.vectors for each in dictionaries]),
    )


def _side_by_side(parts: Sequence[SteeringDictionary], user: str) -> SteeringDictionary:
    """The same entries at the points of all parts together."""
    first = parts[0]
    joined = first.replaced(
        points=tuple(point for part in parts for point in part.points),
        entries=first.entries,
        keys=first.keys,
        vectors=torch.cat([part.vectors for part in parts], dim=1),
    )
    joined.user_id = user
    return joined


def _digest(model: SteeredModel, pairs: Sequence[ContrastPair], keys: Keys, variant: str) -> str:
    """What a user's entries depend on, as a file name; whose they are is no part of it."""

    def side(exchange: Exchange) -> list[object]:
        raw = ["raw"] if exchange.raw else []
        return [[dict(message) for message in exchange.messages], exchange.answer, *raw]

    parts = [
        _FORM, model.fingerprint, model.precision, variant, model.encoder.name, keys,
        [
            [p.sample_id, p.request, p.contrast, p.timestamp, side(p.positive), side(p.negative)]
            for p in pairs
        ],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
