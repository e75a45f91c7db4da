"""``trimtab play``: be the user of an episode, and see the agent's steps.

The folder of a play holds, besides what a run's folder holds, ``episode.sqlite``: the episode under
way, kept after every step, so that the same command resumes it when the process was killed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import TrimtabError
from .flags import (
    Asking,
    CallDecoding,
    Decoding,
    Dictionaries,
    Prompting,
    Settings,
    UsersStore,
    WorldSource,
)
from .loading import BY_HARDWARE, Device, DeviceMap, Dtype, ModelName, Placement, load_model

if TYPE_CHECKING:
    from rich.console import Console

    from ..agent.loop.graph import Decode
    from ..agent.users.user_goal import UserGoal
    from ..envs.shop.records import ShoppingTask
    from ..envs.shop.world import World

Asks = Callable[[str], str]
"""Shows a person a prompt and returns the line that they type; EOFError where they went away."""

_THREAD = "play"
_ENDLESS = 10_000


def play(
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    world: WorldSource = "bazaar",
    user: Annotated[str | None, typer.Option(help="Be this user; default: one by seed.")] = None,
    task: Annotated[str | None, typer.Option(help="The id of a test task.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of the task.")] = 0,
    unsteered: Annotated[
        bool, typer.Option("--unsteered", help="Leave the user's dictionary out.")
    ] = False,
    memory: Annotated[
        str, typer.Option(help="Past requests in the prompt: none, random, last, relevant, full.")
    ] = "none",
    remembered: Annotated[int, typer.Option(help="How many past requests those are.")] = 3,
    prompting: Asking = Prompting.call,
    decode: Decoding = CallDecoding.constrained,
    steps: Annotated[int | None, typer.Option(help="Step limit; default 10.")] = None,
    settings: Settings = None,
    dictionaries: Dictionaries = None,
    store: UsersStore = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the episode is kept; default: the cache folder.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew where an episode was broken off.")
    ] = False,
) -> None:
    """Be the user of an episode: say what you want, see the agent's steps, answer it."""
    play_command(
        model=model,
        placement=Placement(dtype, device, device_map),
        world=world,
        user=user,
        task=task,
        seed=seed,
        steered=not unsteered,
        memory=memory,
        remembered=remembered,
        prompting=prompting.value,
        decode=decode.value,
        steps=steps,
        settings=settings,
        dictionaries=dictionaries,
        store=store,
        out=out,
        fresh=fresh,
    )


def play_command(
    *,
    model: str,
    placement: Placement = BY_HARDWARE,
    world: str = "bazaar",
    user: str | None = None,
    task: str | None = None,
    seed: int = 0,
    steered: bool = True,
    memory: str = "none",
    remembered: int = 3,
    prompting: str = "call",
    decode: Decode = "constrained",
    steps: int | None = None,
    settings: Path | None = None,
    dictionaries: Path | None = None,
    store: str | None = None,
    out: Path | None = None,
    fresh: bool = False,
    console: Console | None = None,
    ask: Asks | None = None,
) -> None:
    """Play one episode with a person as its user.

    Args:
        model: A model's name, hub id or folder.
        placement: In which data type and on which devices it is loaded.
        world: ``bazaar``, or a folder in PersonalWAB's format.
        user: A task of this user.
        task: The id of a test task; None is one chosen by the seed.
        seed: Of that choice.
        steered: By the user's own dictionary, or not at all.
        memory: A memory mode.
        remembered: How many past requests it puts in the prompt.
        prompting: ``call`` or ``react``.
        decode: Whether calls are constrained.
        steps: At most so many steps; None is the multi-turn track's own limit.
        settings: A TOML file with a ``[steering]`` table; None is the default.
        dictionaries: A folder of the users' dictionaries; None builds the user's.
        store: A ``SteeringStore`` that holds it.
        out: Where the episode is kept; None is a folder of the cache that the same arguments
            find again.
        fresh: Forget an episode that was broken off, and start anew.
        console: Where to print.
        ask: What asks the person.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C; what was played is kept.
    """
    from langgraph.checkpoint.sqlite import SqliteSaver
    from rich.console import Console

    from ..agent.loop.memory import Memory
    from ..agent.shop.agent import shop_agent
    from ..agent.shop.past_requests import past_requests
    from ..agent.users.human import HumanUser
    from ..agent.users.user_goal import UserGoal
    from ..eval.runs.folder import run_folder
    from ..eval.shop.opening import load_settings, open_shop, users_dictionaries
    from ..eval.shop.record import episode_record, shop_sample
    from ..files import home
    from .console.episode import episode_view, user_goal_view
    from .console.progress import progress

    console = console or Console()
    ask = ask or partial(_typed, console)
    chosen = load_settings(settings)
    shop = open_shop(world)
    played = _task(shop.world, task, user, seed)
    with progress(console) as display:
        display.doing(f"loading {model}")
        loaded = load_model(model, placement)
        display.doing("opening the shop")
        shop.ready()
        toolkit = shop.toolkit
        dictionaries_given = None
        if steered:
            display.doing("steering dictionary")
            dictionaries_given = users_dictionaries(
                loaded,
                shop,
                [played.user_id],
                chosen,
                folder=str(dictionaries or ""),
                store=store or "",
            )
    configuration = {
        "command": "play",
        "model": {"name": loaded.name, "fingerprint": loaded.fingerprint},
        "world": {"name": shop.world.name, "fingerprint": shop.world.fingerprint},
        "task": played.id,
        "settings": asdict(chosen) if steered else None,
        "memory": memory,
        "remembered": remembered,
        "prompting": prompting,
        "decode": decode,
        "steps": steps,
    }
    folder = out or home() / "plays" / _digest(configuration)
    with (
        run_folder(folder, configuration) as results,
        SqliteSaver.from_conn_string(str(folder / "episode.sqlite")) as saver,
    ):
        agent = shop_agent(
            loaded,
            toolkit,
            store=dictionaries_given,
            settings=chosen,
            memory=Memory(
                partial(past_requests, shop), memory, remembered, loaded.encoder.encode, seed
            ),
            user=HumanUser(),
            prompting=prompting,
            decode=decode,
            step_limit=steps,
            checkpointer=saver,
        )
        if fresh:
            saver.delete_thread(_THREAD)
        user_goal = UserGoal.of(played, shop.world.profile(played.user_id))
        console.print(user_goal_view(user_goal, played.user_id), "")
        try:
            end = _converse(agent, played, user_goal, shop.purchase_lines, console, ask)
        except (EOFError, KeyboardInterrupt) as gone:
            console.print(f"\nkept in {folder}; the same command resumes it", soft_wrap=True)
            if isinstance(gone, KeyboardInterrupt):
                raise
            return
        record = episode_record(
            "fints" if steered else "zero-shot",
            shop_sample(shop.world, played),
            played,
            end,
            loaded.encoder.similarity,
        )
        results.append(record.to_json())
        saver.delete_thread(_THREAD)
    console.print("", episode_view(record, steps=False))
    console.print(f"{end.outcome}; kept in {folder}", soft_wrap=True, highlight=False)


