"""The command line: one command, ``trimtab``. Each of its commands is a function here, and thin.

A command imports what it needs inside its body, so that ``trimtab --help`` stays quick, and
raises :class:`~trimtab.errors.TrimtabError` for whatever a person can put right. ``main`` makes
one line on standard error and an exit code of it: 2 for bad input, 130 for Ctrl-C. A command
that keeps what is finished when Ctrl-C comes shows it, and lets the KeyboardInterrupt go on.
"""

import sys
from typing import Annotated

import typer

from .errors import TrimtabError

INTERRUPTED = 130

app = typer.Typer(
    name="trimtab",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer()
app.add_typer(models, name="models")


def main() -> None:
    """Run the command line with the process's arguments, and exit."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = app(arguments, prog_name="trimtab", standalone_mode=False) or 0
    except (TrimtabError, typer.TyperException) as error:
        message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        print("error:", " ".join(message.split()), file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return int(code)


@app.callback(invoke_without_command=True)
def trimtab(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Personalized web agents, steered inside the forward pass."""
    if version:
        from importlib.metadata import version as installed

        print(f"trimtab {installed('trimtab')}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@models.callback(invoke_without_command=True)
def models_group(context: typer.Context) -> None:
    """List and pull the models that trimtab can fetch by itself."""
    if context.invoked_subcommand is None:
        models_list()


@models.command("list")
def models_list() -> None:
    """List the models that trimtab can fetch by itself, and which are here."""
    from rich.console import Console
    from rich.table import Table

    from .steering.weights import KNOWN, is_ready

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


@models.command("pull")
def models_pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: the default model.")
    ] = None,
) -> None:
    """Fetch models, check and convert them, and keep them in the cache folder."""
    from .steering.weights import DEFAULT_MODEL, pull

    for name in names or [DEFAULT_MODEL]:
        print(pull(name))
