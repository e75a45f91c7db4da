"""A plan of ToolSpectrum: whose items, what is offered, by which methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ....envs.toolspectrum.items import Part
from ....errors import TrimtabError
from ....steering.weights.known import DEFAULT_MODEL
from ...methods.registry import Named, methods_of
from ...resuming import reading_configuration
from .methods import SPECTRUM_METHODS
from .scoring import METRICS, NAME_METRICS

Offered = Literal["competing", "all"]
"""The functions that a prompt shows: those of the right app and its competitors, or all 42."""

Written = Literal["call", "name"]
"""How far an answer is written: the whole call, or only up to the end of the function's name."""


@dataclass(frozen=True)
class SpectrumPlan:
    """What a run of ToolSpectrum is made of.

    Attributes:
        methods: The ways to personalize, controls included; the first is the baseline.
        data: The benchmark's folder.
        model: A model's name, hub id or folder.
        part: Whose items: settings are chosen on ``tune``, results told of ``test``.
        users: At most this many personas; None is all.
        offered: Which functions a prompt shows.
        written: How far an answer is written. Its name is the same either way; a name alone takes
            a fraction of the time, and tells of the app and the function only.
        references: How many requests of others each persona's vector is read from.
        seed: Of the split, the draws, and of who lends to whom.
        max_new_tokens: At most this many tokens an answer.
    """

    methods: tuple[Named, ...]
    data: str
    model: str = DEFAULT_MODEL
    part: Part = "test"
    users: int | None = None
    offered: Offered = "competing"
    written: Written = "call"
    references: int = 4
    seed: int = 0
    max_new_tokens: int = 200

    repeats = 1  # answers are greedy

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores, the main one first."""
        return NAME_METRICS if self.written == "name" else METRICS

    @property
    def task(self) -> str:
        """The task's name."""
        return "toolspectrum"

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            TrimtabError: No data, or a value out of its range.
        """
        if not self.data:
            raise TrimtabError(
                "toolspectrum has no built-in data; give the folder with dataset_persona.json and "
                "API_description_persona.json as --data"
            )
        for name, value, kind in (
            ("part", self.part, Part),
            ("offered", self.offered, Offered),
            ("written", self.written, Written),
        ):
            if value not in get_args(kind):
                raise TrimtabError(f"expected {name} {', '.join(get_args(kind))}, got {value!r}")
        if self.references < 1:
            raise TrimtabError(f"expected references of at least 1, got {self.references}")

    def configuration(self) -> dict[str, Any]:
        """What ``of`` needs besides what the task tells of itself."""
        names = ("data", "model", "part", "users", "offered", "written", "references", "seed")
        return {"plan": {name: getattr(self, name) for name in names}}

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> SpectrumPlan:
        """The plan whose run's configuration this is.

        Raises:
            TrimtabError: It is not one.
        """
        with reading_configuration("toolspectrum"):
            return cls(
                methods=tuple(methods_of(configuration["methods"], known=SPECTRUM_METHODS)),
                max_new_tokens=configuration["max_new_tokens"],
                **configuration["plan"],
            )
