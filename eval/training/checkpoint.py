"""What is trained so far, as one file that is written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...files import replacing


@dataclass(frozen=True)
class Checkpoint:
    """Where training stands.

    Attributes:
        tensors: By name; what a name begins with tells which part they are.
        epoch: How many epochs are over.
        step: How many steps of the next are made.
        seconds: That it took so far.
        losses: Of the held-back samples, by epoch and owner.
        done: Whether it is over.
    """

    tensors: Mapping[str, Tensor]
    epoch: int
    step: int
    seconds: float
    losses: list[list[float]]
    done: bool

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part, without its name."""
        return {
            key.removeprefix(f"{name}."): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(f"{name}.")
        }


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write it."""
    from safetensors.torch import save_file

    about = {
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "losses": checkpoint.losses,
        "done": checkpoint.done,
    }
    tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"training": json.dumps(about)})


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read it; None where there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return Checkpoint(tensors, **about)
