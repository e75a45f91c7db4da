"""What a task is: samples, its users made ready for methods, and answers that become records.

A task never knows the folder of a run, what was answered before, or what becomes of a failure:
that is the runner's. The runner never knows a prompt, a model or a tool: that is the task's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .methods.method import PreparedUsers, Treatment
from .methods.registry import Named
from .runs.record import Record
from .sample import Progress, Sample


@dataclass(frozen=True)
class Item:
    """One sample under one method.

    Attributes:
        method: The method's label.
        sample: The sample.
        treatment: What the method does for it.
    """

    method: str
    sample: Sample
    treatment: Treatment

    @property
    def key(self) -> tuple[str, str]:
        """What no two records of a run have in common: method and sample."""
        return self.method, self.sample.key


class Outcome(NamedTuple):
    """What came of an item: its record, or the error that broke it off."""

    item: Item
    record: Record | None = None
    error: BaseException | None = None


class TaskData(Protocol):
    """A data set with its metrics: what a run is of, whoever answers it."""

    @property
    def name(self) -> str:
        """What it is called on the command line and in ``run.json``."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores, the main one first."""

    def samples(self) -> Sequence[Sample]:
        """All samples, each once and in the order in which they are best answered."""

    def configuration(self) -> dict[str, Any]:
        """Plain data: everything besides the methods that decides the results."""

    def summary(self, records: Sequence[Record]) -> Mapping[str, Any]:
        """What the run's summary holds besides what all tasks' have."""


class Task(TaskData, Protocol):
    """What is asked, with a model that answers it, and how it is answered."""

    def prepare(self, methods: Sequence[Named], progress: Progress | None) -> PreparedUsers:
        """The users, ready for these methods; told how far it is.

        Raises:
            TrimtabError: A method that makes no sense here, or users that cannot be prepared.
        """

    def chunks(self, items: Sequence[Item]) -> Iterable[Sequence[Item]]:
        """The items in parts that are answered one after the other."""

    def answer(self, items: Sequence[Item], *, narrower: int = 1) -> Iterator[Outcome]:
        """Answer items, each once, and tell of each as soon as it has ended.

        Args:
            items: Of any methods.
            narrower: By how much less than usual is to be done at once, as there was no room.

        Raises:
            Exception: Whatever broke all that had not ended.
        """

    def failed(self, item: Item, error: str) -> Record:
        """The record of an item without an answer: no scores, which is not the same as wrong."""
