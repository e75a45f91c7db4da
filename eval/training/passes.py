"""Forward passes that gradients go through: what is trained is added, the rest is frozen.

What lies below the lowest change never changes, so its hidden states are computed once and kept:
a pass begins there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...steering.decoder.families import Parts, first_tensor
from ...steering.decoder.hooks import of_this_thread, own_pass
from ...steering.decoder.kernels import without_cudnn_attention
from ...steering.decoder.language_model import LanguageModel
from ...steering.vectors.applying import RowInterventions, interventions_of
from ...steering.vectors.injection import linear_at, refuse_steered
from ...steering.vectors.low_rank import ModuleName, Stage
from ...steering.vectors.pushes import Windows
from .examples import Batch, Example, narrow
from .trainable import Place, Trainable

_log = logging.getLogger(__name__)

_KEPT_SHARE = 0.3  # of the free memory, for hidden states that are kept

Before = Sequence[Sequence[Stage]]
"""Frozen stages that come first, by owner."""


def answer_nats(
    model: LanguageModel,
    trainable: Trainable | None,
    batch: Batch,
    before: Before = (),
    lower: Lower | None = None,
) -> Tensor:
    """Minus the log-probability of each row's answer, ``(rows,)``, in nats; gradients pass.

    Args:
        model: The model, frozen.
        trainable: What is trained; None is nothing.
        batch: The rows.
        before: Frozen stages that come first.
        lower: Kept hidden states to begin from.
    """
    refuse_steered(model.parts, "training")
    hidden = _hidden(model, trainable, batch, before, lower)
    logits = model.logits(hidden[batch.answers])
    targets = batch.tokens.roll(-1, dims=1)[batch.answers]
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    rows = batch.answers.nonzero()[:, 0]
    return torch.zeros(len(batch.rows), device=losses.device).index_add(0, rows, losses)


def _hidden(
    model: LanguageModel,
    trainable: Trainable | None,
    batch: Batch,
    before: Before,
    lower: Lower | None,
) -> Tensor:
    parts = model.parts
    with ExitStack() as stack:
        if lower is not None:
            stack.enter_context(_beginning_after(parts, lower.layer, lower.of(batch)))
        stack.enter_context(_changing(parts, trainable, batch, before))
        return _run(parts, batch)


def _run(parts: Parts, batch: Batch) -> Tensor:
    positions = (batch.mask.cumsum(dim=1) - 1).clamp(min=0)
    with own_pass(), without_cudnn_attention():
        found: Tensor = parts.decoder(
            input_ids=batch.tokens,
            attention_mask=batch.mask,
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
    return found


@contextmanager
def _changing(
    parts: Parts, trainable: Trainable | None, batch: Batch, before: Before
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
            stage = _Where(trainable.positions)
            gain = _gain(batch, [stage] * len(batch.rows))  # type: ignore[list-item]
            for place in trainable.places:
                handles.append(_hooked(parts, place, gain, _trained(trainable, place, batch)))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Where:
    """Positions alone, as ``Windows`` reads them of a stage."""

    def __init__(self, positions: Any) -> None:
        self.positions = positions


def _gain(batch: Batch, stages: Sequence[Stage | None]) -> Tensor:
    """1 where a token is changed, ``(rows, tokens, 1)``."""
    windows = Windows.of(stages, batch.prompt_lengths, batch.mask.device)
    positions = batch.mask.cumsum(dim=1) - 1
    return windows.gain(positions, batch.mask.bool())[..., None]


def _frozen(interventions: RowInterventions) -> Callable[[Tensor], Tensor]:
    return interventions.delta


def _trained(trainable: Trainable, place: Place, batch: Batch) -> Callable[[Tensor], Tensor]:
    return lambda x: trainable.delta(place, x.float(), batch.owners)


def _hooked(parts: Parts, place: Place, gain: Tensor, delta: Callable[[Tensor], Tensor]) -> Any:
    beside = not isinstance(place, int)
    module = linear_at(parts, place) if beside else parts.layers[place].block  # type: ignore[arg-type,index]

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = first_tensor(output)
        added = gain * delta(args[0] if beside else hidden)
        changed = hidden + added.to(hidden.dtype)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

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
        batch = Batch.of(examples, rows, model.device)
        counts.index_add_(0, batch.owners, batch.mask.sum(dim=1).float())

        def keeping(place: ModuleName, batch: Batch = batch) -> Any:
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
            with _changing(model.parts, None, batch, before):
                _run(model.parts, batch)
        finally:
            for handle in handles:
                handle.remove()
    return [
        {place: total[owner] / counts[owner].clamp(min=1) for place, total in sums.items()}
        for owner in range(owners)
    ]


def lowest_unchanged(trainable: Trainable, before: Before) -> int:
    """The last layer whose own output nothing changes, counted from 0; -1 where there is none.

    A change after a layer leaves what the layer itself gives as it is.
    """
    stages = {id(stage): stage for own in before for stage in own}.values()
    places: list[Place] = [*trainable.places]
    for stage in stages:
        places += [*stage.layers, *stage.modules]
    last = [place if isinstance(place, int) else place.layer - 1 for place in places]
    return min(last)


class Lower:
    """The hidden states after one layer, of every example, kept.

    Attributes:
        layer: After which layer.
    """

    def __init__(self, layer: int, states: Sequence[Tensor]) -> None:
        self.layer = layer
        self._states = states

    @classmethod
    @torch.no_grad()
    def keep(
        cls,
        model: LanguageModel,
        examples: Sequence[Example],
        layer: int,
        *,
        token_budget: int,
        progress: Callable[[int], None] | None = None,
    ) -> Lower | None:
        """Run every example up to the layer; None where there is no room for what comes of it."""
        tokens = sum(len(each.tokens) for each in examples)
        width = model.hf.config.get_text_config().hidden_size
        needed = tokens * width * model.hf.dtype.itemsize
        if layer < 0 or needed > _KEPT_SHARE * _free(model.device):
            if layer >= 0:
                _log.warning(
                    "the lower layers' hidden states would take %.1f GB: they are not kept, and "
                    "every step runs all layers",
                    needed / 1e9,
                )
            return None
        states: list[Tensor] = [torch.empty(0)] * len(examples)
        for rows in narrow(examples, range(len(examples)), token_budget):
            batch = Batch.of(examples, rows, model.device)
            hidden = _after(model.parts, layer, batch)
            for row, state in zip(rows, hidden, strict=True):
                states[row] = state[: len(examples[row].tokens)].clone()
            if progress:
                progress(len(rows))
        return cls(layer, states)

    def of(self, batch: Batch) -> Tensor:
        """The batch's, padded: ``(rows, longest, hidden_size)``."""
        return nn.utils.rnn.pad_sequence([self._states[row] for row in batch.rows], True)


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return int(psutil.virtual_memory().available)


class _Stop(Exception):
    """Ends a pass; never leaves this module."""


def _after(parts: Parts, layer: int, batch: Batch) -> Tensor:
    found: list[Tensor] = []

    def stop(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        found.append(first_tensor(output))
        raise _Stop

    handle = parts.layers[layer].block.register_forward_hook(of_this_thread(stop))
    try:
        _run(parts, batch)
    except _Stop:
        pass
    finally:
        handle.remove()
    return found[0]


@contextmanager
def _beginning_after(parts: Parts, layer: int, hidden: Tensor) -> Iterator[None]:
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

        mine = of_this_thread_forward(forward, original)
        return mine

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


def of_this_thread_forward(forward: Any, original: Any) -> Any:
    """``forward`` in this thread, ``original`` in every other."""
    import threading

    owner = threading.get_ident()

    def either(*args: Any, **kwargs: Any) -> Any:
        mine = threading.get_ident() == owner
        return forward(*args, **kwargs) if mine else original(*args, **kwargs)

    return either
