"""What can be trained: interventions and LoRA terms, one for all users or one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ...steering.vectors.low_rank import Intervention, Lora, LowRank, ModuleName, Shift, Stage
from ...steering.vectors.positions import Where

Place = int | ModuleName
"""A layer, after which the residual stream is changed, or a linear module inside one."""


class Trainable(Protocol):
    """Numbers that are trained, and what they add inside the forward pass."""

    numbers: dict[str, Tensor]
    """Leaf tensors, float32; ``(owners, ...)`` where each owner has their own."""
    apart: bool
    """Whether each owner has numbers of their own."""
    positions: Where

    @property
    def places(self) -> tuple[Place, ...]:
        """Where something is added."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Plain data that tells it from others; part of the key of what is kept."""

    def delta(self, place: Place, x: Tensor, owners: Tensor) -> Tensor:
        """What is added at a place.

        Args:
            place: One of ``places``.
            x: Float32, the residual stream ``(batch, tokens, hidden_size)``, or a module's inputs.
            owners: ``(batch,)``.
        """


@dataclass(eq=False)
class LowRankStack:
    """``phi(x) = x + R^T (W x + b - R x)`` at some layers, which changes nothing at first.

    ``R`` is the orthonormal form of a matrix without bounds, and ``W - R`` starts, and decays,
    towards 0.

    Attributes:
        layers: Where.
        rank: How many directions.
        positions: Which tokens.
        owners: How many have one each.
    """

    layers: tuple[int, ...]
    hidden_size: int
    rank: int
    positions: Where
    owners: int = 1
    seed: int = 0
    device: torch.device | str = "cpu"
    apart: bool = True

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        self.numbers: dict[str, Tensor] = {}
        for layer in self.layers:
            # Everybody starts alike: nobody's depends on who is trained beside them.
            free = torch.randn(1, self.rank, self.hidden_size, generator=generator)
            free = torch.linalg.qr(free.transpose(1, 2)).Q.transpose(1, 2)
            shape = (self.owners, self.rank, self.hidden_size)
            self.numbers[f"{layer}.free"] = free.expand(shape).clone()
            self.numbers[f"{layer}.change"] = torch.zeros(shape)
            self.numbers[f"{layer}.bias"] = torch.zeros(self.owners, self.rank)
        self.numbers = _leaves(self.numbers, self.device)

    @property
    def places(self) -> tuple[Place, ...]:
        """The layers."""
        return self.layers

    @property
    def description(self) -> Mapping[str, Any]:
        """Rank, layers, positions, owners, seed."""
        return {
            "kind": "low-rank",
            "layers": list(self.layers),
            "rank": self.rank,
            "positions": str(self.positions),
            "owners": self.owners,
            "seed": self.seed,
        }

    def delta(self, place: Place, x: Tensor, owners: Tensor) -> Tensor:
        """See ``Trainable``."""
        rotation = orthonormal(self.numbers[f"{place}.free"])
        change, bias = self.numbers[f"{place}.change"], self.numbers[f"{place}.bias"]
        if self.owners == 1:
            return (x @ change[0].T + bias[0]) @ rotation[0]
        inner = x @ change[owners].transpose(1, 2) + bias[owners][:, None]
        return inner @ rotation[owners]

    def stage(self, owner: int) -> Stage:
        """An owner's, trained."""
        layers: dict[int, Intervention] = {}
        for layer in self.layers:
            with torch.no_grad():
                rotation = orthonormal(self.numbers[f"{layer}.free"][owner])
                weight = rotation + self.numbers[f"{layer}.change"][owner]
            bias = self.numbers[f"{layer}.bias"][owner].detach()
            layers[layer] = LowRank(rotation.cpu(), weight.cpu(), bias.cpu())
        return Stage(layers, self.positions)


def orthonormal(free: Tensor) -> Tensor:
    """The rows of ``(..., rank, hidden_size)`` made orthonormal, so that gradients pass.

    By the Cholesky factor of their products, in float32: as Gram and Schmidt would, row by row.
    """
    with torch.autocast(free.device.type, enabled=False):
        factor, fault = torch.linalg.cholesky_ex(free @ free.transpose(-1, -2))
        rows = torch.linalg.solve_triangular(factor, free, upper=False)
        # Rows that are not independent, or not finite, end in a loss that is not finite.
        return torch.where((fault == 0)[..., None, None], rows, torch.nan)


