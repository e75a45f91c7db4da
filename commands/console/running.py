"""A plan run to its end and shown: what `trimtab run` and `trimtab eval` have in common."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from ...errors import TrimtabError
from ...eval.runs.record import Run
from ...files import home
from ..loading import BY_HARDWARE, Placement, load_model
from .profile import profiled
from .progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...eval.opening import Loads, Plan
    from ...eval.runner import EvalRun
    from ...eval.runs.record import Record
    from .progress import Display


def run_plan(
    plan: Plan,
    *,
    placement: Placement = BY_HARDWARE,
    out: Path | None = None,
    batch_size: int = 48,
    ray: str | None = None,
    workers: int | None = None,
    show: bool = False,
    profile: bool = False,
    quiet: bool = False,
    as_json: bool = False,
    console: Console | None = None,
) -> EvalRun:
    """Run a plan and print its tables.

    Args:
        plan: What is compared.
        placement: In which data type and on which devices the model is loaded.
        out: The run's folder; one with results of the same plan is resumed. None is a new one in
            the cache folder.
        batch_size: At most this many rows at once.
        ray: The address of a Ray cluster whose workers answer; None is this process.
        workers: How many; see ``evaluate_on_ray``.
        show: Print each episode as it ends.
        profile: Print where the time went; loading the model is not counted.
        quiet: Show no progress.
        as_json: Print the summary as JSON, and nothing else.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C, when what is finished has been shown.
        typer.Exit: With code 1 where anything failed because of code.
    """
    from ...eval.opening import opened
    from ...eval.runner import evaluate

    # What a machine reads stands alone on standard output.
    screen = Console(stderr=True) if as_json else console or Console()
    out = out or home() / "runs" / f"{plan.task}-{datetime.now():%Y%m%d-%H%M%S}"
    with progress(screen, quiet=quiet) as display:

        def say(line: str) -> None:
            screen.print(line, soft_wrap=True, highlight=False, markup=False)

        def ended(record: Record) -> None:
            from .episode import episode_view

            display.show(episode_view(record), "")

        load = partial(load_model, placement=placement)
        if ray is not None:
            run = _on_ray(
                plan, out, ray, workers, load, batch_size, display, ended if show else None
            )
        else:
            with (
                opened(
                    plan, load=load, batch_size=batch_size, tell=say, doing=display.doing
                ) as task,
                profiled(screen, profile),
            ):
                run = evaluate(
                    task,
                    plan.methods,
                    out,
                    repeats=plan.repeats,
                    on_progress=display,
                    on_record=ended if show else None,
                )
    _tell(run, screen, as_json)
    if run.interrupted:
        raise KeyboardInterrupt
    if run.refusal:
        raise TrimtabError(f"nothing could be answered: {run.refusal}")
    if run.code_failures:
        raise typer.Exit(1)
    return run


def _on_ray(
    plan: Plan,
    out: Path,
    address: str,
    workers: int | None,
    load: Loads,
    batch_size: int,
    display: Display,
    on_record: Callable[[Record], None] | None,
) -> EvalRun:
    """Run a plan on a cluster.

    Raises:
        TrimtabError: There is no Ray, or as ``evaluate_on_ray``.
    """
    import importlib.util

    if importlib.util.find_spec("ray") is None:
        raise TrimtabError("--ray needs Ray; run: pip install 'trimtab[ray]'")
    from ...eval.on_ray import evaluate_on_ray

    return evaluate_on_ray(
        plan,
        out,
        address=address,
        workers=workers,
        load=load,
        batch_size=batch_size,
        on_progress=display,
        on_record=on_record,
        doing=display.doing,
    )


def resume_run(
    folder: Path,
    *,
    placement: Placement = BY_HARDWARE,
    batch_size: int = 48,
    ray: str | None = None,
    workers: int | None = None,
    show: bool = False,
    quiet: bool = False,
    as_json: bool = False,
    console: Console | None = None,
) -> EvalRun:
    """Resume the run in a folder by the plan that it holds; see ``run_plan``.

    The model is loaded in the precision that the run was begun in, unless another one is named.

    Raises:
        TrimtabError: It is no run's folder, or as ``run_plan``.
    """
    from ...eval.opening import plan_of
    from ...eval.runs.record import read_run

    configuration = read_run(folder).configuration
    plan = plan_of(configuration)  # which refuses what is no run's configuration
    if placement.dtype is None and (begun_in := configuration["model"].get("dtype")):
        placement = replace(placement, dtype=begun_in.removeprefix("torch."))
    return run_plan(
        plan,
        placement=placement,
        out=folder,
        batch_size=batch_size,
        ray=ray,
        workers=workers,
        show=show,
        quiet=quiet,
        as_json=as_json,
        console=console,
    )


def rescore_run(folder: Path, *, as_json: bool = False, console: Console | None = None) -> EvalRun:
    """Score a run's outputs anew, without a model, and print its tables.

    Raises:
        TrimtabError: As ``rescore``.
    """
    from ...eval.runs.rescoring import rescore

    run = rescore(folder)
    _tell(run, console or Console(), as_json)
    return run


def _tell(run: EvalRun, console: Console, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary_of(run, run.run.path), ensure_ascii=False, allow_nan=False))
    else:
        show_run(run, console)


def summary_of(run: EvalRun, folder: Path) -> dict[str, object]:
    """A run in one object, for a machine."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {
        "folder": str(folder),
        "task": run.run.task,
        "records": len(run.records),
        "planned": run.planned,
        "fresh": run.fresh,
        "failed": sum(bool(record.error) for record in run.records),
        "seconds": round(run.seconds, 3),
        "interrupted": run.interrupted,
        **summary,
    }


def show_run(run: EvalRun, console: Console) -> None:
    """Print a run's tables, what failed, and where it is kept."""
    if run.records:
        print_tables_of(run, console)
    errors = Counter(record.error for record in run.records if record.error)
    for error, count in errors.most_common(1):
        said = " ".join(error.split())
        console.print(f"{count} failed with: {said}", soft_wrap=True, highlight=False, markup=False)
    if run.code_failures:
        console.print(
            f"{run.code_failures} failures are of code; their tracebacks are in "
            f"{run.run.path / 'results.jsonl'}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    console.print(
        f"{len(run.records)} of {run.planned} {_what(run.run)}, {run.fresh} of them in these "
        f"{run.seconds:.0f} s, kept in {run.run.path}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def print_tables_of(run: EvalRun, console: Console) -> None:
    """Print the tables of the run's kind."""
    if run.run.task == "bfcl":
        from .calls_table import print_calls

        print_calls(console, run.records, run.run.metrics)
        return
    if run.run.task == "toolspectrum":
        from .calls_table import print_categories
        from .standings_table import print_standings

        print_standings(console, run.standings)
        print_categories(console, run.records, "app")
        return
    if run.run.task == "shop":
        from .shop_table import print_shop

        print_shop(console, run.run, run.standings)
        return
    from .standings_table import print_standings

    print_standings(console, run.standings)


def _what(run: Run) -> str:
    return "episodes" if run.task == "shop" else "answers"
