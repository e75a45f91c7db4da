"""The training samples that each task is tuned on, with what its agent or writer starts from."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...envs.texts.dataset import latest_history, select_users
from ...errors import TrimtabError
from ...files import home
from ...steering.dictionaries.settings import SteeringSettings
from ..sample import counted
from ..shop.opening import BUILT_IN_WORLD, open_shop
from ..texts.kinds import TASKS, check_task
from .search import TuningTask

if TYPE_CHECKING:
    from ...envs.shop.environment import ShopEnvironment
    from ...envs.texts.dataset import TextDataset
    from ...steering.contrast.pairs import ContrastPair
    from ...steering.model import SteeredModel
    from ..sample import Progress
    from ..texts.kinds import WritingTask


def shop_tuning(
    model: SteeredModel,
    shop: ShopEnvironment,
    users: Sequence[str],
    *,
    progress: Progress | None = None,
) -> TuningTask:
    """Which tool to call: the start of the right call against the likeliest wrong one.

    Args:
        model: Whose own wrong choices are the rejected sides.
        shop: The shop.
        users: Whose training tasks.
        progress: Told what is being made, how many of it are done, and of how many.

    Raises:
        TrimtabError: None of the users has training tasks.
    """
    from ...agent.shop.pairs import response_pairs
    from ...agent.shop.settings import TOOL_CHOICE

    tasks = [task for user in users for task in shop.world.past_tasks(user, sys.maxsize)]
    if not tasks:
        raise TrimtabError(f"none of the {len(users)} users has training tasks to tune on")
    wrong = len(tasks) * (len(shop.toolkit.names) - 1)
    done = counted(progress, "wrong calls", wrong)
    return TuningTask(
        name="shop",
        data={"name": shop.world.name, "fingerprint": shop.world.fingerprint},
        users=tuple(users),
        read_pairs=lambda: response_pairs(model, shop, tasks, progress=done),
        start=TOOL_CHOICE,
        by="margin",
        positions=(TOOL_CHOICE.positions,),  # calls' starts are too short to tell others apart
    )


def text_tuning(
    model: SteeredModel,
    task: WritingTask,
    dataset: TextDataset,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> TuningTask:
    """What to write: the user's own past texts against what the model writes instead.

    Args:
        model: Who writes the rejected answers.
        task: The task.
        dataset: Its users; their test samples are not looked at.
        seed: Of the other people's samples that rejected answers are written after.
        progress: Told what is being made, how many of it are done, and of how many.

    Raises:
        TrimtabError: When pairs are read, no user has a past that gives any.
    """
    from ..texts.users import TextUsers

    def read_pairs() -> dict[str, list[ContrastPair]]:
        users = TextUsers(
            model, task, dataset.users, folder=home() / "eval", seed=seed, progress=progress
        )
        pairs = {user: own for user, own in users.pairs("response").items() if own}
        if not pairs:
            raise TrimtabError(
                f"{dataset.name}: no past sample has a rejected answer to tune against"
            )
        return pairs

    return TuningTask(
        name=task.name,
        data={"name": dataset.name, "fingerprint": dataset.fingerprint, "seed": seed},
        users=tuple(user.id for user in dataset.users),
        read_pairs=read_pairs,
        start=SteeringSettings(contrast="response"),
        parts=((1.0, 0.0), (1.0, 0.5)),
    )


def spectrum_tuning(
    model: SteeredModel,
    folder: Path,
    *,
    count: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> TuningTask:
    """Which app to call: the start of the right call against the likeliest competitor's.

    Of the third of the personas that settings are chosen on, the requests of the largest group of
    competing apps: their prompts begin alike, which the many descriptions make worth a lot.

    Args:
        model: Whose own wrong choices are the rejected sides.
        folder: ToolSpectrum's.
        count: Of at most so many personas.
        seed: Of the split and the choice.
        progress: Told what is being made, how many of it are done, and of how many.

    Raises:
        TrimtabError: It is not the benchmark's folder, or no persona has two such requests.
    """
    from collections import Counter

    from ...agent.shop.settings import TOOL_CHOICE
    from ...envs.toolspectrum.items import load_toolspectrum
    from ..calls.spectrum.pairs import choice_pairs

    data = load_toolspectrum(folder).part("tune", seed=seed)
    [(largest, _)] = Counter(data.group(item.app) for item in data.items).most_common(1)
    own = [item for item in data.items if data.group(item.app) == largest]
    having = [who for who, n in Counter(item.persona for item in own).items() if n > 1]
    chosen = drawn(having, count, seed)
    items = [item for item in own if item.persona in chosen]
    if not items:
        raise TrimtabError(f"{folder}: no persona has two requests to tune on")

    def read_pairs() -> dict[str, list[ContrastPair]]:
        done = counted(progress, "wrong calls", len(items))
        schemas = data.toolkit(data.competing[items[0].app]).schemas()
        pairs = choice_pairs(model, data, items, lambda item: schemas)
        done(len(items))
        return pairs

    return TuningTask(
        name="toolspectrum",
        data={"name": "toolspectrum", "fingerprint": data.fingerprint, "seed": seed},
        users=tuple(chosen),
        read_pairs=read_pairs,
        start=TOOL_CHOICE,
        by="margin",
        positions=(TOOL_CHOICE.positions,),
    )


def tuning_task(
    task: str,
    model: SteeredModel,
    *,
    data: str = "",
    users: Sequence[str] = (),
    count: int = 24,
    history: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TuningTask:
    """A task's training samples, by its name.

    Args:
        task: ``shop``, ``toolspectrum`` or the name of a text task.
        model: The model that is tuned.
        data: The world or the data's folder; empty is the built-in one.
        users: Whose samples; empty takes some at random.
        count: Of at most so many users.
        history: Of a text task, at most this many of a user's latest past samples; None is all.
        seed: Of their choice.
        progress: Told what is being made, how many of it are done, and of how many.

    Raises:
        TrimtabError: No such task or user, or no samples to tune on.
    """
    if task == "shop":
        shop = open_shop(data or BUILT_IN_WORLD)
        for user in users:
            shop.world.profile(user)  # refuses an unknown one
        having = sorted({task.user_id for task in shop.world.train})
        chosen = list(users) or drawn(having, count, seed)
        return shop_tuning(model, shop, chosen, progress=progress)
    if task == "toolspectrum":
        return spectrum_tuning(
            model, Path(data).expanduser(), count=count, seed=seed, progress=progress
        )
    check_task(task, ["shop", "toolspectrum", *TASKS], " to tune")
    wanted = TASKS[task]
    dataset = wanted.load(Path(data).expanduser() if data else None, seed)
    if users:
        by_id = {user.id: user for user in dataset.users}
        unknown = [user for user in users if user not in by_id]
        if unknown:
            raise TrimtabError(f"{dataset.name} has no user {unknown[0]!r}")
        dataset = replace(dataset, users=tuple(by_id[user] for user in users))
    else:
        dataset = select_users(dataset, count, minimum_history=wanted.minimum_history, seed=seed)
    dataset = latest_history(dataset, history)
    return text_tuning(model, wanted, dataset, seed=seed, progress=progress)


def drawn(users: Sequence[str], count: int, seed: int) -> list[str]:
    """At most so many of the users, at random; a smaller number is part of a larger one.

    Raises:
        TrimtabError: Fewer than 1.
    """
    if count < 1:
        raise TrimtabError(f"expected at least 1 user to tune on, got {count}")
    order = list(users)
    random.Random(f"tune/{seed}").shuffle(order)
    return order[:count]
