"""What is refused before it steers: dictionaries that lack what the settings name, odd options."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ...errors import TrimtabError
from ..contrast.pairs import Keys
from ..vectors.entries import Contrast
from ..vectors.steering_vectors import Point
from .dictionary import SteeringDictionary
from .settings import SteeringSettings

Whose = Literal["own", "other", "population"]
"""Whose vectors steer: the user's own or, as controls, another user's or everybody else's mean."""

_log = logging.getLogger(__name__)


def check_fits(
    dictionary: SteeringDictionary,
    points: Sequence[Point],
    keys: Keys | None,
    encoder: str | None,
) -> None:
    """Refuse a dictionary that lacks what the settings name.

    Args:
        dictionary: Of any user.
        points: Where it has to hold vectors.
        keys: What its key texts have to be made of; None is anything.
        encoder: The name of the encoder of queries; None is whatever the dictionary has.

    Raises:
        TrimtabError: It lacks some of the points, or has keys of another kind or encoder.
    """
    whose = f"the dictionary of {dictionary.user_id!r}"
    if encoder is not None and dictionary.encoder_name != encoder:
        raise TrimtabError(
            f"{whose} has keys by the encoder {dictionary.encoder_name!r}, the model has "
            f"{encoder!r}; load the model with the dictionary's encoder"
        )
    if keys is not None and dictionary.keys_from != keys:
        raise TrimtabError(
            f"{whose} has keys made of {dictionary.keys_from}, the settings want them of "
            f"{keys}; set keys, or build it again"
        )
    missing = [tuple(point) for point in points if point not in dictionary.points]
    if missing:
        raise TrimtabError(
            f"{whose} holds no vectors at {missing}, where the settings' sites and depths are; "
            f"it has {[tuple(point) for point in dictionary.points]}: set those, or build it "
            "again"
        )


def picked_kind(settings: SteeringSettings) -> Contrast | None:
    """The kind of entries that are picked; None is any."""
    if settings.in_two_parts:
        return settings.personal_from
    return None if settings.contrast == "any" else settings.contrast


def check_kinds(holders: Mapping[Contrast, int], settings: SteeringSettings, whose: Whose) -> None:
    """Refuse settings that pick, or take from others, entries of a kind that there is not.

    Args:
        holders: How many users have entries of each kind.
        settings: What is picked.
        whose: Whose vectors steer.

    Raises:
        TrimtabError: Nobody, or too few users, have entries of a kind that is wanted.
    """
    wanted = picked_kind(settings)
    if settings.in_two_parts:
        needed: list[Contrast] = ["response"] if settings.collective else []
        if settings.personal and settings.personal_from in holders:
            needed.append(settings.personal_from)
        elif settings.personal:
            _log.warning(
                "no user has an entry of %r contrast, so that the personal part is left out",
                settings.personal_from,
            )
        for kind in needed:
            if holders.get(kind, 0) < 2:
                raise TrimtabError(
                    f"steering in two parts needs at least two users with {kind!r} entries, "
                    f"got {holders.get(kind, 0)}; take more users, or build dictionaries from "
                    "such pairs"
                )
    elif wanted is not None and wanted not in holders:
        raise TrimtabError(
            f"the settings pick entries of {wanted!r} contrast alone, and nobody has one; "
            f"build dictionaries from such pairs, or set contrast to one of {sorted(holders)}"
        )
    elif whose == "population" and max(holders.values(), default=0) < 2:
        raise TrimtabError(
            "the control population needs at least two users with entries of a kind, got "
            "1; take more users"
        )


def with_options(
    settings: SteeringSettings, strength: float | None, k: int | None, without: Collection[str]
) -> SteeringSettings:
    """The settings as one request wants them.

    Raises:
        TrimtabError: An option is out of its range.
    """
    if strength is not None and not (type(strength) in (int, float) and math.isfinite(strength)):
        raise TrimtabError(f"expected a request's strength to be a finite number, got {strength!r}")
    if k is not None and not (type(k) is int and k >= 1):
        raise TrimtabError(f"expected a request's k to be a whole number of at least 1, got {k!r}")
    if isinstance(without, str):
        raise TrimtabError(f"expected a list of the samples to leave out, got {without!r}")
    if strength is not None:
        settings = replace(settings, strength=float(strength))
    return settings if k is None else replace(settings, k=k)
