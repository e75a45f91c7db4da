"""The options by which a command says how its model is loaded, and the loading itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..steering.model import SteeredModel

ModelName = Annotated[
    str, typer.Option(help="A name from `trimtab models list`, a hub id, or a folder.")
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16, float16, auto, or int8 on a processor; default: what the machine "
        "multiplies in."
    ),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, ...; default: a GPU where there is one.")
]
DeviceMap = Annotated[
    str | None,
    typer.Option(help="In place of a device: auto, balanced, or a JSON map of accelerate's kind."),
]


@dataclass(frozen=True)
class Placement:
    """In which data type and on which devices a model is loaded; None is the default.

    Attributes:
        dtype: See ``SteeredModel.from_pretrained``.
        device: The same.
        device_map: The same.
        disk_prefixes: The same.
    """

    dtype: str | None = None
    device: str | None = None
    device_map: str | None = None
    disk_prefixes: bool | None = None


BY_HARDWARE = Placement()


def load_model(name: str, placement: Placement = BY_HARDWARE) -> SteeredModel:
    """Load a model as a command's options say.

    Raises:
        TrimtabError: See ``SteeredModel.from_pretrained``.
    """
    from ..steering.model import SteeredModel
    from ..steering.weights.known import KNOWN, pull
    from .console.download import download_bar

    if name.lower() in KNOWN:
        pull(name.lower(), download_bar)
    return SteeredModel.from_pretrained(
        name,
        dtype=placement.dtype,
        device=placement.device,
        device_map=placement.device_map,
        disk_prefixes=placement.disk_prefixes,
    )
