"""``trimtab tools``: look over a file of tools before a model meets it."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.callback(invoke_without_command=True)
def tools_group(context: typer.Context) -> None:
    """Look over a file of tools before a model meets it."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("check")
def tools_check(
    file: Annotated[Path, typer.Argument(help="A .py, .yaml or .json file of tools.")],
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Show the whole prompt that a model reads.")
    ] = False,
    schemas: Annotated[
        bool, typer.Option("--schemas", help="Show each schema as given and as bounded.")
    ] = False,
    call: Annotated[
        bool, typer.Option("--call", help="Call the tools with their examples, too.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="Whose prompt: a name, a hub id, or a folder.")
    ] = "qwen2.5-coder-0.5b-instruct",
) -> None:
    """Say what a model sees of the tools, what it can write, and whether the examples fit."""
    from .actions.tools import check_command

    check_command(file, prompt=prompt, schemas=schemas, call=call, model=model)
