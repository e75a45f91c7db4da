"""What ``trimtab tune`` does: searches, shows the best settings, and draws what was tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ...errors import TrimtabError
from ...eval.figures import check_plots
from ...eval.tuning.plot import plot_tuning
from ...eval.tuning.search import Tuned, tune
from ...eval.tuning.tasks import tuning_task
from ...files import home
from ...steering.dictionaries.settings import SteeringSettings
from ...steering.dictionaries.tuning import Grid, Trial
from ..console.cells import number
from ..console.progress import counting, phases, progress_bars, waiting
from ..loading import BY_HARDWARE, Placement, load_model

_SHOWN = 8


def tune_command(
    task: str,
    *,
    model: str,
    placement: Placement = BY_HARDWARE,
    data: str = "",
    users: Sequence[str] = (),
    count: int = 24,
    history: int | None = None,
    seed: int = 0,
    share: float = 0.25,
    minutes: float = 10.0,
    grid: Grid,
    start: Path | None = None,
    out: Path,
    console: Console | None = None,
) -> None:
    """Search for settings on held-back training samples, and say what was found.

    Args:
        task: ``shop`` or a text task.
        model: A model's name, hub id or folder.
        placement: In which data type and on which devices it is loaded.
        data: The task's data; empty is the built-in world.
        users: Whose samples; empty takes some at random.
        count: Of at most so many users.
        history: Of a text task, at most this many of a user's latest past samples; None is all.
        seed: Of their choice.
        share: Of each user's training samples that are held back.
        minutes: No setting is tried after this.
        grid: What is tried; without positions, those that the task names.
        start: A settings file with what the first round takes for all that it does not try.
        out: The search's folder; one that was broken off is gone on with.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C, when what is finished has been shown.
    """
    check_plots()
    if minutes <= 0:
        raise TrimtabError(f"expected a budget of more than 0 minutes, got {minutes:g}")
    console = console or Console()
    given = SteeringSettings.load(start) if start is not None else None
    with progress_bars(console) as progress:
        with waiting(progress, f"loading {model}"):
            loaded = load_model(model, placement)
        wanted = tuning_task(
            task,
            loaded,
            data=data,
            users=users,
            count=count,
            history=history,
            seed=seed,
            progress=phases(progress),
        )
        if given is not None:
            wanted = replace(wanted, start=given)
        grid = replace(
            grid, positions=grid.positions or wanted.positions, parts=grid.parts or wanted.parts
        )
        tried = counting(progress, "settings")
        tuned = tune(
            loaded,
            wanted,
            grid,
            folder=out,
            prepared=home() / "eval" / "entries",
            share=share,
            budget_seconds=60 * minutes,
            on_read=counting(progress, "dictionaries", len(wanted.pairs)),
            on_trial=lambda trial: tried(1),
        )
    _show(console, tuned, out)
    if tuned.interrupted:
        raise KeyboardInterrupt


def _show(console: Console, tuned: Tuned, out: Path) -> None:
    best, unsteered = tuned.best, tuned.unsteered
    if best is None or unsteered is None:
        console.print("no setting was tried; give more --minutes")
        return
    console.print(_table(tuned))
    files = plot_tuning(tuned.trials, tuned.by, out / "tuning")
    names = ", ".join(str(path) for path in [out / "steering.toml", *files])
    if best.score(tuned.by) <= unsteered.score(tuned.by):
        console.print("No setting did better than no steering; the file holds the best one tried.")
    if tuned.out_of_time:
        console.print("The time was over before the search was; the same command goes on with it.")
    console.print(f"{len(tuned.trials)} settings tried; written: {names}", soft_wrap=True)


def _table(tuned: Tuned) -> Table:
    """The unsteered trial and the best ones; of their settings, those in which they differ."""
    steered = [trial for trial in tuned.trials if trial.settings is not None]
    best = sorted(steered, key=lambda trial: -trial.score(tuned.by))[:_SHOWN]
    shown = [
        field.name
        for field in fields(SteeringSettings)
        if field.name in ("sites", "depths", "strength") or _differ(best, field.name)
    ]
    table = Table("", "margin", "nats a token", "accuracy", "settings", box=None, pad_edge=False)
    for place, trial in enumerate([tuned.unsteered, *best]):
        if trial is not None:
            settings = ", ".join(
                f"{n} {_written(getattr(trial.settings, n))}" for n in shown if place
            )
            found = (trial.margin, trial.likelihood, trial.accuracy)
            table.add_row(
                str(place) if place else "unsteered",
                *(number(math.nan if value is None else value, ".3f") for value in found),
                settings,
                style="bold" if place == 1 else None,
            )
    return table


def _differ(trials: Sequence[Trial], name: str) -> bool:
    return len({getattr(trial.settings, name) for trial in trials}) > 1


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
