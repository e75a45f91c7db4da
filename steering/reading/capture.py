"""Reading activations under teacher forcing: the mean over an answer's tokens, at chosen points.

A pass stops after the last wanted layer and never reaches the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import TrimtabError
from ..decoder.families import Parts
from ..decoder.hooks import of_this_thread
from ..decoder.prefixes import Prefixes
from ..decoder.sublayers import Sublayer, first_tensor
from ..vectors.steering_vectors import Point
from .answer_batch import AnswerBatch
from .pace import Pace
from .teacher_forcing import TokenizedExchange, answer_batches, different


@contextmanager
def reading(
    parts: Parts, points: Sequence[Point], keep: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """Call ``keep(i, activation)`` when a forward pass of this thread meets ``points[i]``.

    An activation has the shape ``(batch, tokens, hidden_size)``. The hooks are removed when the
    context ends.

    Raises:
        TrimtabError: A layer out of range.
    """
    inputs: dict[int, Tensor] = {}
    shapes: dict[int, torch.Size] = {}
    mids = {point.layer for point in points if point.site == "mid"}
    handles: list[Any] = []

    def remember(layer: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            shapes[layer] = hidden.shape
            if layer in mids:
                inputs[layer] = hidden

        return hook

    def read(index: int, point: Point, scale: float) -> Any:
        def act(output: Any, others: Tensor | None) -> None:
            # In some families all rows' tokens lie in one dimension.
            hidden = first_tensor(output).reshape(shapes[point.layer])
            hidden = hidden if scale == 1.0 else hidden * scale
            hidden = hidden if others is None else hidden + others.reshape(hidden.shape)
            keep(index, inputs[point.layer] + hidden if point.site == "mid" else hidden)

        return of_this_thread(act)

    try:
        for point in dict.fromkeys(points):
            if not 0 <= point.layer < len(parts.layers):
                raise TrimtabError(
                    f"layer {point.layer} was asked for, but the model has layers 0 to "
                    f"{len(parts.layers) - 1}"
                )
        for number in {point.layer for point in points}:
            before = of_this_thread(remember(number))
            block = parts.layers[number].block
            handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
        for index, point in enumerate(points):
            layer = parts.layers[point.layer]
            places = {"mlp": layer.mlp, "block": Sublayer(layer.block)}
            place = places.get(point.site, layer.attention)
            handles += place.hook(read(index, point, place.scale))
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def mean_activations(
    parts: Parts,
    exchanges: Sequence[TokenizedExchange],
    points: Sequence[Point],
    *,
    token_budget: int | None = None,
    prefixes: Prefixes | None = None,
    progress: Callable[[int], None] | None = None,
    pace: Pace | None = None,
) -> Tensor:
    """The activation at each point, averaged over each answer's tokens.

    Args:
        parts: The decoder and its layers.
        exchanges: Prompts with the answers to force. Equal prompts run once, and so do
            equal answers to them.
        points: Where to read.
        token_budget: Tokens in one batch, padding included; None is what the machine likes.
        prefixes: Beginnings of prompts that have run before.
        progress: Told after each batch how many answers it held.
        pace: How others are given room meanwhile; None gives them none.

    Returns:
        Shape ``(len(exchanges), len(points), hidden_size)``, float32, on the CPU.

    Raises:
        TrimtabError: No sample or point, a prompt or answer too short, or a layer out of range.
    """
    last = last_of(parts, points)
    once, places = different(exchanges)
    times = Counter(places)
    means: list[Tensor] = [torch.empty(0)] * len(once)
    batches = answer_batches(
        parts, once, last_layer=last, token_budget=token_budget, prefixes=prefixes, pace=pace
    )
    for batch in batches:
        read, _ = read_batch(parts, batch, points)
        for row, index in enumerate(batch.rows):
            means[index] = read[row]
        if progress:
            progress(sum(times[index] for index in batch.rows))
    return torch.stack(means)[places]


def last_of(parts: Parts, points: Sequence[Point]) -> int:
    """The last layer that has to run for these points.

    Raises:
        TrimtabError: No point, or a layer out of range.
    """
    if not points:
        raise TrimtabError("nothing to read: expected at least one layer and site")
    last = max(point.layer for point in points)
    if last >= len(parts.layers):
        raise TrimtabError(
            f"layer {last} was asked for, but the model has layers 0 to {len(parts.layers) - 1}"
        )
    return last


def read_batch(
    parts: Parts, batch: AnswerBatch, points: Sequence[Point]
) -> tuple[Tensor, Tensor | None]:
    """Run the answers' pass of a batch and read it.

    Returns:
        The activation at each point, averaged over each answer's tokens, ``(rows, points,
        hidden_size)``, float32, on the CPU; and what ``batch.run`` returns.
    """
    found: list[Tensor] = [torch.empty(0)] * len(points)
    summed: list[Tensor] = []
    states: list[Tensor] = []
    start = 0

    def keep(index: int, hidden: Tensor) -> None:
        share = batch.answer[:, start : start + hidden.shape[1], None].to(hidden.device)
        found[index] = (hidden.float() * share).sum(1).cpu()

    with reading(parts, points, keep):
        for part, hidden in batch.passes():
            summed.append(torch.stack(found, dim=1))
            states += [] if hidden is None else [hidden]
            start = part.stop
    lengths = batch.answer.sum(1)[:, None, None].cpu()
    return sum(summed[1:], summed[0]) / lengths, torch.cat(states, dim=1) if states else None
