"""What ``trimtab eval`` does: loads a study's data and model, runs it, and shows how it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ...errors import TrimtabError
from ...files import home
from ..console.progress import phases, progress_bars, waiting
from ..console.standings_table import print_standings

if TYPE_CHECKING:
    from ...eval.runner import EvalRun
    from ...eval.texts.study import Study


def evaluate_command(
    given: Mapping[str, Any],
    *,
    controls: bool = True,
    batch_size: int = 48,
    study: Path | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    rescore: Path | None = None,
    console: Console | None = None,
) -> None:
    """Do what the flags ask for: a study, the rest of one, or new scores.

    Args:
        given: Fields of a ``Study``; None is one that was not given.
        controls: Whether steered methods bring their controls.
        batch_size: At most this many rows at once.
        study: A TOML file.
        out: The run's folder.
        resume: A folder to go on with.
        rescore: A folder whose outputs are scored anew.
        console: Where to print.

    Raises:
        TrimtabError: Flags that do not go together, or as ``evaluate_study``.
    """
    from ...eval.texts.study import make_study
    from ...eval.texts.tasks import OTHER_TASKS, TASKS, check_task
    from .other_tasks import evaluate_other

    folder = resume or rescore
    if folder is not None:
        others = {**given, "study": study, "out": out, "rescore": rescore if resume else None}
        asked = sorted(name for name, value in others.items() if value is not None)
        if asked:
            what = "--resume" if resume else "--rescore"
            named = {"task": f"the task {given.get('task')!r}", "generate": "--no-generate"}
            other = named.get(asked[0], f"--{asked[0].replace('_', '-')}")
            raise TrimtabError(f"{what} takes all from the run's folder; leave out {other}")
        if resume:
            resume_study(resume, batch_size=batch_size, console=console)
        else:
            rescore_and_show(folder, console=console)
        return
    task = given.get("task")
    if task is not None:
        check_task(task, [*TASKS, *OTHER_TASKS])
    if task in OTHER_TASKS:
        if study is not None:
            raise TrimtabError(f"--study says nothing to the task {task}; give its flags instead")
        evaluate_other(given, out=out, batch_size=batch_size, console=console)
        return
    evaluate_study(
        make_study(given, file=study, controls=controls),
        out=out,
        batch_size=batch_size,
        console=console,
    )


def evaluate_study(
    study: Study,
    *,
    out: Path | None = None,
    batch_size: int = 48,
    console: Console | None = None,
) -> EvalRun:
    """Run a study and print its tables.

    Args:
        study: What is compared.
        out: The run's folder; one with results of the same study is gone on with. None is a new
            one in the cache folder.
        batch_size: At most this many rows at once.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C, when what is finished has been shown.
    """
    from ...eval.runner import run_study
    from ...steering.model import SteeredModel

    console = console or Console()
    if batch_size < 1:
        raise TrimtabError(f"expected a batch of at least 1 row, got {batch_size}")
    dataset = study.dataset()
    console.print(dataset.described(), soft_wrap=True, highlight=False)
    out = out or home() / "runs" / f"{study.task}-{datetime.now():%Y%m%d-%H%M%S}"
    with progress_bars(console) as progress:
        with waiting(progress, f"loading {study.model}"):
            model = SteeredModel.from_pretrained(study.model)
        run = run_study(
            study,
            model,
            dataset,
            folder=out,
            batch_size=batch_size,
            on_progress=phases(progress),
        )
    show(run, out, console)
    if run.interrupted:
        raise KeyboardInterrupt
    return run


def resume_study(folder: Path, *, batch_size: int = 48, console: Console | None = None) -> EvalRun:
    """Go on with the run in a folder, by the configuration that it holds.

    Raises:
        TrimtabError: It is no run's folder, or as ``evaluate_study``.
    """
    from ...eval.runs.record import read_run
    from ...eval.texts.study import Study

    study = Study.of(read_run(folder).configuration)
    return evaluate_study(study, out=folder, batch_size=batch_size, console=console)


def rescore_and_show(folder: Path, *, console: Console | None = None) -> EvalRun:
    """Score a run's outputs anew and print its tables.

    Raises:
        TrimtabError: As ``rescore``.
    """
    from ...eval.runs.rescoring import rescore

    run = rescore(folder)
    show(run, folder, console or Console())
    return run


def show(run: EvalRun, folder: Path, console: Console) -> None:
    """Print a run's tables, and where it is kept."""
    print_standings(console, run.standings)
    errors = Counter(record.error for record in run.records if record.error)
    for error, count in errors.most_common(1):
        told = " ".join(error.split())
        console.print(f"{count} failed with: {told}", soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"{len(run.records)} of {run.planned} answers, {run.fresh} of them in these "
        f"{run.seconds:.0f} s, kept in {folder}",
        soft_wrap=True,
        highlight=False,
    )
