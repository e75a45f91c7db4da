"""``trimtab tune``: choose how to steer, on held-back training samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TrimtabError
from .flags import Quiet
from .loading import BY_HARDWARE, Device, DeviceMap, Dtype, ModelName, Placement, load_model

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..eval.tuning.search import Tuned
    from ..steering.dictionaries.tuning import Grid, Trial

_SHOWN = 8


def tune(
    task: Annotated[
        str, typer.Argument(help="shop, toolspectrum, or a text task such as headlines.")
    ] = "shop",
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    data: Annotated[
        str, typer.Option(help="The task's data or world; default: the built-in one.")
    ] = "",
    user: Annotated[
        list[str] | None, typer.Option(help="Only samples of this user; may be repeated.")
    ] = None,
    users: Annotated[int, typer.Option(help="Of how many users, where none is named.")] = 24,
    history: Annotated[
        int | None, typer.Option(help="Only this many of a user's latest past samples; texts.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of users.")] = 0,
    share: Annotated[
        float, typer.Option(help="Of each user's training samples, the latest, to hold back.")
    ] = 0.25,
    minutes: Annotated[float, typer.Option(help="No setting is tried after this.")] = 10.0,
    sites: Annotated[
        str, typer.Option(help="Sets of sites to try.")
    ] = "attn+mlp,mid+mlp,mid,block",
    depths: Annotated[
        str, typer.Option(help="Relative depths to try, 0 to 1.")
    ] = "0.3,0.45,0.6,0.72,0.85",
    strengths: Annotated[str, typer.Option(help="Strengths to try.")] = "0.5,1,2,4",
    positions: Annotated[
        str, typer.Option(help="Positions to try: all, answer, prompt, or a number of tokens.")
    ] = "",
    keys: Annotated[str, typer.Option(help="Key texts to try: input, input+answer.")] = "",
    aggregates: Annotated[
        str, typer.Option(help="Aggregations to try: attentive, mean, naive.")
    ] = "",
    ks: Annotated[str, typer.Option("--k", help="Numbers of picked entries to try.")] = "",
    temperatures: Annotated[
        str, typer.Option(help="Temperatures of the attentive aggregation to try.")
    ] = "",
    half_lives: Annotated[
        str,
        typer.Option("--half-life", help="Numbers of later times after which a weight halves."),
    ] = "",
    settings: Annotated[
        Path | None, typer.Option(help="A TOML to start from, for all that is not tried yet.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The search's folder; an unfinished search in it is resumed.")
    ] = Path("runs/tune"),
    quiet: Quiet = False,
) -> None:
    """Choose how to steer: the settings that make users' own held-back answers likeliest.

    Nothing is generated and no test sample is read. The best settings go to steering.toml in the
    search's folder, for `trimtab run --settings` and `trimtab eval`.
    """
    from ..eval.tuning.grid import grid_of

    tune_command(
        task,
        model=model,
        placement=Placement(dtype, device, device_map),
        data=data,
        users=user or [],
        count=users,
        history=history,
        seed=seed,
        share=share,
        minutes=minutes,
        grid=grid_of(
            sites=sites,
            depths=depths,
            strengths=strengths,
            positions=positions,
            keys=keys,
            aggregates=aggregates,
            ks=ks,
            temperatures=temperatures,
            half_lives=half_lives,
        ),
        start=settings,
        out=out,
        quiet=quiet,
    )


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
    quiet: bool = False,
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
        out: The search's folder; one that was broken off is resumed.
        quiet: Show no progress.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C, when what is finished has been shown.
    """
    from rich.console import Console

    from ..eval.figures import check_plots
    from ..eval.tuning.search import tune
    from ..eval.tuning.tasks import tuning_task
    from ..files import home
    from ..steering.dictionaries.settings import SteeringSettings
    from .console.progress import counting, progress

    check_plots()
    if minutes <= 0:
        raise TrimtabError(f"expected a budget of more than 0 minutes, got {minutes:g}")
    console = console or Console()
    given = SteeringSettings.load(start) if start is not None else None
    with progress(console, quiet=quiet) as display:
        display.doing(f"loading {model}")
        loaded = load_model(model, placement)
        wanted = tuning_task(
            task,
            loaded,
            data=data,
            users=users,
            count=count,
            history=history,
            seed=seed,
            progress=display,
        )
        if given is not None:
            wanted = replace(wanted, start=given)
        grid = replace(
            grid, positions=grid.positions or wanted.positions, parts=grid.parts or wanted.parts
        )
        tried = 0

        def tell(trial: Trial) -> None:
            nonlocal tried
            tried += 1
            display.doing(f"trying settings, {tried} tried")

        tuned = tune(
            loaded,
            wanted,
            grid,
            folder=out,
            prepared=home() / "eval" / "entries",
            share=share,
            budget_seconds=60 * minutes,
            on_read=counting(display, "dictionaries", len(wanted.users)),
            on_trial=tell,
        )
    _show(console, tuned, out)
    if tuned.interrupted:
        raise KeyboardInterrupt


def _show(console: Console, tuned: Tuned, out: Path) -> None:
    from ..eval.tuning.plot import plot_tuning

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
        console.print("The time was over before the search was; the same command resumes it.")
    console.print(f"{len(tuned.trials)} settings tried; written: {names}", soft_wrap=True)


def _table(tuned: Tuned) -> Table:
    """The unsteered trial and the best ones; of their settings, those in which they differ."""
    from rich.table import Table

    from ..steering.dictionaries.settings import SteeringSettings
    from .console.cells import number

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
            scores = (trial.margin, trial.likelihood, trial.accuracy)
            table.add_row(
                str(place) if place else "unsteered",
                *(number(math.nan if value is None else value, ".3f") for value in scores),
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
