"""Low-rank interventions: a trained change of the residual stream after chosen layers.

``phi(x) = x + R^T (W x + b - R x)`` with orthonormal rows in ``R``: Wu et al., *ReFT* (arXiv
2404.03592, LoReFT); trained in two stages for users, ``phi_2(phi_1(x))``, it is PerFit. A plain
bias is the case without a rank.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import TrimtabError
from ...files import replacing
from .positions import PromptEdges, Where, check_positions

_ORTHONORMAL = 1e-3  # how far R R^T may be from the identity, at any of its numbers
_FORM = "trimtab-interventions-1"


class Linear(NamedTuple):
    """An intervention as it is computed: ``x + up^T (down x + inner) + outer``.

    Attributes:
        down: ``(rank, hidden_size)``.
        up: ``(rank, hidden_size)``.
        inner: ``(rank,)``.
        outer: ``(hidden_size,)``.
    """

    down: Tensor
    up: Tensor
    inner: Tensor
    outer: Tensor


@dataclass(frozen=True, eq=False)
class LowRank:
    """``phi(x) = x + R^T (W x + b - R x)``.

    Attributes:
        rotation: ``R``, ``(rank, hidden_size)`` with orthonormal rows.
        weight: ``W``, ``(rank, hidden_size)``.
        bias: ``b``, ``(rank,)``.
    """

    rotation: Tensor
    weight: Tensor
    bias: Tensor

    def __post_init__(self) -> None:
        """Refuse what is no such intervention.

        Raises:
            TrimtabError: Shapes that do not go together, numbers that are not finite, or rows of
                ``R`` that are not orthonormal.
        """
        shape = tuple(self.rotation.shape)
        fine = len(shape) == 2 and 1 <= shape[0] <= shape[1]
        if not fine or self.weight.shape != shape or self.bias.shape != shape[:1]:
            raise TrimtabError(
                "expected R and W of shape (rank, hidden_size) and b of shape (rank,), with a rank "
                f"from 1 to hidden_size; got {shape}, {tuple(self.weight.shape)} and "
                f"{tuple(self.bias.shape)}"
            )
        _check_finite(self.rotation, self.weight, self.bias)
        rows = self.rotation.float()
        off = (rows @ rows.T - torch.eye(len(rows), device=rows.device)).abs().max().item()
        if off > _ORTHONORMAL:
            raise TrimtabError(
                f"expected R with orthonormal rows; R R^T is {off:.2g} off the identity"
            )

    @property
    def rank(self) -> int:
        """How many directions of the residual stream are changed."""
        return self.rotation.shape[0]

    @property
    def hidden_size(self) -> int:
        """The width of the residual stream."""
        return self.rotation.shape[1]

    def linear(self) -> Linear:
        """As it is computed, in float32."""
        rotation, weight, bias = self.rotation.float(), self.weight.float(), self.bias.float()
        return Linear(weight - rotation, rotation, bias, bias.new_zeros(self.hidden_size))

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        return {"rotation": self.rotation, "weight": self.weight, "bias": self.bias}


@dataclass(frozen=True, eq=False)
class Shift:
    """``phi(x) = x + b``: the case without a rank.

    Attributes:
        bias: ``b``, ``(hidden_size,)``.
    """

    bias: Tensor

    def __post_init__(self) -> None:
        """Refuse what is no such intervention.

        Raises:
            TrimtabError: Another shape, or numbers that are not finite.
        """
        if self.bias.ndim != 1:
            raise TrimtabError(
                f"expected a shift of shape (hidden_size,), got {tuple(self.bias.shape)}"
            )
        _check_finite(self.bias)

    @property
    def rank(self) -> int:
        """0."""
        return 0

    @property
    def hidden_size(self) -> int:
        """The width of the residual stream."""
        return self.bias.shape[0]

    def linear(self) -> Linear:
        """As it is computed, in float32."""
        none = torch.zeros(0, self.hidden_size, device=self.bias.device)
        return Linear(none, none, none.new_zeros(0), self.bias.float())

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        return {"shift": self.bias}


Intervention = LowRank | Shift


@dataclass(frozen=True, eq=False)
class Stage:
    """Interventions of one stage: at the residual stream after some layers, at some positions.

    Attributes:
        layers: By layer, counted from 0.
        positions: Which tokens of the row are changed; as ``Steering.positions``, and
            ``PromptEdges``.
    """

    layers: Mapping[int, Intervention]
    positions: Where = "answer"

    def __post_init__(self) -> None:
        """Refuse what cannot be applied.

        Raises:
            TrimtabError: No layer, a negative one, several hidden sizes, or positions that name
                no tokens.
        """
        check_positions(self.positions)
        sizes = {each.hidden_size for each in self.layers.values()}
        if not self.layers or min(self.layers) < 0 or len(sizes) > 1:
            raise TrimtabError(
                "expected interventions of one hidden size at layers of at least 0, got layers "
                f"{sorted(self.layers)} and hidden sizes {sorted(sizes)}"
            )

    @property
    def hidden_size(self) -> int:
        """The width of the residual stream."""
        return next(iter(self.layers.values())).hidden_size

    @property
    def parameters(self) -> int:
        """How many trained numbers there are."""
        return sum(t.numel() for each in self.layers.values() for t in each.tensors().values())


def save_stages(path: Path | str, stages: Sequence[Stage], *, fingerprint: str) -> None:
    """Write stages as safetensors, whole or not at all.

    Args:
        path: The file.
        stages: In the order in which they are applied.
        fingerprint: Of the model that they were trained for.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{number}.{layer}.{name}": tensor.detach().cpu().contiguous()
        for number, stage in enumerate(stages)
        for layer, each in stage.layers.items()
        for name, tensor in each.tensors().items()
    }
    about = {
        "form": _FORM,
        "fingerprint": fingerprint,
        "positions": json.dumps([_plain(stage.positions) for stage in stages]),
    }
    with replacing(Path(path)) as temporary:
        save_file(tensors, temporary, metadata=about)


