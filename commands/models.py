"""``trimtab models``: list and pull the models that trimtab can fetch by itself."""

from typing import Annotated

import typer

app = typer.Typer()


@app.callback(invoke_without_command=True)
def models_group(context: typer.Context) -> None:
    """List and pull the models that trimtab can fetch by itself."""
    if context.invoked_subcommand is None:
        models_list()


@app.command("list")
def models_list() -> None:
    """List the models that trimtab can fetch by itself, and which are here."""
    from rich.console import Console
    from rich.table import Table

    from ..steering.weights.known import KNOWN, is_ready

    table = Table("name", "role", "download", "licence", "here", "folder", box=None)
    for known in KNOWN.values():
        here = is_ready(known.name)
        table.add_row(
            known.name,
            known.role,
            f"{known.size / 1e6:,.0f} MB",
            known.licence,
            "yes" if here else "no",
            str(known.folder) if here else "",
        )
    console = Console()
    if not console.is_terminal:
        console.width = 1000  # a pipe has no edge to wrap at
    console.print(table)


@app.command("pull")
def models_pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: the default model.")
    ] = None,
) -> None:
    """Fetch models, check and convert them, and keep them in the cache folder."""
    from ..steering.weights.known import DEFAULT_MODEL, pull
    from .console.download import download_bar

    for name in names or [DEFAULT_MODEL]:
        print(pull(name, download_bar))
