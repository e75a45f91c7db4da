"""``trimtab report``: a run as one page, with its tables, charts and every sample."""

from pathlib import Path
from typing import Annotated

import typer

from .flags import RunFolder


def report(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; default: report.html in the run's folder.")
    ] = None,
) -> None:
    """Write a run's report: one HTML file that needs nothing else."""
    from ..eval.runs.record import read_run
    from ..eval.runs.report import write_report

    print(write_report(read_run(run), out))