def _converse(
    agent: Any,
    task: ShoppingTask,
    user_goal: UserGoal,
    purchase_lines: Callable[[str, int], list[str]],
    console: Console,
    ask: Asks,
) -> Any:
    """Play to the end, from the start or from where it was broken off; the ``Episode``."""
    from langgraph.types import Command

    from ..agent.loop.episode import Play
    from ..envs.shop.request import request_text
    from .console.episode import step_view

    config = {
        "configurable": {"thread_id": _THREAD, "user_id": task.user_id},
        "recursion_limit": _ENDLESS,
    }
    play = Play(
        agent=agent,
        task_id=task.id,
        user_id=task.user_id,
        request=request_text(task),
        before=task.timestamp,
        purchases=tuple(purchase_lines(task.user_id, task.timestamp)),
        user_goal=user_goal,
    )
    snapshot = agent.get_state(config)
    shown = 0
    given: Any = None
    if snapshot.next:
        before = play.ended(snapshot.values).steps
        line = f"Resuming the episode that was broken off; steps so far: {len(before)}"
        console.print(line, "", highlight=False)
        for step in before:
            console.print(step_view(step), "")
        shown = len(before)
    else:
        asked = ask(f"You say (Enter: {play.request}) > ").strip()
        given = {**play.start(), "messages": [("user", asked or play.request)]}
    while True:
        if given is None and snapshot.interrupts:
            given = Command(resume=_answer(snapshot.interrupts[0].value, console, ask))
        for values in agent.stream(given, config, stream_mode="values", durability="sync"):
            steps = play.ended(values).steps
            for step in steps[shown:]:
                console.print(step_view(step), "")
            shown = len(steps)
        snapshot = agent.get_state(config)
        if not snapshot.next:
            return play.ended(snapshot.values)
        given = None


def _answer(said: str, console: Console, ask: Asks) -> str:
    from ..agent.users.human import LEAVE

    console.print(f"The agent says: {said}", style="bold", markup=False, highlight=False)
    while True:
        answer = ask(f"You say ({LEAVE} to leave) > ").strip()
        if answer:
            return answer


def _typed(console: Console, prompt: str) -> str:
    console.print(prompt, end="", markup=False, highlight=False, soft_wrap=True)
    return input()


def _task(world: World, task: str | None, user: str | None, seed: int) -> ShoppingTask:
    """The test task of that id, else one that the seed chooses."""
    from ..eval.shop.selection import pick_tasks

    if task is None:
        return pick_tasks(world, 1, seed, [user] if user else [])[0]
    for one in world.test:
        if one.id == task:
            return one
    raise TrimtabError(
        f"there is no test task {task!r}; expected an id such as {world.test[0].id!r}"
        if world.test
        else f"there is no test task {task!r}, the world has none"
    )


def _digest(configuration: Mapping[str, Any]) -> str:
    text = json.dumps(configuration, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
