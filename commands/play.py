"""``trimtab play``: be the user of an episode."""

from pathlib import Path
from typing import Annotated

import typer

from .loading import Device, DeviceMap, Dtype, ModelName, Placement
from .run import Decoding, Prompting


def play(
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    world: Annotated[
        str, typer.Option(help="The built-in bazaar, or a folder in PersonalWAB's format.")
    ] = "bazaar",
    user: Annotated[str | None, typer.Option(help="Be this user; default: one by seed.")] = None,
    task: Annotated[str | None, typer.Option(help="The id of a test task.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of the task.")] = 0,
    unsteered: Annotated[
        bool, typer.Option("--unsteered", help="Leave the user's dictionary out.")
    ] = False,
    memory: Annotated[
        str, typer.Option(help="Past requests in the prompt: none, random, last, relevant, full.")
    ] = "none",
    remembered: Annotated[int, typer.Option(help="How many past requests those are.")] = 3,
    prompting: Annotated[
        Prompting, typer.Option(help="Plain function calls, or ReAct's thoughts and actions.")
    ] = Prompting.call,
    decode: Annotated[Decoding, typer.Option(help="Calls held to the schemas, or free.")] = (
        Decoding.constrained
    ),
    steps: Annotated[int | None, typer.Option(help="Step limit; default 10.")] = None,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file with a `steering` table.")
    ] = None,
    dictionaries: Annotated[
        Path | None, typer.Option(help="A folder of USER.safetensors; default: build and keep.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="A steering store that holds the user's dictionary.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the episode is kept; default: the cache folder.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew where an episode was broken off.")
    ] = False,
) -> None:
    """Be the user of an episode: say what you want, see the agent's steps, answer it."""
    from .actions.play import play_command

    play_command(
        model=model,
        placement=Placement(dtype, device, device_map),
        world=world,
        user=user,
        task=task,
        seed=seed,
        steered=not unsteered,
        memory=memory,
        remembered=remembered,
        prompting=prompting.value,
        decode=decode.value,
        steps=steps,
        settings=settings,
        dictionaries=dictionaries,
        store=store,
        out=out,
        fresh=fresh,
    )
