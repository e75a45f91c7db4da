"""What all studies share: whose data, which model and methods, and where results go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    from ..texts.study import Study

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Setting:
    """A study that is ready to run.

    Attributes:
        study: Task, methods and how answers are made.
        model: The study's model.
        dataset: The study's users.
        folder: Where runs, tables and figures are kept; one that is there is gone on with.
        batch_size: At most this many rows at once.
        progress: Told what is under way.
    """

    study: Study
    model: SteeredModel
    dataset: TextDataset
    folder: Path
    batch_size: int = 48
    progress: Progress | None = None

    @property
    def metric(self) -> Metric:
        """The main one."""
        return self.study.running_task().metric(self.study.metrics[0])

    def run(
        self,
        name: str,
        *,
        methods: Sequence[Named] | None = None,
        users: Sequence[TextUser] | None = None,
    ) -> dict[str, list[Record]]:
        """Run the study, or one with other methods or users, in a folder of its own.

        Returns:
            The records by method, in the order of the methods.

        Raises:
            KeyboardInterrupt: After Ctrl-C; what is finished is kept.
        """
        from ..runner import run_study

        study = self.study if methods is None else replace(self.study, methods=tuple(methods))
        dataset = self.dataset if users is None else replace(self.dataset, users=tuple(users))
        run = run_study(
            study,
            self.model,
            dataset,
            folder=self.folder / "runs" / name,
            batch_size=self.batch_size,
            on_progress=self.progress,
        )
        if run.interrupted:
            raise KeyboardInterrupt
        records: dict[str, list[Record]] = {named.label: [] for named in study.methods}
        for record in run.records:
            if record.method in records:
                records[record.method].append(record)
        return records

    def told(self, what: str, done: int, total: int) -> None:
        """Tell how far something is."""
        if self.progress:
            self.progress(what, done, total)


def unpersonalized(study: Study) -> Named:
    """The study's method that knows nothing of the user.

    Raises:
        TrimtabError: It has none.
    """
    for named in study.methods:
        if named.method.name == "zero-shot":
            return named
    raise TrimtabError("this study compares with the model as it is; add zero-shot to --methods")


def steered(study: Study) -> list[Named]:
    """The study's methods that steer by the user's own dictionary.

    Raises:
        TrimtabError: It has none.
    """
    from ..methods.fints import Steered

    found = [
        named
        for named in study.methods
        if isinstance(named.method, Steered) and named.method.whose == "own"
    ]
    if not found:
        raise TrimtabError("this study needs a method that steers; add fints to --methods")
    return found
