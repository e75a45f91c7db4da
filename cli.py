"""The command line: one command, ``trimtab``. Its commands are the modules of ``commands``.

A command is thin, imports what it needs inside its body, so that ``trimtab --help`` stays quick,
and raises :class:`~trimtab.errors.TrimtabError` for whatever a person can put right. ``main`` makes
one line on standard error and an exit code of it: 2 for bad input, 130 for Ctrl-C; 1 is a failure
of code, whose traceback stands in the log and in the record. A command
that keeps what is finished when Ctrl-C comes shows it, and lets the KeyboardInterrupt go on.
"""

import logging
import sys
from typing import Annotated

import typer

from .commands import (
    compare,
    data,
    doctor,
    evaluate,
    export,
    keys,
    models,
    play,
    report,
    run,
    serve,
    store,
    study,
    tools,
    tune,
)
from .errors import TrimtabError
from .serve.logs import worth_reading

INTERRUPTED = 130

app = typer.Typer(
    name="trimtab",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(play.play)
app.command("eval")(evaluate.evaluate)
app.command()(report.report)
app.command()(compare.compare)
app.command()(export.export)
app.command()(tune.tune)
app.command()(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(serve.app, name="serve")
app.add_typer(store.app, name="store")
app.add_typer(study.app, name="study")
app.add_typer(tools.app, name="tools")


def main() -> None:
    """Run the command line with the process's arguments, and exit."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    # What the package says of its work goes to standard error, whoever runs it.
    handler = logging.StreamHandler()
    handler.addFilter(worth_reading)
    logging.basicConfig(format="%(message)s", handlers=[handler])
    logging.getLogger("trimtab").setLevel(logging.INFO)
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
