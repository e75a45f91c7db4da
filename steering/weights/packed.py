"""Weights laid out for the processor: float32 linear layers by oneDNN, from copies that it packed.

PyTorch multiplies float32 by a BLAS that lays the weights out anew in every call, which is most of
the time where few tokens are multiplied, as in decoding. oneDNN takes them as they were laid out
once. The layers keep their own weights, for whoever reads, trains or saves them.
"""

from __future__ import annotations

import platform
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

_SMALLEST = 2**18  # numbers in a matrix that is worth it
_TOKENS = 16  # at once, which the layout is for; it is as good for more
_PROBES = 64
_MEMORY_SHARE = 0.5  # of the free memory, for all copies


def pack_linears(model: nn.Module) -> int:
    """Let a model's linear layers multiply by packed copies of their weights, outside training.

    A layer's copy is made when it is first used, and anew when its weights have changed.

    Args:
        model: Left as it is but for its large float32 linear layers on an x86 processor, and
            altogether where the copies would take more than half of the free memory.

    Returns:
        How many layers.
    """
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return 0
    layers = [one for one in model.modules() if type(one) is nn.Linear and _is_worth_it(one)]
    weights = {id(layer.weight): layer.weight for layer in layers}
    size = sum(weight.numel() * weight.itemsize for weight in weights.values())
    if size > _MEMORY_SHARE * psutil.virtual_memory().available:
        return 0
    for layer in layers:
        layer.forward = _PackedForward(layer)  # type: ignore[assignment]
    return len(layers)


def is_packed(model: nn.Module) -> bool:
    """Whether any layer of a model multiplies by a packed copy of its weights."""
    return any(isinstance(vars(m).get("forward"), _PackedForward) for m in model.modules())


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
    """The forward pass of a linear layer, by a packed copy of its weights."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer = layer
        self._copy: _Copy | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        """As ``nn.Linear``."""
        weight, bias = self._layer.weight, self._layer.bias
        if (
            not torch.is_inference_mode_enabled()
            or torch.compiler.is_compiling()
            or not weight.is_contiguous()
            or any(t.device.type != "cpu" or t.dtype != torch.float32 for t in (hidden, weight))
        ):
            return linear(hidden, weight, bias)
        copy = self._copy
        if copy is None or not _is_of(copy, weight):
            copy = self._copy = _packed(weight)
        made: Tensor = torch.ops.mkldnn._linear_pointwise(hidden, copy.packed, bias, "none", [], "")
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {"_layer": self._layer, "_copy": None}  # a copy of the model packs its own


def _packed(weight: Tensor) -> _Copy:
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
