"""A shopping run's plan: which world, tasks, methods and user; enough to open it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError
from ...steering.weights.known import DEFAULT_MODEL
from ..methods.registry import METHODS, Known, Named, methods_of, parse_methods, with_controls
from ..resuming import reading_configuration
from .opening import BUILT_IN_WORLD, load_settings
from .record import METRICS
from .simulators import Simulator

if TYPE_CHECKING:
    from ...agent.loop.graph import Decode

DEFAULT_METHODS = "zero-shot,rag,fints"
_KEPT = (
    *("episodes", "spread", "users", "dictionaries", "store", "tools"),
    *("temperature", "seed", "steps", "prompting", "decode"),
)


@dataclass(frozen=True)
class ShopPlan:
    """What a shopping run is made of; everything that decides the results.

    Attributes:
        methods: In the order of tables, controls included; the first is the baseline.
        model: A model's name, hub id or folder.
        world: ``bazaar``, or a folder in PersonalWAB's format.
        episodes: How many test tasks.
        spread: Over how many users, as each one's dictionary has to be built; None is all.
        users: Only tasks of these users; empty is all.
        seed: Of the choice of tasks, of who lends to whom, and of draws.
        simulator: The user of the multi-turn track; None is the single-turn track.
        steps: At most so many steps an episode; None is the track's own limit.
        prompting: ``call`` or ``react``.
        decode: Whether calls are constrained.
        dictionaries: A folder of the users' dictionaries; empty builds them.
        store: A ``SteeringStore`` that holds them.
        tools: A file of tools that the agent has as well.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        repeats: How often each task is played, with other draws.
    """

    methods: tuple[Named, ...]
    model: str = DEFAULT_MODEL
    world: str = BUILT_IN_WORLD
    episodes: int = 72
    spread: int | None = 24
    users: tuple[str, ...] = ()
    seed: int = 0
    simulator: Simulator | None = None
    steps: int | None = None
    prompting: str = "call"
    decode: Decode = "constrained"
    dictionaries: str = ""
    store: str = ""
    tools: str = ""
    temperature: float = 0.0
    repeats: int = 1

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores, the main one first."""
        return METRICS

    @property
    def task(self) -> str:
        """The task's name."""
        return "shop"

    def __post_init__(self) -> None:
        """Refuse what cannot be played.

        Raises:
            TrimtabError: A value out of its range, or values that do not go together.
        """
        if self.dictionaries and self.store:
            raise TrimtabError("expected a folder of dictionaries or a store, got both")
        if not 0 <= self.temperature < math.inf:
            raise TrimtabError(
                f"expected a finite temperature of at least 0, got {self.temperature}"
            )
        if self.repeats < 1:
            raise TrimtabError(f"expected repeats of at least 1, got {self.repeats}")
        if self.repeats > 1 and not self.temperature and not self._user_draws:
            raise TrimtabError(
                f"{self.repeats} repeats at temperature 0 would all be equal; give a temperature "
                "above 0"
            )

    @property
    def _user_draws(self) -> bool:
        """Whether another conversation comes of the same task."""
        return self.simulator is not None and self.simulator.kind == "endpoint"

    def configuration(self) -> dict[str, Any]:
        """What ``of`` needs besides what the task tells of itself."""
        plain = {name: value for name, value in asdict(self).items() if name in _KEPT}
        return {"plan": {**plain, "model": self.model, "world": self.world}}

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> ShopPlan:
        """The plan whose run's configuration this is.

        Raises:
            TrimtabError: It is not one.
        """
        with reading_configuration("the shop"):
            plan = dict(configuration["plan"])
            user = configuration["user"]
            known = {field.name for field in fields(cls)}
            values = {name: value for name, value in plan.items() if name in known}
            values["users"] = tuple(values["users"])
            return cls(
                methods=tuple(methods_of(configuration["methods"])),
                simulator=None if user is None else Simulator(**user),
                repeats=configuration["repeats"],
                **values,
            )


def shop_methods(
    text: str = DEFAULT_METHODS,
    settings: Path | None = None,
    *,
    controls: bool = True,
    known: Known = METHODS,
) -> tuple[Named, ...]:
    """Methods for the shop from a line; steered ones start from the shop's own settings.

    Args:
        text: As ``parse_methods`` reads it.
        settings: A TOML file with a ``[steering]`` table; None is the shop's default.
        controls: Whether steered methods bring their controls.
        known: The methods that there are.

    Raises:
        TrimtabError: As for ``parse_methods``.
    """
    methods = parse_methods(text, load_settings(settings), known)
    return tuple(with_controls(methods) if controls else methods)
