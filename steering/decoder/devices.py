"""Where a module's weights are when it runs: accelerate may keep them elsewhere between passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def execution_device(module: nn.Module) -> torch.device:
    """The device on which the first of a module's weights is multiplied."""
    for inner in module.modules():
        for one in _each(getattr(inner, "_hf_hook", None)):
            found = getattr(one, "execution_device", None)
            if found is not None and next(inner.parameters(), None) is not None:
                return torch.device(found)
    return next(module.parameters()).device


def weights_of(module: nn.Module) -> Iterator[Tensor]:
    """All weights of a module in the order of ``parameters``, those that are offloaded too."""
    seen: set[int] = set()
    for inner in module.modules():
        hooks = _each(getattr(inner, "_hf_hook", None))
        maps = (getattr(one, "weights_map", None) for one in hooks)
        offloaded = next((found for found in maps if found is not None), None)
        for name, parameter in inner._parameters.items():
            if parameter is None or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if parameter.device.type == "meta" and offloaded is not None:
                yield offloaded[name]
            else:
                yield parameter.detach()


def missing_weights(module: nn.Module) -> list[str]:
    """The names of weights that are nowhere: on the meta device, and not kept by accelerate."""
    missing = []
    for path, inner in module.named_modules():
        hook = getattr(inner, "_hf_hook", None)
        if any(getattr(one, "weights_map", None) is not None for one in _each(hook)):
            continue
        for name, parameter in inner._parameters.items():
            if parameter is not None and parameter.device.type == "meta":
                missing.append(f"{path}.{name}")
    return missing


def _each(hook: Any) -> tuple[Any, ...]:
    """A hook of accelerate, or those that it holds."""
    return tuple(getattr(hook, "hooks", (hook,)))


def out_of_memory(error: BaseException) -> bool:
    """Whether there was no room: with less at once, the same may do."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
