"""What a search tries, from how it is written on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from ...errors import TrimtabError
from ...steering.dictionaries.settings import SteeringSettings
from ...steering.dictionaries.tuning import Grid
from ...steering.vectors.positions import Positions
from ...steering.vectors.steering_vectors import Site

T = TypeVar("T")


def grid_of(
    *,
    sites: str,
    depths: str,
    strengths: str,
    positions: str = "",
    keys: str = "",
    aggregates: str = "",
    ks: str = "",
    temperatures: str = "",
    half_lives: str = "",
) -> Grid:
    """A grid from lists with commas; the rest is the default.

    Args:
        sites: Sets of sites, as in ``attn+mlp,block``.
        depths: As in ``0.6,0.72``.
        strengths: As in ``1,2``.
        positions: As in ``answer,all,12``; empty leaves the choice to the task.
        keys: As in ``input,input+answer``. Of this and all that follow, empty is the default.
        aggregates: As in ``attentive,mean``.
        ks: As in ``1,5``.
        temperatures: As in ``0.1,0.2``.
        half_lives: As in ``0,4,16``.

    Raises:
        TrimtabError: A list without items, an item that is none, or out of its range.

    Example:
        >>> grid_of(sites="attn+mlp,block", depths="0.6", strengths="1,2").sites
        (('attn', 'mlp'), ('block',))
    """
    usual = Grid()
    return Grid(
        sites=_items("sites", sites, lambda item: cast("tuple[Site, ...]", tuple(item.split("+")))),
        depths=_items("depths", depths, float, wrapped=True),
        strengths=_items("strength", strengths, float),
        positions=_items("positions", positions, _position, usual=()),
        keys=_items("keys", keys, _word, usual=usual.keys),
        aggregates=_items("aggregate", aggregates, _word, usual=usual.aggregates),
        ks=_items("k", ks, int, usual=usual.ks),
        temperatures=_items("temperature", temperatures, float, usual=usual.temperatures),
        half_lives=_items("half_life", half_lives, float, usual=usual.half_lives),
    )


def _items(
    setting: str,
    text: str,
    read: Callable[[str], T],
    *,
    wrapped: bool = False,
    usual: tuple[T, ...] | None = None,
) -> tuple[T, ...]:
    """The items, each checked by making settings of it; ``usual`` where the text is empty."""
    if not text and usual is not None:
        return usual
    items = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        try:
            value = read(item)
            plain: Any = [value] if wrapped else value
            SteeringSettings.of({setting: list(plain) if isinstance(plain, tuple) else plain})
        except (ValueError, TrimtabError) as error:
            raise TrimtabError(f"cannot try {setting} {item!r}: {error}") from error
        items.append(value)
    if not items:
        raise TrimtabError(f"expected at least one value to try for {setting}, got {text!r}")
    return tuple(items)


def _word(item: str) -> Any:
    return item


def _position(item: str) -> Positions:
    return int(item) if item.isdigit() else cast("Positions", item)
