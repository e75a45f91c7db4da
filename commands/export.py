"""``trimtab export``: a run in the formats of others."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .flags import OfMethods, RunFolder

if TYPE_CHECKING:
    from ..envs.shop.world import World


class Format(StrEnum):
    """What a run can be exported to."""

    csv = "csv"
    parquet = "parquet"
    lamp = "lamp"
    personalwab = "personalwab"
    inspect = "inspect"


def export(
    run: RunFolder,
    to: Annotated[
        Format,
        typer.Option(
            help="csv or parquet: all records as one table. lamp, personalwab: the benchmark's "
            "own result files. inspect: logs for Inspect's viewer."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="A table's file, or the others' folder; default: in the run's folder."),
    ] = None,
    method: OfMethods = None,
    world: Annotated[
        str,
        typer.Option(help="Of personalwab: the bazaar, or the folder of the world played in."),
    ] = "bazaar",
) -> None:
    """Export a run: as a table, a benchmark's result files, or logs of Inspect."""
    from ..eval.runs.export import export_run
    from ..eval.runs.record import read_run

    def opened() -> "World":
        from ..eval.shop.opening import open_shop

        return open_shop(world).world

    for path in export_run(read_run(run), to.value, out, methods=method or (), world=opened):
        print(path)
