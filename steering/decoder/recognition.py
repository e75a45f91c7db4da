"""Recognising a family that is not declared, by what its layers add to the residual stream.

In a pre- or post-norm decoder, a layer's output is its input plus what attention adds plus what the
MLP adds. Every layer is recorded on a few tokens, and its sums are repeated in the order and in the
data type that the layer may have used: in bfloat16 the residual stream can be a hundred times as
large as what a layer adds, and rounds most of it away.

What stands where attention does, the token mixer, may differ from layer to layer: attention,
linear attention, a convolution, a state-space model.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

_CLOSE = 0.02
"""Of what a layer adds, this share may differ from the sum of two modules' outputs."""


@dataclass
class Recorded:
    """One layer's input and output, and what the modules in it returned, in order of execution."""

    calls: Counter[str] = field(default_factory=Counter)
    before: Tensor | None = None
    after: Tensor | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerModules:
    """The modules of one layer that add to the residual stream.

    Attributes:
        attention: Path of the token mixer, in the layer.
        mlp: Path of the MLP.
        scale: What their outputs are multiplied by before they are added.
    """

    attention: str
    mlp: str
    scale: float


def added_by(recorded: Recorded, scales: Sequence[float]) -> LayerModules | None:
    """The two modules of a layer whose outputs are what it adds; None if there are none.

    Modules that lie less deep are preferred, and of those the ones that ran last.
    """
    before, after = recorded.before, recorded.after
    if before is None or after is None or recorded.calls["output"] != 1:
        return None
    added = (after.float() - before.float()).norm()
    fitting = [
        (name, output)
        for name, found in reversed(recorded.outputs.items())
        if recorded.calls[name] == 1 and (output := _in_shape(found, after)) is not None
    ]
    pairs = sorted(
        itertools.combinations(fitting, 2),
        key=lambda pair: sum(name.count(".") for name, _ in pair),
    )
    for scale in scales:
        for (mlp, b), (attention, a) in pairs:
            if mlp.startswith(f"{attention}.") or attention.startswith(f"{mlp}."):
                continue
            if added > 0 and _distance(before, a * scale, b * scale, after) <= _CLOSE * added:
                return LayerModules(attention, mlp, scale)
    return None


def why_unknown(recorded: Recorded) -> str:
    """What is known of a layer in which no two modules add up to what it adds."""
    before, after = recorded.before, recorded.after
    if before is None or after is None or recorded.calls["output"] != 1:
        return "its layers do not run once a pass, from hidden states to hidden states"
    if after.isnan().any():
        return "it computes NaN on plain tokens, so that its weights may be damaged"
    if after.ndim != 3 or before.shape != after.shape:
        return (
            f"its layers hand on a tensor of {after.ndim} dimensions, several residual streams at "
            "once, where one of rows, tokens and hidden size is expected"
        )
    fitting = [
        output for found in recorded.outputs.values()
        if (output := _in_shape(found, after)) is not None
    ]  # fmt: skip
    added = after.float() - before.float()
    close = _CLOSE * added.norm()
    if any((output.float() - added).norm() <= close for output in fitting):
        return (
            "a layer adds what one module returns (as in a state-space model), where attention "
            "and an MLP are expected in each"
        )
    if any((output.float() - after.float()).norm() <= close for output in fitting):
        return (
            "its layers norm the residual stream itself, so that no two sub-modules add up to "
            "what a layer adds"
        )
    return "no two sub-modules of its layers add up to what a layer adds"


def _in_shape(output: Tensor, after: Tensor) -> Tensor | None:
    """A module's output in the shape of the layer's; None if it has another size.

    In some families all rows' tokens lie in one dimension.
    """
    if output.shape == after.shape:
        return output
    if output.ndim == 2 and output.shape[-1] == after.shape[-1] and output.numel() == after.numel():
        return output.reshape(after.shape)
    return None


def _distance(x: Tensor, a: Tensor, b: Tensor, after: Tensor) -> float:
    """How far the layer's output is from the sum, in whichever order it was added up."""
    sums = ((x + a) + b, x + (a + b), (x + b) + a)
    return min(float((total.float() - after.float()).norm()) for total in sums)


def residual_scales(config: Any) -> tuple[float, ...]:
    """By what families multiply the outputs of their sub-layers, as their configurations say."""
    multiplier = getattr(config, "residual_multiplier", None)
    depth_scale = getattr(config, "scale_depth", None)
    scales = [1.0]
    if isinstance(multiplier, int | float):
        scales.insert(0, float(multiplier))
    if isinstance(depth_scale, int | float):
        scales.insert(0, depth_scale / math.sqrt(config.num_hidden_layers))
    return tuple(dict.fromkeys(scale for scale in scales if scale))


@contextmanager
def recording(blocks: Sequence[nn.Module]) -> Iterator[list[Recorded]]:
    """Record each layer and the modules in it, two levels deep."""
    found = [Recorded() for _ in blocks]
    handles: list[Any] = []
    try:
        for block, recorded in zip(blocks, found, strict=True):
            handles += _hooks(block, recorded)
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _hooks(block: nn.Module, recorded: Recorded) -> Iterator[Any]:
    def keep_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = args[0] if args else kwargs.get("hidden_states")
        recorded.before = given.clone() if isinstance(given, Tensor) else None

    def keep_output(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        recorded.calls["output"] += 1
        recorded.after = _first(output)

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            recorded.calls[name] += 1
            tensor = _first(output)
            if tensor is not None:
                recorded.outputs.pop(name, None)
                recorded.outputs[name] = tensor

        return hook

    yield block.register_forward_pre_hook(keep_input, with_kwargs=True)
    yield block.register_forward_hook(keep_output)
    for name, child in block.named_modules():
        if name and name.count(".") < 2:
            yield child.register_forward_hook(keep(name))


def _first(output: Any) -> Tensor | None:
    first = output[0] if isinstance(output, tuple | list) and output else output
    # A copy: a layer may add to its modules' outputs in place.
    return first.clone() if isinstance(first, Tensor) else None


def few_tokens(model: nn.Module, count: int = 6) -> Tensor:
    """Token ids ``(1, count)`` that any vocabulary has."""
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    size = getattr(embeddings, "num_embeddings", 8)
    return (torch.arange(3, 3 + count) % size)[None]
