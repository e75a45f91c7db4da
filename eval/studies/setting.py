"""What all studies share: whose data, which model and methods, and where results go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ...errors import TrimtabError
from ...files import home
from ..figures import check_plots
from ..methods.registry import Named
from ..progress import phases, progress_bars

if TYPE_CHECKING:
    from ...envs.text import TextDataset, TextUser
    from ...steering.model import SteeredModel
    from ..metrics import Metric
    from ..record import Record
    from ..study import Study

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


@contextmanager
def opened(
    given: Mapping[str, Any],
    *,
    kind: str,
    study_file: Path | None = None,
    controls: bool = True,
    out: Path | None = None,
    batch_size: int = 48,
    console: Console | None = None,
) -> Iterator[tuple[Setting, Console]]:
    """Load data and model for a study of one kind.

    Args:
        given: Fields of a ``Study``, as for ``make_study``.
        kind: Of the robustness study; names the folder.
        study_file: A TOML file with the same fields.
        controls: Whether steered methods bring their controls.
        out: The folder; None is a new one in the cache folder.
        batch_size: At most this many rows at once.
        console: Where to print.

    Raises:
        TrimtabError: Figures cannot be made, or as ``make_study`` and ``Study.dataset``.
    """
    check_plots()
    from ...steering.model import SteeredModel
    from ..study import make_study

    if batch_size < 1:
        raise TrimtabError(f"expected a batch of at least 1 row, got {batch_size}")
    console = console or Console()
    study = make_study(given, file=study_file, controls=controls)
    dataset = study.dataset()
    console.print(dataset.described(), soft_wrap=True, highlight=False, markup=False)
    folder = out or home() / "runs" / f"{kind}-{study.task}-{datetime.now():%Y%m%d-%H%M%S}"
    with progress_bars(console) as bars:
        loading = bars.add_task(f"loading {study.model}", total=None)
        model = SteeredModel.from_pretrained(study.model)
        bars.remove_task(loading)
        yield Setting(study, model, dataset, folder, batch_size, phases(bars)), console


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
