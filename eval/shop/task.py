"""The shop as the runner sees it: test tasks, episodes played by the agent, records.

The episodes of all methods run at once, so that their model calls share batches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...agent.loop.episode import Play, play_episodes
from ...agent.loop.graph import MULTI_TURN_STEPS, SINGLE_TURN_STEPS, Decode
from ...agent.shop.agent import shop_agent
from ...agent.users.user_goal import UserGoal
from ...envs.shop.environment import shop_schemas
from ...errors import TrimtabError
from ...files import home
from ...steering.generation.batching import BatchedModel
from ..runs.record import Record
from ..task import Item, Outcome
from .record import METRICS, episode_record, shop_sample
from .simulators import Simulator
from .summary import shop_summary
from .users import ShopUsers

if TYPE_CHECKING:
    from torch import Tensor

    from ...agent.loop.memory import PastRequest
    from ...agent.users.conversation import User
    from ...envs.shop.environment import ShopEnvironment
    from ...envs.shop.records import ShoppingTask
    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.steer import Steer
    from ...steering.model import SteeredModel
    from ...steering.vectors.steering import Steering
    from ..methods.method import ModelVariant
    from ..methods.registry import Named
    from ..sample import Progress, Sample


class ShopTask:
    """PersonalWAB's test tasks, played by the agent.

    Args:
        model: The model.
        environment: The shop.
        tasks: The test tasks.
        dictionaries: What the users are steered by; None builds it from their training tasks.
        user: Whom the agent talks with, which makes it PersonalWAB's multi-turn track; None is
            the single-turn track.
        prompting: How the model is asked: a name in ``agent.loop.prompting.PROMPTINGS``.
        decode: Whether calls are constrained to the tools' schemas.
        steps: At most so many steps an episode; None is the track's own limit.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        seed: Of who lends to whom, and of all that is drawn.
        plan: What else tells this task from another one, as plain data.
        cache: Where what is prepared is kept; None is trimtab's own folder.
        max_live: How many episodes are played at once.
        batch_size: At most so many answers are decoded at once. With more episodes than that, one
            that is answered gives its place to one that waits.

    Raises:
        TrimtabError: A number out of its range.
    """

    name = "shop"
    metrics = METRICS

    def __init__(
        self,
        model: SteeredModel,
        environment: ShopEnvironment,
        tasks: Sequence[ShoppingTask],
        *,
        dictionaries: Mapping[str, SteeringDictionary] | None = None,
        user: Simulator | None = None,
        prompting: str = "call",
        decode: Decode = "constrained",
        steps: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        plan: Mapping[str, Any] | None = None,
        cache: Path | None = None,
        max_live: int = 48,
        batch_size: int = 48,
    ) -> None:
        if max_live < 1 or batch_size < 1:
            raise TrimtabError(
                f"expected max_live and batch_size of at least 1, got {max_live} and {batch_size}"
            )
        self.model = model
        self.environment = environment
        self.tasks = {task.id: task for task in tasks}
        self.dictionaries = dictionaries
        self.user = user
        self.prompting = prompting
        self.decode = decode
        usual = SINGLE_TURN_STEPS if user is None else MULTI_TURN_STEPS
        self.steps = usual if steps is None else steps
        self.temperature = temperature
        self.seed = seed
        self.plan = dict(plan or {})
        self.cache = cache or home()
        self.max_live = max_live
        self.batch_size = batch_size

    def samples(self) -> list[Sample]:
        """The test tasks."""
        world = self.environment.world
        return [shop_sample(world, task) for task in self.tasks.values()]

    def configuration(self) -> dict[str, Any]:
        """What decides the results."""
        world = self.environment.world
        given = self.dictionaries
        digests = None if given is None else {user: own.digest for user, own in given.items()}
        schemas = self.environment.toolkit.schemas()
        # Whole where a file added some, since an export shows them; else the world says them.
        shown = {} if schemas == shop_schemas(world) else {"schemas": schemas}
        return {
            "task": "shop",
            "metrics": list(METRICS),
            "model": self.model.configuration(),
            "world": {"name": world.name, "fingerprint": world.fingerprint},
            "tools": _digest(schemas),
            **shown,
            "tasks": {"number": len(self.tasks), "digest": _digest(list(self.tasks))},
            "dictionaries": digests
            and {"number": len(digests), "digest": _digest(sorted(digests.items()))},
            "decode": self.decode,
            "track": "single" if self.user is None else "multi",
            "user": self.user and self.user.configuration(),
            "prompting": self.prompting,
            "steps": self.steps,
            "temperature": self.temperature,
            "seed": self.seed,
            **self.plan,
        }

    def prepare(self, methods: Sequence[Named], progress: Progress | None = None) -> ShopUsers:
        """The users, ready for the methods.

        Raises:
            TrimtabError: A method that compares two prompts token by token.
        """
        for named in methods:
            if named.method.name == "cos":
                raise TrimtabError(
                    f"the method {named.label} compares two prompts token by token, which an "
                    "agent's calls are not decoded from; leave it out of the shop"
                )
        return ShopUsers(
            self.model,
            self.environment,
            [sample.unseen() for sample in self.samples()],
            with_a_lender(self.environment, list(self.tasks.values())),
            given=self.dictionaries,
            folder=self.cache,
            seed=self.seed,
            batch_size=self.batch_size,
            progress=progress,
        )

    def chunks(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """All in one: an episode that ends makes room for the next."""
        return [items] if items else []

    def answer(self, items: Sequence[Item], *, narrower: int = 1) -> Iterator[Outcome]:
        """Play and score the items, those of one model variant together."""
        variants: dict[ModelVariant | None, list[Item]] = {}
        for item in items:
            variants.setdefault(item.treatment.variant, []).append(item)
        for variant, some in variants.items():
            with variant.active(self.model) if variant else nullcontext():
                yield from self._played(some, narrower)

    def _played(self, items: Sequence[Item], narrower: int) -> Iterator[Outcome]:
        rows = max(min(self.batch_size, self.max_live) // narrower, 1)
        max_live = max(self.max_live // narrower, 1)
        model = BatchedModel(self.model, batch_size=rows)
        user = None if self.user is None else self.user.user(model)
        shown = ShownRequests(items)
        agents: dict[tuple[str, Steer | None], Any] = {}
        for item in items:
            kind = item.method, item.treatment.steer
            if kind not in agents:
                agents[kind] = self._agent(model, user, item, shown)
        plays = (self._play(i, agents[i.method, i.treatment.steer]) for i in items)
        with closing(play_episodes(model, plays, max_live=max_live)) as ends:
            for end in ends:
                item = items[end.index]
                if end.value is None:
                    yield Outcome(item, error=end.error)
                    continue
                record = episode_record(
                    item.method,
                    item.sample,
                    self.tasks[item.sample.id],
                    end.value,
                    self.model.encoder.similarity,
                    profile=item.treatment.profile,
                )
                detail = {**item.treatment.detail, **record.detail}
                if max_live == 1:
                    # Else a step's seconds are its share of what was answered with it.
                    detail["batch"] = 1
                yield Outcome(item, replace(record, detail=detail))

    def _agent(
        self, model: BatchedModel, user: User | None, item: Item, shown: ShownRequests
    ) -> Any:
        steer = item.treatment.steer
        return shop_agent(
            model,
            self.environment.toolkit,
            steer=None if steer is None else _embedding(model, steer),
            memory=shown.of_method(item.method),
            user=user,
            prompting=self.prompting,
            decode=self.decode,
            step_limit=self.steps,
            temperature=self.temperature,
        )

    def _play(self, item: Item, agent: Any) -> Play:
        sample, task = item.sample, self.tasks[item.sample.id]
        profile = self.environment.world.profile(task.user_id) if self.user else {}
        return Play(
            agent=agent,
            task_id=task.id,
            user_id=task.user_id,
            request=sample.request,
            before=sample.before,
            purchases=tuple(self.environment.purchase_lines(task.user_id, task.timestamp)),
            profile=item.treatment.profile,
            draws=f"{self.seed}/{sample.draws}" if self.temperature else "",
            user_goal=None if self.user is None else UserGoal.of(task, profile),
        )

    def failed(self, item: Item, error: str) -> Record:
        """The record of an episode that the machinery broke off."""
        sample = item.sample
        return Record(
            method=item.method,
            sample_id=sample.key,
            user_id=sample.user_id,
            kind=sample.kind,
            gold=sample.gold,
            history=sample.history,
            error=error,
            detail={"repeat": sample.repeat},
        )

    def summary(self, records: Sequence[Record]) -> Mapping[str, Any]:
        """Accuracies and steps by the tasks' types."""
        return shop_summary(records)


