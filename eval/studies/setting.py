"""What all studies share: whose data, which model and methods, and where results go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TrimtabError
from ..methods.registry import Named

if TYPE_CHECKING:
    from ...envs.texts.dataset import TextDataset, TextUser
    from ...steering.model import SteeredModel
    from ..metrics import Metric
    from ..runs.record import Record
    from ..sample import Progress
    from ..texts.plan import TextPlan


@dataclass(frozen=True)
class Setting:
    """A study that is ready to run.

    Attributes:
        plan: Task, methods and how answers are made.
        model: The plan's model.
        dataset: The plan's users.
        folder: Where runs, tables and figures are kept; runs that are there are resumed.
        batch_size: At most this many rows at once.
        progress: Told what is under way.
    """

    plan: TextPlan
    model: SteeredModel
    dataset: TextDataset
    folder: Path
    batch_size: int = 48
    progress: Progress | None = None

    @property
    def metric(self) -> Metric:
        """The main one."""
        return self.plan.running_task().metric(self.plan.metrics[0])

    def run(
        self,
        name: str,
        *,
        methods: Sequence[Named] | None = None,
        users: Sequence[TextUser] | None = None,
    ) -> dict[str, list[Record]]:
        """Run the plan, or one with other methods or users, in a folder of its own.

        Returns:
            The records by method, in the order of the methods.

        Raises:
            KeyboardInterrupt: After Ctrl-C; what is finished is kept.
        """
        from ..runner import evaluate
        from ..texts.task import TextTask

        plan = self.plan if methods is None else replace(self.plan, methods=tuple(methods))
        dataset = self.dataset if users is None else replace(self.dataset, users=tuple(users))
        run = evaluate(
            TextTask(plan, self.model, dataset, batch_size=self.batch_size),
            plan.methods,
            self.folder / "runs" / name,
            repeats=plan.repeats,
            on_progress=self.progress,
        )
        if run.interrupted:
            raise KeyboardInterrupt
        records: dict[str, list[Record]] = {named.label: [] for named in plan.methods}
        for record in run.records:
            if record.method in records:
                records[record.method].append(record)
        return records

    def report(self, what: str, done: int, total: int) -> None:
        """Tell how far something is."""
        if self.progress:
            self.progress(what, done, total)


def unpersonalized(plan: TextPlan) -> Named:
    """The plan's method that knows nothing of the user.

    Raises:
        TrimtabError: It has none.
    """
    for named in plan.methods:
        if named.method.name == "zero-shot":
            return named
    raise TrimtabError("this study compares with the model as it is; add zero-shot to --methods")


def steered(plan: TextPlan) -> list[Named]:
    """The plan's methods that steer by the user's own dictionary.

    Raises:
        TrimtabError: It has none.
    """
    from ..methods.steered import Steered

    methods = [
        named
        for named in plan.methods
        if isinstance(named.method, Steered) and named.method.whose == "own"
    ]
    if not methods:
        raise TrimtabError("this study needs a method that steers; add fints to --methods")
    return methods
