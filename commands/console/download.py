"""A download, shown on standard error where that is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from ...steering.weights.known import KnownWeights
from ...steering.weights.mirrors import Report


@contextmanager
def download_bar(known: KnownWeights) -> Iterator[Report]:
    """A bar for as long as a model is fetched, as what is told how many bytes have arrived."""
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task(known.name, total=known.size)
        yield lambda arrived: bar.update(task, completed=arrived)
