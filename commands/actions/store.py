"""What ``trimtab store build`` does: builds shopping users' dictionaries into a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ...eval.shop.opening import load_settings, open_shop, users_dictionaries
from ..console.progress import counting, progress_bars, waiting
from ..loading import BY_HARDWARE, Placement, load_model


def build_store(
    uri: str,
    *,
    model: str,
    placement: Placement = BY_HARDWARE,
    world: str,
    users: Sequence[str] = (),
    settings: Path | None = None,
    console: Console | None = None,
) -> None:
    """Build the dictionaries of users with training tasks, and put them in a store.

    Args:
        uri: The store's.
        model: A model's name, hub id or folder.
        placement: In which data type and on which devices it is loaded.
        world: ``bazaar``, or a folder in PersonalWAB's format.
        users: Whose; empty is everybody's.
        settings: A TOML file with a ``[steering]`` table; None is the default.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
    """
    from ...steering.store.steering_store import SteeringStore

    console = console or Console()
    chosen = load_settings(settings)
    shop = open_shop(world)
    for user in users:
        shop.world.profile(user)  # refuses an unknown one
    wanted = list(users) or sorted({task.user_id for task in shop.world.train})
    with progress_bars(console) as progress:
        with waiting(progress, f"loading {model}"):
            loaded = load_model(model, placement)
        with SteeringStore(uri, model=loaded) as store:
            told = counting(progress, "steering dictionaries", len(wanted))
            found = users_dictionaries(loaded, shop, wanted, chosen, progress=told)
            store.put(*found.values())
    left = len(wanted) - len(found)
    without = f"; {left} have no training tasks" if left else ""
    console.print(f"{len(found)} users' dictionaries are in {uri}{without}", soft_wrap=True)