def load_stages(path: Path | str, *, fingerprint: str | None = None) -> tuple[Stage, ...]:
    """Read what ``save_stages`` wrote.

    Args:
        path: The file.
        fingerprint: Of the model that is to be changed; None checks nothing.

    Raises:
        TrimtabError: No such file, not such a file, or one of another model.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("form") != _FORM:
                raise TrimtabError(
                    f"{path} holds no interventions: expected a file that trimtab wrote for them"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrimtabError(f"cannot read interventions from {path}: {error}") from error
    if fingerprint is not None and about["fingerprint"] != fingerprint:
        raise TrimtabError(
            f"the interventions in {path} were trained for another model (fingerprint "
            f"{about['fingerprint']}) than the one loaded ({fingerprint}); load that model or "
            "train them again"
        )
    found: list[dict[int, dict[str, Tensor]]] = [{} for _ in json.loads(about["positions"])]
    for name, tensor in tensors.items():
        number, layer, which = name.split(".")
        found[int(number)].setdefault(int(layer), {})[which] = tensor
    return tuple(
        Stage(
            {
                layer: Shift(parts["shift"]) if "shift" in parts else LowRank(**parts)
                for layer, parts in sorted(layers.items())
            },
            _positions(plain),
        )
        for layers, plain in zip(found, json.loads(about["positions"]), strict=True)
    )


def _plain(positions: Where) -> object:
    if isinstance(positions, PromptEdges):
        return {"first": positions.first, "last": positions.last}
    return list(positions) if isinstance(positions, tuple) else positions


def _positions(plain: object) -> Where:
    if isinstance(plain, dict):
        return PromptEdges(**plain)
    return tuple(plain) if isinstance(plain, list) else plain  # type: ignore[return-value]


def _check_finite(*tensors: Tensor) -> None:
    if not all(math.isfinite(t.float().sum().item()) for t in tensors):
        raise TrimtabError(
            "an intervention holds NaN or infinity; train it again, with a lower learning rate"
        )
