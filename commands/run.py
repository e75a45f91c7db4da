"""``trimtab run``: play personalized shopping episodes and score them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Decoding(StrEnum):
    """How tool calls are decoded."""

    constrained = "constrained"
    free = "free"


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
    from ..eval.command import run_command

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
