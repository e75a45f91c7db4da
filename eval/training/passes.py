"""Forward passes that gradients go through: what is trained is added, the rest is frozen.

What lies below the lowest change never changes, so its hidden states are computed once and kept:
a pass begins there. Where nothing before a prompt's last token is changed, the keys and values of
that part are kept as well: a pass then holds the answer's tokens alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from ...steering.decoder.caches import bytes_a_token, layers_of
from ...steering.decoder.families import Parts, first_tensor
from ...steering.decoder.forward import window_passed
from ...steering.decoder.hooks import of_this_thread, own_pass
from ...steering.decoder.kernels import without_cudnn_attention
from ...steering.decoder.language_model import LanguageModel
from ...steering.vectors.applying import RowInterventions, interventions_of
from ...steering.vectors.injection import linear_at, refuse_steered
from ...steering.vectors.low_rank import ModuleName, Stage
from ...steering.vectors.positions import PromptEdges, start_of
from ...steering.vectors.pushes import Windows
from .examples import Example, TrainingBatch, narrow
from .trainable import Place, Trainable

_log = logging.getLogger(__name__)

_KEPT_SHARE = 0.3  # of the free memory, for hidden states that are kept

Before = Sequence[Sequence[Stage]]
"""Frozen stages that come first, by owner."""


def answer_nats(
    model: LanguageModel,
    trainable: Trainable | None,
    batch: TrainingBatch,
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
    if lower is not None:
        batch = batch.after([lower.starts[row] for row in batch.rows])
    hidden = _hidden(model, trainable, batch, before, lower)
    logits = model.logits(hidden[batch.answers])
    targets = batch.tokens.roll(-1, dims=1)[batch.answers]
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    rows = batch.answers.nonzero()[:, 0]
    return torch.zeros(len(batch.rows), device=losses.device).index_add(0, rows, losses)


def _hidden(
    model: LanguageModel,
    trainable: Trainable | None,
    batch: TrainingBatch,
    before: Before,
    lower: Lower | None,
) -> Tensor:
    parts = model.parts
    with ExitStack() as stack:
        stack.enter_context(_changing(parts, trainable, batch, before))
        if lower is None:
            return _run(parts, batch)
        stack.enter_context(_beginning_after(parts, lower.layer, lower.of(batch)))
        return _run(parts, batch, *lower.prompts(batch, parts))


def _run(
    parts: Parts, batch: TrainingBatch, cache: Cache | None = None, before: Tensor | None = None
) -> Tensor:
    """A pass over the batch's tokens, after what a cache holds under the mask ``before``."""
    mask = batch.mask if before is None else torch.cat([before, batch.mask], dim=1)
    with own_pass(), without_cudnn_attention():
        found: Tensor = parts.decoder(
            input_ids=batch.tokens,
            attention_mask=mask,
            position_ids=batch.positions.clamp(min=0),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
    return found


@contextmanager
def _changing(
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


def changes_answers_alone(trainable: Trainable, before: Before) -> bool:
    """Whether nothing before a prompt's last token is changed: then its keys stay as they are."""
    stages = {id(stage): stage for own in before for stage in own}.values()
    some = 10  # the length of a prompt, which any will do for
    every = [trainable.positions, *(stage.positions for stage in stages)]
    return all(
        start_of(positions, some) >= some - 1 and not isinstance(positions, tuple | PromptEdges)
        for positions in every
    )


class Lower:
    """What never changes of every example: hidden states after a layer, and the prompts' keys.

    Attributes:
        layer: After which layer.
        starts: By example, how many of its first tokens need no pass: their keys are kept.
    """

    def __init__(
        self,
        layer: int,
        states: Sequence[Tensor],
        keys: Sequence[Tensor] | None = None,
    ) -> None:
        self.layer = layer
        self._states = states
        self._keys = keys
        self.starts = [0] * len(states) if keys is None else [own.shape[-2] for own in keys]

    @classmethod
    @torch.no_grad()
    def keep(
        cls,
        model: LanguageModel,
        examples: Sequence[Example],
        layer: int,
        *,
        answers_alone: bool = False,
        token_budget: int,
        progress: Callable[[int], None] | None = None,
    ) -> Lower | None:
        """Run every example; None where there is no room for what comes of it.

        Args:
            model: The model.
            examples: All of them.
            layer: The last whose output nothing changes; -1 keeps nothing.
            answers_alone: Whether nothing before the prompts' last tokens is changed.
            token_budget: Tokens in one pass, padding included.
            progress: Told after each pass how many examples it held.
        """
        if layer < 0:
            return None
        config = model.hf.config.get_text_config()
        longest = max(len(each.tokens) for each in examples)
        above = model.layer_count - 1 - layer
        answers_alone = answers_alone and above > 0 and not window_passed(config, longest)
        room = _KEPT_SHARE * _free(model.device)
        a_state = config.hidden_size * model.hf.dtype.itemsize
        a_key = bytes_a_token(config, model.hf.dtype) * above / model.layer_count
        answers = sum(len(each.answer) + 1 for each in examples)
        prompts = sum(len(each.prompt) - 1 for each in examples)
        if answers_alone and answers * a_state + prompts * a_key > room:
            answers_alone = False
        if not answers_alone and (answers + prompts) * a_state > room:
            _log.warning(
                "the lower layers' hidden states would take %.1f GB: they are not kept, and "
                "every step runs all layers",
                (answers + prompts) * a_state / 1e9,
            )
            return None
        states: list[Tensor] = [torch.empty(0)] * len(examples)
        keys: list[Tensor] = [torch.empty(0)] * len(examples)
        for rows in narrow(examples, range(len(examples)), token_budget):
            batch = TrainingBatch.of(examples, rows, model.device)
            hidden = _after(model.parts, layer, batch)
            if answers_alone:
                found = _prompt_keys(model, layer, batch, hidden)
                if found is None:
                    return cls.keep(model, examples, layer, token_budget=token_budget)
                for row, own in zip(rows, found, strict=True):
                    keys[row] = own
            for row, state in zip(rows, hidden, strict=True):
                start = len(examples[row].prompt) - 1 if answers_alone else 0
                states[row] = state[start : len(examples[row].tokens)].clone()
            if progress:
                progress(len(rows))
        return cls(layer, states, keys if answers_alone else None)

    def of(self, batch: TrainingBatch) -> Tensor:
        """The batch's hidden states, padded: ``(rows, longest, hidden_size)``."""
        return nn.utils.rnn.pad_sequence([self._states[row] for row in batch.rows], True)

    def prompts(self, batch: TrainingBatch, parts: Parts) -> tuple[Cache | None, Tensor | None]:
        """The batch's kept keys as a cache, and which of its places hold a token of the row's."""
        if self._keys is None:
            return None, None
        own = [self._keys[row] for row in batch.rows]
        lengths = [keys.shape[-2] for keys in own]
        longest = max(lengths)
        mask = torch.tensor([[0] * (longest - n) + [1] * n for n in lengths])
        padded = torch.stack(
            [
                nn.functional.pad(keys, (0, 0, longest - n, 0))
                for keys, n in zip(own, lengths, strict=True)
            ]
        )
        cache = layers_of(parts.decoder.config)
        for number, layer in enumerate(cache.layers):
            above = number - self.layer - 1
            # The lower layers are not run; that they are as long as the others is all that counts.
            pair = padded[:, above] if above >= 0 else padded[:, 0, :, :1, :, :1]
            layer.lazy_initialization(pair[:, 0], pair[:, 1])  # type: ignore[union-attr]  # a plain one
            layer.keys, layer.values = pair[:, 0], pair[:, 1]  # type: ignore[union-attr]
        return cache, mask.to(batch.mask.device)


def _prompt_keys(
    model: LanguageModel, layer: int, batch: TrainingBatch, hidden: Tensor
) -> list[Tensor] | None:
    """The keys and values of each row's prompt but for its last token, in the layers above.

    Returns:
        By row ``(layers, 2, heads, tokens, head_size)``; None where layers share keys, or theirs
        are of several shapes.
    """
    starts = [length - 1 for length in batch.prompt_lengths]
    longest = max(starts)
    real = torch.arange(longest, device=batch.mask.device) < torch.tensor(
        [[start] for start in starts], device=batch.mask.device
    )
    prompts = replace(batch, tokens=batch.tokens[:, :longest], mask=real.long())
    cache = layers_of(model.parts.decoder.config)
    with _beginning_after(model.parts, layer, hidden[:, :longest]):
        _run(model.parts, prompts, cache, real.new_zeros(len(starts), 0).long())
    above = cache.layers[layer + 1 :]
    pairs = [(getattr(each, "keys", None), getattr(each, "values", None)) for each in above]
    shapes = {None if part is None else part.shape for pair in pairs for part in pair}
    if len(shapes) != 1 or None in shapes or len(cache.layers) != model.layer_count:
        return None
    states = torch.stack([torch.stack(pair, 1) for pair in pairs], 1)  # type: ignore[arg-type]
    # (rows, layers, 2, heads, tokens, head_size)
    return [states[row, ..., :start, :].clone() for row, start in enumerate(starts)]


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return int(psutil.virtual_memory().available)


class _Stop(Exception):
    """Ends a pass; never leaves this module."""


def _after(parts: Parts, layer: int, batch: TrainingBatch) -> Tensor:
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
