"""``trimtab tune``: choose how to steer, on held-back training samples."""

from pathlib import Path
from typing import Annotated

import typer

from .loading import Device, DeviceMap, Dtype, ModelName, Placement


def tune(
    task: Annotated[str, typer.Argument(help="shop, or a text task such as headlines.")] = "shop",
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    data: Annotated[
        str, typer.Option(help="The task's data or world; default: the built-in one.")
    ] = "",
    user: Annotated[
        list[str] | None, typer.Option(help="Only samples of this user; may be repeated.")
    ] = None,
    users: Annotated[int, typer.Option(help="Of how many users, where none is named.")] = 24,
    history: Annotated[
        int | None, typer.Option(help="Only this many of a user's latest past samples; texts.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of users.")] = 0,
    share: Annotated[
        float, typer.Option(help="Of each user's training samples, the latest, to hold back.")
    ] = 0.25,
    minutes: Annotated[float, typer.Option(help="No setting is tried after this.")] = 10.0,
    sites: Annotated[
        str, typer.Option(help="Sets of sites to try.")
    ] = "attn+mlp,mid+mlp,mid,block",
    depths: Annotated[
        str, typer.Option(help="Relative depths to try, 0 to 1.")
    ] = "0.3,0.45,0.6,0.72,0.85",
    strengths: Annotated[str, typer.Option(help="Strengths to try.")] = "0.5,1,2,4",
    positions: Annotated[
        str, typer.Option(help="Positions to try: all, answer, prompt, or a number of tokens.")
    ] = "",
    settings: Annotated[
        Path | None, typer.Option(help="A TOML to start from, for all that is not tried yet.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The search's folder; an unfinished one is gone on with.")
    ] = Path("runs/tune"),
) -> None:
    """Choose how to steer: the settings that make users' own held-back answers likeliest.

    Nothing is generated and no test sample is read. The best settings go to steering.toml in the
    search's folder, for `trimtab run --settings` and `trimtab eval`.
    """
    from ..eval.tuning.grid import grid_of
    from .actions.tune import tune_command

    tune_command(
        task,
        model=model,
        placement=Placement(dtype, device, device_map),
        data=data,
        users=user or [],
        count=users,
        history=history,
        seed=seed,
        share=share,
        minutes=minutes,
        grid=grid_of(sites=sites, depths=depths, strengths=strengths, positions=positions),
        start=settings,
        out=out,
    )
