"""Forward passes over training batches: frozen stages and what is trained are added in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from ...steering.decoder.families import Parts
from ...steering.decoder.hooks import of_this_thread, own_pass
from ...steering.decoder.kernels import without_cudnn_attention
from ...steering.decoder.language_model import LanguageModel
from ...steering.decoder.sublayers import by_rows, first_tensor, replaced
from ...steering.vectors.applying import RowInterventions, interventions_of
from ...steering.vectors.injection import linear_at
from ...steering.vectors.low_rank import ModuleName, Stage
from ...steering.vectors.pushes import Windows
from .examples import Example, TrainingBatch, narrow
from .trainable import Place, Trainable

Before = Sequence[Sequence[Stage]]
"""Frozen stages that come first, by owner."""


def run_batch(
    parts: Parts, batch: TrainingBatch, cache: Cache | None = None, before: Tensor | None = None
) -> Tensor:
    """A pass over the batch's tokens, after what a cache holds under the mask ``before``."""
    mask = batch.mask if before is None else torch.cat([before, batch.mask], dim=1)
    with own_pass(), without_cudnn_attention():
        hidden: Tensor = parts.decoder(
            input_ids=batch.tokens,
            attention_mask=mask,
            position_ids=batch.positions.clamp(min=0),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
    return hidden


@contextmanager
def changing(
    parts: Parts, trainable: Trainable | None, batch: TrainingBatch, before: Before
) -> Iterator[None]:
    """Add frozen stages and what is trained, in this thread's passes."""
    handles: list[Any] = []
    own = [before[owner] for owner in batch.owners.tolist()] if before else []
    try:
        for depth in range(max(map(len, own), default=0)):
            stages = [each[depth] if depth < len(each) else None for each in own]
            gain = _gain(batch, stages)
            layers, modules = interventions_of(stages, len(parts.layers))
            every: list[tuple[Place, RowInterventions]] = [*modules.items(), *layers.items()]
            for place, frozen in every:
                handles.append(_hooked(parts, place, gain, _frozen(frozen)))
        if trainable is not None:
            stage = _Positions(trainable.positions)
            gain = _gain(batch, [stage] * len(batch.rows))  # type: ignore[list-item]
            for place in trainable.places:
                handles.append(_hooked(parts, place, gain, _trained(trainable, place, batch)))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Positions:
    """Positions alone, as ``Windows`` reads them of a stage."""

    def __init__(self, positions: Any) -> None:
        self.positions = positions


def _gain(batch: TrainingBatch, stages: Sequence[Stage | None]) -> Tensor:
    """1 where a token is changed, ``(rows, tokens, 1)``."""
    windows = Windows.of(stages, batch.prompt_lengths, batch.mask.device)
    return windows.gain(batch.positions, batch.mask.bool())[..., None]


def _frozen(interventions: RowInterventions) -> Callable[[Tensor], Tensor]:
    return interventions.delta


def _trained(
    trainable: Trainable, place: Place, batch: TrainingBatch
) -> Callable[[Tensor], Tensor]:
    return lambda x: trainable.delta(place, x.float(), batch.owners)


def _hooked(parts: Parts, place: Place, gain: Tensor, delta: Callable[[Tensor], Tensor]) -> Any:
    beside = not isinstance(place, int)
    module = linear_at(parts, place) if beside else parts.layers[place].block  # type: ignore[arg-type,index]

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = by_rows(first_tensor(output), len(gain))
        added = gain * delta(by_rows(args[0], len(gain)) if beside else hidden)
        return replaced(output, hidden + added.to(hidden.dtype))

    return module.register_forward_hook(of_this_thread(hook))


@torch.no_grad()
def mean_inputs(
    model: LanguageModel,
    examples: Sequence[Example],
    places: Sequence[ModuleName],
    owners: int,
    before: Before = (),
    *,
    token_budget: int = 4096,
) -> list[dict[ModuleName, Tensor]]:
    """What linear modules are given, averaged over all real tokens of each owner's examples.

    Args:
        model: The model.
        examples: All of them; their owners are counted from 0.
        places: The modules.
        owners: How many.
        before: Frozen stages that come first, by owner.
        token_budget: Tokens in one pass, padding included.

    Returns:
        For each owner the mean input of each module, ``(inputs,)``.
    """
    sums: dict[ModuleName, Tensor] = {}
    counts = torch.zeros(owners, device=model.device)
    for rows in narrow(examples, range(len(examples)), token_budget):
        batch = TrainingBatch.of(examples, rows, model.device)
        counts.index_add_(0, batch.owners, batch.mask.sum(dim=1).float())

        def keeping(place: ModuleName, batch: TrainingBatch = batch) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
                given = (args[0].float() * batch.mask[..., None]).sum(dim=1)
                if place not in sums:
                    sums[place] = given.new_zeros(owners, given.shape[1])
                sums[place].index_add_(0, batch.owners, given)

            return of_this_thread(hook)

        handles = [
            linear_at(model.parts, place).register_forward_hook(keeping(place)) for place in places
        ]
        try:
            with changing(model.parts, None, batch, before):
                run_batch(model.parts, batch)
        finally:
            for handle in handles:
                handle.remove()
    return [
        {place: total[owner] / counts[owner].clamp(min=1) for place, total in sums.items()}
        for owner in range(owners)
    ]
