"""``trimtab run``: play personalized shopping episodes and score them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Track(StrEnum):
    """PersonalWAB's tracks."""

    single = "single"
    multi = "multi"


class Prompting(StrEnum):
    """How the model is asked for a step."""

    call = "call"
    react = "react"


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
    track: Annotated[
        Track, typer.Option(help="One call, or a conversation with a simulated user.")
    ] = Track.single,
    user_simulator: Annotated[
        str | None,
        typer.Option(help="The multi track's user: scripted, model, endpoint; default: what fits."),
    ] = None,
    user_model: Annotated[
        str, typer.Option(help="The model that plays the user; default: the agent's own.")
    ] = "",
    user_url: Annotated[
        str, typer.Option(help="An OpenAI-compatible endpoint, such as http://localhost:8000/v1.")
    ] = "",
    steps: Annotated[
        int | None, typer.Option(help="Step limit of an episode; default 8, multi 10.")
    ] = None,
    memory: Annotated[
        str, typer.Option(help="Memory arms, comma-separated: none, random, last, relevant, full.")
    ] = "relevant",
    both: Annotated[
        bool, typer.Option("--both", help="Also steer with each memory mode in the prompt.")
    ] = False,
    remembered: Annotated[int, typer.Option(help="Past requests that a memory shows.")] = 3,
    prompting: Annotated[
        Prompting, typer.Option(help="Plain function calls, or ReAct's thoughts and actions.")
    ] = Prompting.call,
    decode: Annotated[Decoding, typer.Option(help="Calls held to the schemas, or free.")] = (
        Decoding.constrained
    ),
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file with a `steering` table.")
    ] = None,
    dictionaries: Annotated[
        Path | None, typer.Option(help="A folder of USER.safetensors; default: build and keep.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="A steering store that holds the users' dictionaries.")
    ] = None,
    tools: Annotated[
        Path | None, typer.Option(help="A .py or .yaml file of tools to have as well.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; an unfinished one is gone on with.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show every episode as it ends.")] = False,
) -> None:
    """Play personalized shopping episodes, steered and not, and score them."""
    from ..errors import TrimtabError
    from ..eval.shop.simulators import Simulator
    from .actions.run import run_command

    simulator = None
    if track is Track.multi:
        usual = "endpoint" if user_url else "model" if user_model else "scripted"
        simulator = Simulator(user_simulator or usual, user_model, user_url)
    elif user_simulator or user_model or user_url:
        raise TrimtabError("a simulated user takes part in the multi-turn track; add --track multi")
    run_command(
        model=model,
        world=world,
        episodes=episodes,
        spread=spread,
        users=user or [],
        seed=seed,
        simulator=simulator,
        steps=steps,
        memory=[mode.strip() for mode in memory.split(",") if mode.strip()],
        both=both,
        remembered=remembered,
        prompting=prompting.value,
        decode=decode.value,
        settings=settings,
        dictionaries=dictionaries,
        store=store,
        tools=tools,
        out=out,
        show=show,
    )
