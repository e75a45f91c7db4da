"""The shopping comparison: the same test tasks under each arm, scored, with paired differences.

An arm is one way to run the agent, as data. The episodes of all arms run at once, so that their
model calls share batches; results are written as they come, and a run that was broken off is gone
on with.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..agent.batching import BatchedModel
from ..agent.episode import Play, play_episodes
from ..agent.graph import Decode, build_agent
from ..agent.memory import Memory, PastRequest
from ..agent.settings import TOOL_CHOICE
from ..envs.reference import reference_call
from ..errors import TrimtabError
from .folder import RunFolder, run_folder
from .score import ScoredEpisode, score_episode

if TYPE_CHECKING:
    from ..envs.records import ShoppingTask
    from ..envs.shop import ShopEnvironment
    from ..steering.dictionary import SteeringDictionary
    from ..steering.model import SteeredModel
    from ..steering.settings import SteeringSettings


@dataclass(frozen=True)
class Arm:
    """One way to run the agent.

    Attributes:
        name: In tables and records.
        memory: The memory mode: what of the past goes in the prompt.
        steering: By no dictionary, the user's own, or (the control) another user's.
    """

    name: str
    memory: str = "none"
    steering: Literal["none", "own", "other"] = "none"


STEERED = "steered"
"""The arm that the others are compared with."""

ARMS = (
    Arm("unsteered"),
    Arm("memory", memory="relevant"),
    Arm(STEERED, steering="own"),
    Arm("steered-by-other", steering="other"),
)


@dataclass(frozen=True)
class ShopRun:
    """What a comparison gave.

    Attributes:
        arms: The arms' names.
        episodes: All that ended, those of an earlier part of the run too.
        planned: How many there are to be.
        seconds: That this part of the run took.
        interrupted: Whether Ctrl-C ended it.
    """

    arms: tuple[str, ...]
    episodes: tuple[ScoredEpisode, ...]
    planned: int
    seconds: float
    interrupted: bool = False


@dataclass(frozen=True)
class ShopStudy:
    """What is compared, and how; everything that decides the results.

    Attributes:
        model: The model.
        environment: The shop.
        tasks: The test tasks.
        dictionaries: The users' steering dictionaries.
        settings: Which entries are picked and how they are added; None is the default.
        arms: The ways to run the agent.
        remembered: How many past requests the memory mode puts in the prompt.
        decode: Whether calls are constrained to the tools' schemas.
        seed: Of the strangers and of the memory mode ``random``.
    """

    model: SteeredModel
    environment: ShopEnvironment
    tasks: Sequence[ShoppingTask]
    dictionaries: Mapping[str, SteeringDictionary]
    settings: SteeringSettings | None = None
    arms: tuple[Arm, ...] = ARMS
    remembered: int = 3
    decode: Decode = "constrained"
    seed: int = 0

    def configuration(self) -> dict[str, Any]:
        """Plain data that tells this study from another one."""
        world = self.environment.world
        entries = {
            user: [entry.sample_id for entry in dictionary.entries]
            for user, dictionary in self.dictionaries.items()
        }
        return {
            "study": "shop",
            "model": {
                "name": self.model.name,
                "fingerprint": self.model.fingerprint,
                "dtype": str(self.model.hf.dtype),
            },
            "world": {"name": world.name, "fingerprint": world.fingerprint},
            "tasks": {"number": len(self.tasks), "digest": _digest([t.id for t in self.tasks])},
            "dictionaries": {"number": len(entries), "digest": _digest(entries)},
            "settings": asdict(self.settings or TOOL_CHOICE),
            "arms": {arm.name: asdict(arm) for arm in self.arms},
            "remembered": self.remembered,
            "decode": self.decode,
            "seed": self.seed,
        }


def run_shop(
    study: ShopStudy,
    *,
    folder: Path | str | None = None,
    max_live: int = 48,
    on_episode: Callable[[ScoredEpisode], None] | None = None,
) -> ShopRun:
    """Play a study's tasks under every arm and score them.

    Args:
        study: What is compared.
        folder: Where results are kept as they come, and from where a run goes on; None keeps
            none.
        max_live: How many episodes are played at once.
        on_episode: Told of each episode when it is scored and kept.

    Returns:
        All that ended. Ctrl-C ends a run; what is finished is returned.

    Raises:
        TrimtabError: No tasks, two arms of one name, a folder of another study, or a control arm
            with fewer than two dictionaries.
    """
    _check(study)
    started = time.monotonic()
    interrupted = False
    opened = run_folder(folder, study.configuration()) if folder is not None else nullcontext()
    with opened as kept:
        # A later record stands for an earlier one of the same episode: what the machinery broke
        # off is played again.
        ended = {(e.arm, e.task_id): e for e in map(ScoredEpisode.from_json, _records(kept))}
        done = {key for key, episode in ended.items() if not episode.error}
        try:
            with closing(play_shop(study, done=done, max_live=max_live)) as episodes:
                for episode in episodes:
                    if kept is not None:
                        kept.append(episode.to_json())
                    ended[episode.arm, episode.task_id] = episode
                    if on_episode is not None:
                        on_episode(episode)
        except KeyboardInterrupt:
            interrupted = True
        run = ShopRun(
            arms=tuple(arm.name for arm in study.arms),
            episodes=tuple(ended.values()),
            planned=len(study.tasks) * len(study.arms),
            seconds=time.monotonic() - started,
            interrupted=interrupted,
        )
        if kept is not None:
            from .table import summary

            kept.write_summary(summary(run.episodes, run.arms, STEERED))
    return run


def play_shop(
    study: ShopStudy, *, done: Collection[tuple[str, str]] = (), max_live: int = 48
) -> Generator[ScoredEpisode]:
    """Play every task under every arm, all in common batches, and score each.

    Args:
        study: What is compared.
        done: Arm and task id of what need not be played.
        max_live: How many episodes are played at once.

    Yields:
        Scored episodes as they end; task by task rather than arm by arm, so that a run that is
        broken off has whole pairs.
    """
    model = BatchedModel(study.model)
    environment = study.environment
    agents = {arm.name: _agent(study, arm, model) for arm in study.arms}
    planned = [
        (arm, task) for task in study.tasks for arm in study.arms if (arm.name, task.id) not in done
    ]
    plays = (
        Play(
            agent=agents[arm.name],
            task_id=task.id,
            user_id=task.user_id,
            request=task.task,
            before=task.timestamp,
            purchases=tuple(environment.purchase_lines(task.user_id, task.timestamp)),
        )
        for arm, task in planned
    )
    with closing(play_episodes(model, plays, max_live=max_live)) as ends:
        for end in ends:
            arm, task = planned[end.index]
            yield score_episode(
                arm.name,
                task,
                end.value,
                similarity=study.model.encoder.similarity,
                error=_told(end.error) if end.error is not None else "",
            )


def strangers(users: Collection[str], seed: int) -> dict[str, str]:
    """For each user another one, and each once: a random cyclic order (Sattolo's algorithm).

    Raises:
        TrimtabError: There is no other user.
    """
    order = sorted(users)
    if len(order) < 2:
        raise TrimtabError(
            f"the control steers by another user's dictionary and needs two users, got "
            f"{len(order)}; play more episodes"
        )
    others = list(order)
    rng = random.Random(seed)
    for last in range(len(others) - 1, 0, -1):
        swapped = rng.randrange(last)
        others[last], others[swapped] = others[swapped], others[last]
    return dict(zip(order, others, strict=True))


def past_requests(
    environment: ShopEnvironment, user_id: str, before: int | None
) -> list[PastRequest]:
    """A user's past training tasks as requests, each with the call that answers it well.

    Args:
        environment: The shop.
        user_id: The user.
        before: Only what strictly precedes it; None is all.
    """
    past = environment.world.past_tasks(user_id, sys.maxsize if before is None else before)
    return [
        PastRequest(task.task, *reference_call(environment, task), task.timestamp) for task in past
    ]


def _agent(study: ShopStudy, arm: Arm, model: BatchedModel) -> Any:
    dictionaries: Mapping[str, SteeringDictionary] | None = None
    if arm.steering == "own":
        dictionaries = study.dictionaries
    elif arm.steering == "other":
        other = strangers(study.dictionaries, study.seed)
        dictionaries = {user: _timeless(study.dictionaries[other[user]]) for user in other}
    return build_agent(
        model,
        study.environment.toolkit,
        dictionaries=dictionaries,
        settings=study.settings,
        memory=Memory(
            partial(past_requests, study.environment),
            arm.memory,
            k=study.remembered,
            embed=model.encoder.encode,
            seed=study.seed,
        ),
        decode=study.decode,
    )


def _timeless(dictionary: SteeringDictionary) -> SteeringDictionary:
    """A stranger's dictionary with all its entries visible at any time.

    Nothing of the user at hand is in it, and a control with fewer entries than the arm that it
    controls would be the weaker one.
    """
    from ..steering.dictionary import SteeringDictionary

    return SteeringDictionary(
        user_id=dictionary.user_id,
        fingerprint=dictionary.fingerprint,
        points=dictionary.points,
        encoder_name=dictionary.encoder_name,
        keys_from=dictionary.keys_from,
        entries=[replace(entry, timestamp=-sys.maxsize) for entry in dictionary.entries],
        keys=dictionary.keys,
        vectors=dictionary.vectors,
    )


def _check(study: ShopStudy) -> None:
    if not study.tasks:
        raise TrimtabError("expected at least one task to play, got none")
    names = [arm.name for arm in study.arms]
    if len(set(names)) < len(names):
        raise TrimtabError(f"two arms have the same name: {', '.join(names)}")


def _records(folder: RunFolder | None) -> list[dict[str, Any]]:
    return folder.records if folder is not None else []


def _told(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
