"""The command line: one command, ``trimtab``. Each of its commands is a function here, and thin.

A command imports what it needs inside its body, so that ``trimtab --help`` stays quick, and
raises :class:`~trimtab.errors.TrimtabError` for whatever a person can put right. ``main`` makes
one line on standard error and an exit code of it: 2 for bad input, 130 for Ctrl-C. A command
that keeps what is finished when Ctrl-C comes shows it, and lets the KeyboardInterrupt go on.
"""

import sys
from enum import StrEnum
from pathlib import Path
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


class Decoding(StrEnum):
    """How tool calls are decoded."""

    constrained = "constrained"
    free = "free"


@app.command()
def run(
    model: Annotated[
        str, typer.Option(help="A name from `trimtab models list`, a hub id, or a folder.")
    ] = "qwen2.5-coder-0.5b-instruct",
    world: Annotated[
        str, typer.Option(help="The built-in bazaar, or a folder in PersonalWAB's format.")
    ] = "bazaar",
    episodes: Annotated[int, typer.Option(help="How many test tasks, under every arm.")] = 72,
    spread: Annotated[int, typer.Option(help="Over how many users they are spread.")] = 24,
    user: Annotated[
        list[str] | None, typer.Option(help="Only tasks of this user; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of tasks and of the strangers.")] = 0,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file with a [steering] table.")
    ] = None,
    dictionaries: Annotated[
        Path | None, typer.Option(help="A folder of USER.safetensors; default: build and keep.")
    ] = None,
    decode: Annotated[Decoding, typer.Option(help="Calls held to the schemas, or free.")] = (
        Decoding.constrained
    ),
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; an unfinished one is gone on with.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show every episode as it ends.")] = False,
) -> None:
    """Play personalized shopping episodes, steered and not, and score them."""
    from .eval.command import run_command

    run_command(
        model=model,
        world=world,
        episodes=episodes,
        spread=spread,
        users=user or [],
        seed=seed,
        settings=settings,
        dictionaries=dictionaries,
        decode=decode.value,
        out=out,
        show=show,
    )


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