class ShownRequests:
    """What methods show of the past, as memories of the agents.

    Args:
        items: Of any methods.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._of = {
            (item.method, item.sample.user_id, item.sample.request, item.sample.before): [
                # What comes first stands last, next to the request.
                past.request  # type: ignore[attr-defined]  # a shopping user's past is calls
                for past in reversed(item.treatment.shown)
            ]
            for item in items
        }

    def of_method(self, method: str) -> ShownMemory:
        """One method's."""
        return ShownMemory(self._of, method)


class ShownMemory:
    """The past requests that one method shows; see ``agent.loop.nodes.Remembers``."""

    def __init__(
        self,
        shown: Mapping[tuple[str, str, str, int | None], list[PastRequest]],
        method: str,
    ) -> None:
        self._of = shown
        self._method = method

    def recall(self, user_id: str, request: str, before: int | None = None) -> list[PastRequest]:
        """What the prompt for a request shows, in its order."""
        return self._of[self._method, user_id, request, before]


def _embedding(model: BatchedModel, steer: Steer) -> Steer:
    """The same, with requests embedded in common batches."""

    def steered(user: str, query: str | Tensor, before: int | None = None) -> Steering | None:
        if isinstance(query, str):
            query = model.encoder.encode([query])[0]
        return steer(user, query, before)

    return steered


def with_a_lender(shop: ShopEnvironment, tasks: Sequence[ShoppingTask]) -> list[str]:
    """The tasks' users, and if there is but one, another for the control to borrow from."""
    users = sorted({task.user_id for task in tasks})
    if len(users) > 1:
        return users
    having_past = {task.user_id for task in shop.world.train} - set(users)
    return [*users, *sorted(having_past)[:1]]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
