"""Weights laid out for the processor: float32 linear layers by oneDNN, from copies that it packed.

PyTorch multiplies float32 by a BLAS that lays the weights out anew in every call, which is most of
the time where few tokens are multiplied, as in decoding. oneDNN takes them as they were laid out
once; and for a single token it reads a layer's own weights, row after row, faster than any copy.
The layers keep their own weights, for whoever reads, trains or saves them.
"""

from __future__ import annotations

import platform
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .container import memory

_SMALLEST = 2**18  # numbers in a matrix that is worth it
_TOKENS = 16  # at once, which the layout is for; it is as good for more
_PROBES = 64
_MEMORY_SHARE = 0.5  # of the free memory, for all copies


def pack_linears(model: nn.Module) -> int:
    """Let a model's linear layers multiply by oneDNN outside training, several tokens by copies.

    A layer's copy is made when it is first used, and anew when its weights have changed. Where all
    copies would take more than half of the free memory, there are none: a single token is
    multiplied as fast without, several are multiplied as PyTorch does it.

    Args:
        model: Left as it is but for its large float32 linear layers on an x86 processor.

    Returns:
        How many layers.
    """
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return 0
    layers = [one for one in model.modules() if type(one) is nn.Linear and _is_worth_it(one)]
    weights = {id(layer.weight): layer.weight for layer in layers}
    size = sum(weight.numel() * weight.itemsize for weight in weights.values())
    copies = size <= _MEMORY_SHARE * memory().available
    for layer in layers:
        layer.forward = _PackedForward(layer, copies)  # type: ignore[assignment]
    return len(layers)


def is_packed(model: nn.Module) -> bool:
    """Whether any layer of a model multiplies several tokens by a packed copy of its weights."""
    ways = (vars(module).get("forward") for module in model.modules())
    return any(isinstance(way, _PackedForward) and way.copies for way in ways)


def _is_worth_it(layer: nn.Linear) -> bool:
    return (
        "forward" not in vars(layer)  # accelerate's, which brings the weights
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
        and layer.weight.numel() >= _SMALLEST
    )


class _Copy(NamedTuple):
    """A packed copy, and what its layer's weights were when it was made."""

    state: tuple[Any, ...]
    probe: Tensor
    packed: Tensor


class _PackedForward:
    """The forward pass of a linear layer, by oneDNN."""

    def __init__(self, layer: nn.Linear, copies: bool) -> None:
        self.copies = copies
        self._layer = layer
        self._copy: _Copy | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        """As ``nn.Linear``."""
        weight, bias = self._layer.weight, self._layer.bias
        single = hidden.numel() == hidden.shape[-1]
        if (
            not (single or self.copies)
            or not torch.is_inference_mode_enabled()
            or torch.compiler.is_compiling()
            or not weight.is_contiguous()
            or any(t.device.type != "cpu" or t.dtype != torch.float32 for t in (hidden, weight))
        ):
            return linear(hidden, weight, bias)
        laid_out = weight if single else self._packed(weight)
        made: Tensor = torch.ops.mkldnn._linear_pointwise(hidden, laid_out, bias, "none", [], "")
        return made

    def _packed(self, weight: Tensor) -> Tensor:
        """The copy, made anew where the weights are others now."""
        if self._copy is None or not _is_of(self._copy, weight):
            self._copy = _copied(weight)
        return self._copy.packed

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the model packs its own.
        return {"copies": self.copies, "_layer": self._layer, "_copy": None}


def _copied(weight: Tensor) -> _Copy:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _TOKENS)
    return _Copy(_state(weight), _probe(weight).clone(), packed)


def _is_of(copy: _Copy, weight: Tensor) -> bool:
    # What is written through `.data`, as adapters are merged, counts no version up.
    return copy.state == _state(weight) and torch.equal(_probe(weight), copy.probe)


def _state(weight: Tensor) -> tuple[Any, ...]:
    version = None if weight.is_inference() else weight._version
    return weight.data_ptr(), version, weight.shape


def _probe(weight: Tensor) -> Tensor:
    """Some of the numbers, from all over the matrix."""
    return weight.detach().view(-1)[:: weight.numel() // _PROBES + 1]
