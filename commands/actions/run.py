"""What ``trimtab run`` does: plays the shopping comparison and shows how it comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ...eval.shop.arms import STEERED, USUAL_MEMORY, choose_arms
from ...eval.shop.comparison import ShopStudy, run_shop
from ...eval.shop.opening import (
    BUILT_IN_WORLD,
    added_tools,
    load_settings,
    open_shop,
    users_dictionaries,
)
from ...eval.shop.score import ScoredEpisode
from ...eval.shop.selection import pick_tasks
from ...files import home
from ..console.episode import episode_view
from ..console.progress import progress_bars, waiting
from ..console.shop_table import print_tables

if TYPE_CHECKING:
    from ...agent.loop.graph import Decode
    from ...envs.shop.environment import ShopEnvironment
    from ...envs.shop.records import ShoppingTask
    from ...eval.shop.simulators import Simulator


def run_command(
    *,
    model: str,
    world: str = BUILT_IN_WORLD,
    episodes: int = 72,
    spread: int = 24,
    users: Sequence[str] = (),
    seed: int = 0,
    simulator: Simulator | None = None,
    steps: int | None = None,
    memory: Sequence[str] = USUAL_MEMORY,
    both: bool = False,
    remembered: int = 3,
    prompting: str = "call",
    decode: Decode = "constrained",
    settings: Path | None = None,
    dictionaries: Path | None = None,
    store: str | None = None,
    tools: Path | None = None,
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
        simulator: The user of the multi-turn track; None is the single-turn track.
        steps: At most so many steps an episode; None is the track's own limit.
        memory: The memory modes to play, an arm each.
        both: Also steer with each of them.
        remembered: How many past requests a memory mode puts in the prompt.
        prompting: ``call`` or ``react``.
        decode: Whether calls are constrained.
        settings: A TOML file with a ``[steering]`` table; None is the default.
        dictionaries: A folder of the users' dictionaries; None builds them.
        store: A ``SteeringStore`` that holds them.
        tools: A file of tools that the agent has as well; see ``open_tool_file``.
        out: The run's folder; one with results of the same configuration is gone on with. None
            is a new one in the cache folder.
        show: Print each episode as it ends.
        max_live: How many episodes are played at once.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C, when what is finished has been shown.
    """
    from ...steering.model import SteeredModel

    console = console or Console()
    chosen = load_settings(settings)
    arms = choose_arms(memory, both=both)
    shop = open_shop(world)
    tasks = pick_tasks(shop.world, episodes, seed, users, spread)
    out = out or home() / "runs" / f"shop-{datetime.now():%Y%m%d-%H%M%S}"
    with added_tools(shop, tools), progress_bars(console) as progress:
        with waiting(progress, f"loading {model}"):
            loaded = SteeredModel.from_pretrained(model)
            if simulator is not None and simulator.kind == "model" and simulator.model:
                simulator = replace(simulator, loaded=SteeredModel.from_pretrained(simulator.model))
        with waiting(progress, "opening the shop"):
            shop.toolkit  # noqa: B018  the first time: indexes the products, trains a recommender

        steered_users = _with_a_stranger(shop, tasks)
        building = progress.add_task("steering dictionaries", total=len(steered_users))
        found = users_dictionaries(
            loaded,
            shop,
            steered_users,
            chosen,
            folder=dictionaries,
            store=store,
            progress=lambda done: progress.advance(building, done),
        )
        progress.update(building, completed=len(steered_users))
        study = ShopStudy(
            loaded,
            shop,
            tasks,
            found,
            chosen,
            arms=arms,
            remembered=remembered,
            decode=decode,
            prompting=prompting,
            user=simulator,
            steps=steps,
            seed=seed,
        )
        playing = progress.add_task("episodes", total=len(tasks) * len(study.arms))

        def ended(episode: ScoredEpisode) -> None:
            progress.advance(playing)
            if show:
                progress.console.print(episode_view(episode), "")

        run = run_shop(study, folder=out, max_live=max_live, on_episode=ended)
        progress.update(playing, completed=len(run.episodes))
    if run.episodes:
        print_tables(console, run.episodes, run.arms, STEERED, steps=simulator is not None)
    console.print(
        f"{len(run.episodes)} of {run.planned} episodes in {run.seconds:.0f} s, kept in {out}",
        soft_wrap=True,
        highlight=False,
    )
    if run.interrupted:
        raise KeyboardInterrupt


def _with_a_stranger(shop: ShopEnvironment, tasks: Sequence[ShoppingTask]) -> list[str]:
    """The tasks' users, and if there is but one, another for the control to borrow from."""
    users = sorted({task.user_id for task in tasks})
    if len(users) > 1:
        return users
    having_past = {task.user_id for task in shop.world.train} - set(users)
    return [*users, *sorted(having_past)[:1]]
