"""Weights as 8-bit integers on a processor: a decoded token reads a quarter of the bytes.

Each row of a matrix has a scale of its own, its largest number over 127. A few tokens at a time are
multiplied by the integers as they are (PyTorch's kernel takes and gives bfloat16); many at a time,
which memory does not bound, by the matrix made float32 again. The embedding and the vocabulary
matrix stay as they are: their rounding would show in every choice of a token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ...errors import TrimtabError

INT8 = "int8"
"""In the place of a data type's name."""

_FEW = 32  # tokens at once, up to which multiplying by the integers is the quicker way
_ROUTERS = ("gate", "router", "shared_expert_gate")  # small, and all else hangs on their choice


class Int8Linear(nn.Module):
    """A linear layer whose weights are 8-bit integers; it is never trained.

    Args:
        plain: The layer in float32, which stays as it is.
    """

    weights: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        matrix = plain.weight.detach().float()
        # Rounded to bfloat16 first, as the kernel takes them, so that both ways have the same.
        scales = (matrix.abs().amax(dim=1) / 127).clamp(min=1e-12).bfloat16()
        rounded = (matrix / scales.float()[:, None]).round().clamp(-127, 127)
        self.register_buffer("weights", rounded.to(torch.int8))
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if plain.bias is None else plain.bias.detach().float())

    @property
    def weight(self) -> Tensor:
        """The matrix in float32: ``(out_features, in_features)``."""
        return self.weights.float().mul_(self.scales.float()[:, None])

    def forward(self, hidden: Tensor) -> Tensor:
        """As ``nn.Linear``."""
        flat = hidden.reshape(-1, self.in_features)
        if len(flat) > _FEW or (hidden.requires_grad and torch.is_grad_enabled()):
            return linear(hidden, self.weight, self.bias)
        made: Tensor = torch._weight_int8pack_mm(flat.bfloat16(), self.weights, self.scales).float()
        if self.bias is not None:
            made = made + self.bias
        return made.reshape(*hidden.shape[:-1], self.out_features)


def quantise(decoder: nn.Module, name: str) -> None:
    """Put 8-bit integers in the place of the weights of a decoder's linear layers.

    Args:
        decoder: The module that runs the layers, in float32 on a processor.
        name: What messages call the model.

    Raises:
        TrimtabError: Another device or data type, or a decoder without linear layers.
    """
    first = next(decoder.parameters())
    if first.device.type != "cpu" or first.dtype != torch.float32:
        raise TrimtabError(
            f"expected {name} in float32 on a processor to make {INT8} of, got "
            f"{str(first.dtype).removeprefix('torch.')} on {first.device}; give device cpu, or a "
            "checkpoint that is quantised for the GPU"
        )
    found = [
        (holder, own, child)
        for holder in decoder.modules()
        for own, child in holder.named_children()
        if type(child) is nn.Linear and own not in _ROUTERS
    ]
    if not found:
        raise TrimtabError(f"{name} has no linear layers that {INT8} is known for; leave it out")
    for holder, own, child in found:
        setattr(holder, own, Int8Linear(child))


def is_quantised(decoder: nn.Module) -> bool:
    """Whether ``quantise`` has been here."""
    return any(isinstance(module, Int8Linear) for module in decoder.modules())
