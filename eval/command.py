"""What ``trimtab run`` does: plays the shopping comparison and shows how it comes out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..errors import TrimtabError
from ..files import home
from .dictionaries import given_dictionaries, shop_dictionaries
from .score import ScoredEpisode
from .shop import STEERED, ShopStudy, run_shop
from .show import episode_view
from .table import print_tables

if TYPE_CHECKING:
    from ..agent.graph import Decode
    from ..envs.records import ShoppingTask
    from ..envs.shop import ShopEnvironment
    from ..envs.world import World

BUILT_IN_WORLD = "bazaar"


def run_command(
    *,
    model: str,
    world: str = BUILT_IN_WORLD,
    episodes: int = 72,
    spread: int = 24,
    users: Sequence[str] = (),
    seed: int = 0,
    settings: Path | None = None,
    dictionaries: Path | None = None,
    decode: Decode = "constrained",
    out: Path | None = None,
    show: bool = False,
    max_live: int = 48,
    console: Console | None = None,
) -> None:
    """Play test tasks under every arm, and print the tables.

    Args:
        model: A model's name, hub id or folder.
        world: ``bazaar``, or a folder in PersonalWAB's format.
        episodes: How many test tasks.
        spread: Over how many users, as each one's dictionary has to be built.
        users: Only tasks of these users; empty is all.
        seed: Of the choice of tasks and of the strangers.
        settings: A TOML file with a ``[steering]`` table; None is the default.
        dictionaries: A folder of the users' dictionaries; None builds them.
        decode: Whether calls are constrained.
        out: The run's folder; one with results of the same configuration is gone on with. None
            is a new one in the cache folder.
        show: Print each episode as it ends.
        max_live: How many episodes are played at once.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C, when what is finished has been shown.
    """
    from ..agent.settings import TOOL_CHOICE
    from ..steering.model import SteeredModel
    from ..steering.settings import SteeringSettings

    console = console or Console()
    chosen = SteeringSettings.load(settings) if settings else TOOL_CHOICE
    shop = _shop(world)
    tasks = pick_tasks(shop.world, episodes, seed, users, spread)
    out = out or home() / "runs" / f"shop-{datetime.now():%Y%m%d-%H%M%S}"
    with _progress(console) as progress:
        loading = progress.add_task(f"loading {model}", total=None)
        loaded = SteeredModel.from_pretrained(model)
        progress.remove_task(loading)
        opening = progress.add_task("opening the shop", total=None)
        shop.toolkit  # noqa: B018  the first time, this indexes the products and trains a recommender
        progress.remove_task(opening)

        steered_users = _with_a_stranger(shop, tasks)
        if dictionaries is None:
            building = progress.add_task("steering dictionaries", total=len(steered_users))
            found = shop_dictionaries(
                loaded,
                shop,
                steered_users,
                chosen,
                folder=home() / "dictionaries",
                progress=lambda done: progress.advance(building, done),
            )
        else:
            found = given_dictionaries(dictionaries, loaded, shop.world.users)
        study = ShopStudy(loaded, shop, tasks, found, chosen, decode=decode, seed=seed)
        playing = progress.add_task("episodes", total=len(tasks) * len(study.arms))

        def ended(episode: ScoredEpisode) -> None:
            progress.advance(playing)
            if show:
                progress.console.print(episode_view(episode), "")

        run = run_shop(study, folder=out, max_live=max_live, on_episode=ended)
        progress.update(playing, completed=len(run.episodes))
    if run.episodes:
        print_tables(console, run.episodes, run.arms, STEERED)
    console.print(
        f"{len(run.episodes)} of {run.planned} episodes in {run.seconds:.0f} s, kept in {out}",
        soft_wrap=True,
        highlight=False,
    )
    if run.interrupted:
        raise KeyboardInterrupt


def pick_tasks(
    world: World, episodes: int, seed: int, users: Sequence[str] = (), spread: int | None = None
) -> list[ShoppingTask]:
    """The test tasks to play.

    Args:
        world: The world.
        episodes: How many.
        seed: Of the choice.
        users: Only tasks of these; empty is all.
        spread: Tasks of so many users, or of as many more as it takes; None is of all.

    Raises:
        TrimtabError: Fewer than 1 or more than there are, or a user whom the world does not know.
    """
    if not users:
        world.select_tasks("test", episodes, seed)  # refuses a number that there is not
        return _spread(world.select_tasks("test", None, seed), episodes, spread)
    for user in users:
        world.profile(user)  # refuses an unknown one
    own = [task for task in world.select_tasks("test", None, seed) if task.user_id in users]
    if not 1 <= episodes <= len(own):
        raise TrimtabError(
            f"expected between 1 and {len(own)} episodes, the test tasks of "
            f"{', '.join(users)}; got {episodes}"
        )
    return own[:episodes]


def _spread(tasks: Sequence[ShoppingTask], episodes: int, spread: int | None) -> list[ShoppingTask]:
    """The first tasks of so few users, in the order of ``tasks``, in which users take turns."""
    by_user: dict[str, list[ShoppingTask]] = {}
    for task in tasks:
        by_user.setdefault(task.user_id, []).append(task)
    chosen: set[str] = set()
    available = 0
    for number, (user, own) in enumerate(by_user.items()):
        if spread is not None and number >= spread and available >= episodes:
            break
        chosen.add(user)
        available += len(own)
    return [task for task in tasks if task.user_id in chosen][:episodes]


def _shop(world: str) -> ShopEnvironment:
    from ..envs.bazaar import generate_bazaar
    from ..envs.personalwab import load_world
    from ..envs.shop import ShopEnvironment

    made = generate_bazaar() if world == BUILT_IN_WORLD else load_world(Path(world))
    return ShopEnvironment(made)


def _with_a_stranger(shop: ShopEnvironment, tasks: Sequence[ShoppingTask]) -> list[str]:
    """The tasks' users, and if there is but one, another for the control to borrow from."""
    users = sorted({task.user_id for task in tasks})
    if len(users) > 1:
        return users
    having_past = {task.user_id for task in shop.world.train} - set(users)
    return [*users, *sorted(having_past)[:1]]


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
