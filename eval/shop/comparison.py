"""The shopping comparison: the same test tasks under each arm, scored, with paired differences.

The episodes of all arms run at once, so that their model calls share batches; results are written
as they come, and a run that was broken off is gone on with.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...agent.loop.episode import Play, play_episodes
from ...agent.loop.graph import MULTI_TURN_STEPS, SINGLE_TURN_STEPS, Decode
from ...agent.loop.memory import Memory
from ...agent.loop.past_requests import past_requests
from ...agent.loop.settings import TOOL_CHOICE
from ...agent.loop.shop import shop_agent
from ...agent.users.user_goal import Errand
from ...envs.shop.request import request_text
from ...errors import TrimtabError
from ...steering.generation.batching import BatchedModel
from ..runs.folder import RunFolder, run_folder
from .arms import ARMS, STEERED, Arm, dictionaries_for
from .score import ScoredEpisode, score_episode
from .simulators import Simulator

if TYPE_CHECKING:
    from ...agent.users.conversation import User
    from ...envs.shop.environment import ShopEnvironment
    from ...envs.shop.records import ShoppingTask
    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.model import SteeredModel


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
        prompting: How the model is asked: a name in ``agent.prompting.PROMPTINGS``.
        user: Whom the agent talks with, which makes it PersonalWAB's multi-turn track; None is
            the single-turn track.
        steps: At most so many steps an episode; None is the track's own limit.
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
    prompting: str = "call"
    user: Simulator | None = None
    steps: int | None = None
    seed: int = 0

    @property
    def step_limit(self) -> int:
        """At most so many steps an episode."""
        usual = SINGLE_TURN_STEPS if self.user is None else MULTI_TURN_STEPS
        return usual if self.steps is None else self.steps

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
            "tools": _digest(self.environment.toolkit.schemas()),
            "tasks": {"number": len(self.tasks), "digest": _digest([t.id for t in self.tasks])},
            "dictionaries": {"number": len(entries), "digest": _digest(entries)},
            "settings": asdict(self.settings or TOOL_CHOICE),
            "arms": {arm.name: asdict(arm) for arm in self.arms},
            "remembered": self.remembered,
            "decode": self.decode,
            "track": "single" if self.user is None else "multi",
            "user": self.user and self.user.configuration(),
            "prompting": self.prompting,
            "steps": self.step_limit,
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
            from .summary import summary

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
    user = None if study.user is None else study.user.user(model)
    agents = {arm.name: _agent(study, arm, model, user) for arm in study.arms}
    planned = [
        (arm, task) for task in study.tasks for arm in study.arms if (arm.name, task.id) not in done
    ]
    plays = (
        Play(
            agent=agents[arm.name],
            task_id=task.id,
            user_id=task.user_id,
            request=request_text(task),
            before=task.timestamp,
            purchases=tuple(environment.purchase_lines(task.user_id, task.timestamp)),
            errand=None
            if study.user is None
            else Errand.of(task, environment.world.profile(task.user_id)),
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
                history=len(environment.world.past_tasks(task.user_id, task.timestamp)),
            )


def _agent(study: ShopStudy, arm: Arm, model: BatchedModel, user: User | None) -> Any:
    return shop_agent(
        model,
        study.environment.toolkit,
        store=dictionaries_for(arm, study.dictionaries, study.seed),
        settings=study.settings,
        memory=Memory(
            partial(past_requests, study.environment),
            arm.memory,
            k=study.remembered,
            embed=model.encoder.encode,
            seed=study.seed,
        ),
        user=user,
        prompting=study.prompting,
        decode=study.decode,
        step_limit=study.step_limit,
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
