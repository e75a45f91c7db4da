"""Passes through some of a decoder's layers: one that ends early, and one that begins late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from .families import Parts
from .hooks import forward_of_this_thread, of_this_thread


class _Stop(Exception):
    """Ends a forward pass after the last wanted layer; never leaves this module."""


@contextmanager
def stopping_after(parts: Parts, layer: int | None, *, attention: bool = False) -> Iterator[None]:
    """End a pass of this thread after a layer, or after its attention; None ends none."""
    reached = False

    def reach(*args: Any) -> None:
        nonlocal reached
        reached = True

    def stop(*args: Any) -> None:
        # Layers may share a module: what an earlier one runs ends nothing.
        if reached:
            raise _Stop

    if layer is None:
        yield
        return
    last = parts.layers[layer]
    end = last.attention.module if attention else last.block
    handles = [
        last.block.register_forward_pre_hook(of_this_thread(reach)),
        end.register_forward_hook(of_this_thread(stop)),
    ]
    try:
        yield
    except _Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def beginning_after(parts: Parts, layer: int, hidden: Tensor) -> Iterator[None]:
    """Let this thread's passes take kept hidden states for what the lower layers give.

    The lower layers' own ``forward`` is put aside: all else that the decoder works out before its
    layers (embeddings, masks, rotations) is as in any pass.
    """
    blocks = [each.block for each in parts.layers[: layer + 1]]
    originals = [block.forward for block in blocks]
    given = [block.__dict__.get("forward") for block in blocks]

    def passing(original: Any, last: bool) -> Any:
        def forward(*args: Any, **kwargs: Any) -> Any:
            states = args[0] if args else kwargs["hidden_states"]
            return hidden if last else states

        return forward_of_this_thread(forward, original)

    try:
        for number, (block, original) in enumerate(zip(blocks, originals, strict=True)):
            block.forward = passing(original, number == layer)
        yield
    finally:
        for block, before in zip(blocks, given, strict=True):
            if before is None:
                del block.forward
            else:
                block.forward = before