@dataclass(eq=False)
class ShiftStack:
    """``phi(x) = x + b`` at some layers, 0 at first.

    Attributes: as ``LowRankStack``.
    """

    layers: tuple[int, ...]
    hidden_size: int
    positions: Where
    owners: int = 1
    device: torch.device | str = "cpu"
    apart: bool = True

    def __post_init__(self) -> None:
        zeros = {str(layer): torch.zeros(self.owners, self.hidden_size) for layer in self.layers}
        self.numbers = _leaves(zeros, self.device)

    @property
    def places(self) -> tuple[Place, ...]:
        """The layers."""
        return self.layers

    @property
    def description(self) -> Mapping[str, Any]:
        """Layers, positions, owners."""
        return {
            "kind": "shift",
            "layers": list(self.layers),
            "positions": str(self.positions),
            "owners": self.owners,
        }

    def delta(self, place: Place, x: Tensor, owners: Tensor) -> Tensor:
        """See ``Trainable``."""
        return self.numbers[str(place)][owners][:, None].expand_as(x)

    def stage(self, owner: int) -> Stage:
        """An owner's, trained."""
        numbers = {layer: self.numbers[str(layer)][owner].detach() for layer in self.layers}
        return Stage({layer: Shift(n.cpu()) for layer, n in numbers.items()}, self.positions)


@dataclass(eq=False)
class LoraStack:
    """LoRA's terms beside linear modules, started as PEFT starts them: ``A`` drawn, ``B`` 0.

    Attributes:
        shapes: Inputs and outputs of each module.
        rank: Of each term.
        alpha: The scale is alpha over the rank.
        owners: How many have one each.
    """

    shapes: Mapping[ModuleName, tuple[int, int]]
    rank: int = 8
    alpha: float = 8.0
    owners: int = 1
    seed: int = 0
    device: torch.device | str = "cpu"
    apart: bool = True
    positions: Where = "all"

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        numbers: dict[str, Tensor] = {}
        for name, (inputs, outputs) in self.shapes.items():
            bound = inputs**-0.5  # kaiming_uniform with a = sqrt(5), as PEFT has it
            drawn = (torch.rand(1, self.rank, inputs, generator=generator) * 2 - 1) * bound
            numbers[f"{name}.down"] = drawn.expand(self.owners, -1, -1).clone()
            numbers[f"{name}.up"] = torch.zeros(self.owners, outputs, self.rank)
        self.numbers = _leaves(numbers, self.device)

    @property
    def places(self) -> tuple[Place, ...]:
        """The modules."""
        return tuple(self.shapes)

    @property
    def description(self) -> Mapping[str, Any]:
        """Modules, rank, alpha, owners, seed."""
        return {
            "kind": "lora",
            "modules": [[*name, *shape] for name, shape in self.shapes.items()],
            "rank": self.rank,
            "alpha": self.alpha,
            "owners": self.owners,
            "seed": self.seed,
        }

    def delta(self, place: Place, x: Tensor, owners: Tensor) -> Tensor:
        """See ``Trainable``."""
        down, up = self.numbers[f"{place}.down"], self.numbers[f"{place}.up"]
        scale = self.alpha / self.rank
        if self.owners == 1:
            return scale * (x @ down[0].T) @ up[0].T
        return scale * (x @ down[owners].transpose(1, 2)) @ up[owners].transpose(1, 2)

    def stage(self, owner: int) -> Stage:
        """An owner's, trained."""
        terms = {
            name: Lora(
                self.numbers[f"{name}.down"][owner].detach().cpu(),
                self.numbers[f"{name}.up"][owner].detach().cpu(),
                self.alpha / self.rank,
            )
            for name in self.shapes
        }
        return Stage(positions=self.positions, modules=terms)


def lora_shapes(model: Any, names: Sequence[str] = ()) -> dict[ModuleName, tuple[int, int]]:
    """The linear modules that LoRA goes beside: PEFT's own choice for the family, or those named.

    Args:
        model: A ``SteeredModel``.
        names: Last parts of the modules' names, such as ``q_proj``.
    """
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as CHOSEN

    wanted = list(names) or CHOSEN.get(model.hf.config.get_text_config().model_type) or []
    shapes: dict[ModuleName, tuple[int, int]] = {}
    for number, layer in enumerate(model.parts.layers):
        for name, module in layer.block.named_modules():
            if not isinstance(module, torch.nn.Linear):
                continue
            if not wanted or name.rpartition(".")[2] in wanted:
                shapes[ModuleName(number, name)] = (module.in_features, module.out_features)
    return shapes


def _leaves(numbers: Mapping[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    return {name: n.to(device).requires_grad_() for name, n in numbers.items()}
