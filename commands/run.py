"""``trimtab run``: play personalized shopping episodes and score them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .flags import (
    Asking,
    CallDecoding,
    Controls,
    Decoding,
    Dictionaries,
    Json,
    Prompting,
    Quiet,
    RunOut,
    Settings,
    UsersStore,
    WorldSource,
)
from .loading import Device, DeviceMap, Dtype, ModelName, Placement

if TYPE_CHECKING:
    from ..eval.shop.simulators import Simulator


class Track(StrEnum):
    """PersonalWAB's tracks."""

    single = "single"
    multi = "multi"


def run(
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    world: WorldSource = "bazaar",
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated, with options: zero-shot,rag(by=recency),pag,fints(context=3)."
        ),
    ] = "zero-shot,rag,fints",
    controls: Controls = True,
    episodes: Annotated[int, typer.Option(help="How many test tasks, under every method.")] = 72,
    spread: Annotated[int, typer.Option(help="Over how many users they are spread.")] = 24,
    user: Annotated[
        list[str] | None, typer.Option(help="Only tasks of this user; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of tasks, draws, and who lends to whom.")] = 0,
    temperature: Annotated[float, typer.Option(help="Of sampled steps.")] = 0.0,
    repeats: Annotated[int, typer.Option(help="How often each task is played, sampled.")] = 1,
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
    prompting: Asking = Prompting.call,
    decode: Decoding = CallDecoding.constrained,
    settings: Settings = None,
    dictionaries: Dictionaries = None,
    store: UsersStore = None,
    tools: Annotated[
        Path | None, typer.Option(help="A .py or .yaml file of tools to have as well.")
    ] = None,
    batch: Annotated[
        int, typer.Option(help="Episodes that are under way at once; 48 are decoded at once.")
    ] = 192,
    out: RunOut = None,
    show: Annotated[bool, typer.Option("--show", help="Show every episode as it ends.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time of the steps went.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Play personalized shopping episodes, steered and not, and score them."""
    from ..eval.shop.plan import ShopPlan, shop_methods
    from .console.running import run_plan

    plan = ShopPlan(
        methods=shop_methods(methods, settings, controls=controls),
        model=model,
        world=world,
        episodes=episodes,
        spread=spread,
        users=tuple(user or ()),
        seed=seed,
        simulator=simulator_of(track is Track.multi, user_simulator, user_model, user_url),
        steps=steps,
        prompting=prompting.value,
        decode=decode.value,
        dictionaries=str(dictionaries or ""),
        store=store or "",
        tools=str(tools or ""),
        temperature=temperature,
        repeats=repeats,
    )
    run_plan(
        plan,
        placement=Placement(dtype, device, device_map),
        out=out,
        batch_size=batch,
        show=show,
        profile=profile,
        quiet=quiet,
        as_json=as_json,
    )


def simulator_of(conversation: bool, kind: str | None, model: str, url: str) -> "Simulator | None":
    """The user of the multi-turn track; None of the other.

    Raises:
        TrimtabError: A user for a track that has none, or as ``Simulator``.
    """
    from ..errors import TrimtabError
    from ..eval.shop.simulators import Simulator

    if conversation:
        usual = "endpoint" if url else "model" if model else "scripted"
        return Simulator(kind or usual, model, url)
    if kind or model or url:
        raise TrimtabError("a simulated user takes part in the multi-turn track; add --track multi")
    return None
