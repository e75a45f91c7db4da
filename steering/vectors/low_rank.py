"""Low-rank interventions: a trained change of the residual stream after chosen layers.

``phi(x) = x + R^T (W x + b - R x)`` with orthonormal rows in ``R``: Wu et al., *ReFT* (arXiv
2404.03592, LoReFT); trained in two stages for users, ``phi_2(phi_1(x))``, it is PerFit. A plain
bias is the case without a rank. LoRA is here too, since it is served in the same way: a low-rank
term beside a linear module, a different one for every row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


class ModuleName(NamedTuple):
    """A linear module inside a decoder layer: ``(3, "self_attn.q_proj")``."""

    layer: int
    name: str


@dataclass(frozen=True, eq=False)
class Lora:
    """What LoRA adds to a linear module's output for the input ``x``: ``scale B A x``.

    Attributes:
        down: ``A``, ``(rank, inputs)``.
        up: ``B``, ``(outputs, rank)``.
        scale: alpha over the rank.
    """

    down: Tensor
    up: Tensor
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no such term.

        Raises:
            TrimtabError: Shapes that do not go together, or numbers that are not finite.
        """
        if self.down.ndim != 2 or self.up.ndim != 2 or self.down.shape[0] != self.up.shape[1]:
            raise TrimtabError(
                "expected A of shape (rank, inputs) and B of shape (outputs, rank), got "
                f"{tuple(self.down.shape)} and {tuple(self.up.shape)}"
            )
        _check_finite(self.down, self.up)

    def linear(self) -> Linear:
        """As it is computed, in float32."""
        down, up = self.down.float(), self.scale * self.up.float().T
        return Linear(down, up, down.new_zeros(len(down)), down.new_zeros(up.shape[1]))

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        return {"down": self.down, "up": self.up, "scale": torch.tensor(self.scale)}


@dataclass(frozen=True, eq=False)
class Stage:
    """Interventions of one stage: at the residual stream after some layers, at some positions.

    Attributes:
        layers: By layer, counted from 0.
        positions: Which tokens of the row are changed; as ``Steering.positions``, and
            ``PromptEdges``.
        modules: LoRA's terms beside linear modules, at the same positions.
    """

    layers: Mapping[int, Intervention] = field(default_factory=dict)
    positions: Where = "answer"
    modules: Mapping[ModuleName, Lora] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be applied.

        Raises:
            TrimtabError: Nothing at all, a negative layer, several hidden sizes, or positions
                that name no tokens.
        """
        check_positions(self.positions)
        sizes = {each.hidden_size for each in self.layers.values()}
        named = [*self.layers, *(name.layer for name in self.modules)]
        if not named or min(named) < 0 or len(sizes) > 1:
            raise TrimtabError(
                "expected interventions of one hidden size at layers of at least 0, got layers "
                f"{sorted(named)} and hidden sizes {sorted(sizes)}"
            )

    @property
    def last_layer(self) -> int:
        """The highest layer that is changed."""
        return max([*self.layers, *(name.layer for name in self.modules)])

    @property
    def parameters(self) -> int:
        """How many trained numbers there are."""
        every = [*self.layers.values(), *self.modules.values()]
        return sum(t.numel() for each in every for t in each.tensors().values() if t.ndim)


def packed(
    stages: Sequence[Stage], *, fingerprint: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Stages as tensors by name and texts by name, as files and stores keep them.

    Args:
        stages: In the order in which they are applied.
        fingerprint: Of the model that they were trained for.
    """
    tensors = {
        f"{number}/{layer}/{module}/{name}": tensor.detach().cpu().contiguous()
        for number, stage in enumerate(stages)
        for (layer, module), each in _places(stage).items()
        for name, tensor in each.tensors().items()
    }
    return tensors, {
        "form": _FORM,
        "fingerprint": fingerprint,
        "positions": json.dumps([_plain(stage.positions) for stage in stages]),
    }


def unpacked(
    tensors: Mapping[str, Tensor],
    about: Mapping[str, str],
    what: str,
    *,
    fingerprint: str | None = None,
) -> tuple[Stage, ...]:
    """The stages that ``packed`` made these of.

    Args:
        tensors: By name.
        about: The texts.
        what: What messages call it.
        fingerprint: Of the model that is to be changed; None checks nothing.

    Raises:
        TrimtabError: It is something else, or of another model.
    """
    if about.get("form") != _FORM:
        raise TrimtabError(f"{what} holds no interventions: expected what trimtab wrote for them")
    if fingerprint is not None and about["fingerprint"] != fingerprint:
        raise TrimtabError(
            f"the interventions in {what} were trained for another model (fingerprint "
            f"{about['fingerprint']}) than the one loaded ({fingerprint}); load that model or "
            "train them again"
        )
    positions = [_positions(plain) for plain in json.loads(about["positions"])]
    parts: list[dict[ModuleName, dict[str, Tensor]]] = [{} for _ in positions]
    for key, tensor in tensors.items():
        number, layer, module, name = key.split("/")
        parts[int(number)].setdefault(ModuleName(int(layer), module), {})[name] = tensor
    return tuple(_stage(own, where) for own, where in zip(parts, positions, strict=True))


def save_stages(path: Path | str, stages: Sequence[Stage], *, fingerprint: str) -> None:
    """Write stages as safetensors, whole or not at all.

    Args:
        path: The file.
        stages: In the order in which they are applied.
        fingerprint: Of the model that they were trained for.
    """
    from safetensors.torch import save_file

    tensors, about = packed(stages, fingerprint=fingerprint)
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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrimtabError(f"cannot read interventions from {path}: {error}") from error
    return unpacked(tensors, about, str(path), fingerprint=fingerprint)


def _places(stage: Stage) -> dict[ModuleName, Intervention | Lora]:
    """What a stage changes; the residual stream after a layer is the module without a name."""
    return {ModuleName(n, ""): each for n, each in stage.layers.items()} | dict(stage.modules)


def _stage(parts: Mapping[ModuleName, dict[str, Tensor]], positions: Where) -> Stage:
    layers: dict[int, Intervention] = {}
    modules: dict[ModuleName, Lora] = {}
    for place, own in sorted(parts.items()):
        if place.name:
            modules[place] = Lora(own["down"], own["up"], own["scale"].item())
        else:
            layers[place.layer] = Shift(own["shift"]) if "shift" in own else LowRank(**own)
    return Stage(layers, positions, modules)


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
