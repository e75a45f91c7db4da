"""``trimtab compare``: two runs of one task side by side."""

from pathlib import Path
from typing import Annotated

import typer

from .flags import OfMethods


def compare(
    first: Annotated[Path, typer.Argument(help="A run's folder.")],
    second: Annotated[Path, typer.Argument(help="Another's, of the same task.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="Only this metric; may be repeated.")
    ] = None,
    method: OfMethods = None,
    top: Annotated[int, typer.Option(help="How many of the changed samples to show.", min=0)] = 5,
) -> None:
    """Compare two runs: configurations, paired differences, and what changed most."""
    from rich.console import Console

    from ..eval.runs.compare import compare_runs
    from ..eval.runs.record import read_run
    from .console.compare_table import print_comparison

    comparison = compare_runs(
        read_run(first), read_run(second), metrics=metric or (), methods=method or ()
    )
    print_comparison(Console(), comparison, top=top)
