"""A plan of function calls: which cases, decoded how; enough to open it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...errors import TrimtabError
from ...steering.weights.known import DEFAULT_MODEL
from ..methods.registry import Named, methods_of, parse_methods
from ..resuming import reading_configuration
from .methods import CALL_METHODS
from .scoring import METRICS

DEFAULT_METHODS = "free,constrained"


@dataclass(frozen=True)
class CallPlan:
    """What a run of function calls is made of.

    Attributes:
        methods: The ways to decode.
        data: A folder of BFCL's.
        model: A model's name, hub id or folder.
        tests: At most this many cases; None is all.
        seed: Of their choice.
        max_new_tokens: At most this many tokens an answer.
    """

    methods: tuple[Named, ...]
    data: str
    model: str = DEFAULT_MODEL
    tests: int | None = None
    seed: int = 0
    max_new_tokens: int = 256

    repeats = 1  # answers are greedy

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores, the main one first."""
        return METRICS

    @property
    def task(self) -> str:
        """The task's name."""
        return "bfcl"

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            TrimtabError: No data.
        """
        if not self.data:
            raise TrimtabError(
                "bfcl has no built-in data; give a folder with BFCL_v4_*.json and possible_answer/ "
                "as --data"
            )

    def configuration(self) -> dict[str, Any]:
        """What ``of`` needs besides what the task tells of itself."""
        return {
            "seed": self.seed,
            "tests": self.tests,
            "plan": {"data": self.data, "model": self.model},
        }

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> CallPlan:
        """The plan whose run's configuration this is.

        Raises:
            TrimtabError: It is not one.
        """
        with reading_configuration("bfcl"):
            return cls(
                methods=tuple(methods_of(configuration["methods"], known=CALL_METHODS)),
                tests=configuration["tests"],
                seed=configuration["seed"],
                max_new_tokens=configuration["max_new_tokens"],
                **configuration["plan"],
            )


def call_methods(text: str = DEFAULT_METHODS, steer_by: str = "") -> tuple[Named, ...]:
    """Ways to decode from a line.

    Args:
        text: The line.
        steer_by: A store of users' dictionaries: each way stands there once more, steered by a
            user's who is drawn for each case.

    Raises:
        TrimtabError: As for ``parse_methods``.
    """
    plain = parse_methods(text, known=CALL_METHODS)
    steered = [
        Named(f"{named.label}-steered", replace(named.method, store=steer_by))  # type: ignore[type-var]
        for named in plain
        if steer_by
    ]
    return (*plain, *steered)
