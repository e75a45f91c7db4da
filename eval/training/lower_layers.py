"""What training leaves as it is, computed once and kept: a pass begins behind it.

The hidden states below the lowest change never change. Where nothing before a prompt's last token
is changed, neither do the keys and values of that part: a pass then holds the answer's tokens
alone, and what all prompts begin with is run, and kept, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from ...steering.decoder.budget import free_memory
from ...steering.decoder.caches import bytes_a_token, holds_keys_only, layers_of, select_rows
from ...steering.decoder.families import Parts
from ...steering.decoder.forward import window_passed
from ...steering.decoder.hooks import of_this_thread
from ...steering.decoder.language_model import LanguageModel
from ...steering.decoder.partial import beginning_after, stopping_after
from ...steering.decoder.prefixes import MIN_SHARED, common
from ...steering.decoder.sublayers import first_tensor
from ...steering.vectors.positions import PromptEdges, start_of
from .examples import Example, TrainingBatch, narrow
from .passes import Before, run_batch
from .trainable import Place, Trainable

_log = logging.getLogger(__name__)

_KEPT_SHARE = 0.3  # of the free memory, for hidden states that are kept


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
        shared: Tensor | None = None,
    ) -> None:
        self.layer = layer
        self._states = states
        self._keys = keys
        self._shared = shared  # the keys of what all prompts begin with
        before = 0 if shared is None else shared.shape[-2]
        self.starts = [0] * len(states) if keys is None else [before + k.shape[-2] for k in keys]

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
        progress: Callable[[int, int], None] | None = None,
    ) -> Lower | None:
        """Run every example; None where there is no room for what comes of it.

        Args:
            model: The model.
            examples: All of them.
            layer: The last whose output nothing changes; -1 keeps nothing.
            answers_alone: Whether nothing before the prompts' last tokens is changed.
            token_budget: Tokens in one pass, padding included.
            progress: Told after each pass how many examples are done, and of how many.
        """
        if layer < 0:
            return None
        places: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        which = [places.setdefault((each.prompt, each.answer), len(places)) for each in examples]
        if len(places) < len(examples):  # what several owners have is run once
            distinct = [Example(0, *tokens) for tokens in places]
            once = cls.keep(
                model,
                distinct,
                layer,
                answers_alone=answers_alone,
                token_budget=token_budget,
                progress=progress,
            )
            return None if once is None else once._repeated(which)
        config = model.hf.config.get_text_config()
        longest = max(len(each.tokens) for each in examples)
        above = model.layer_count - 1 - layer
        answers_alone = answers_alone and above > 0 and not window_passed(config, longest)
        room = _KEPT_SHARE * free_memory(model.device)
        a_state = config.hidden_size * model.hf.dtype.itemsize
        a_key = bytes_a_token(config, model.hf.dtype) * above / model.layer_count
        beginning = _beginning(model, examples) if answers_alone else ()
        answers = sum(len(each.answer) + 1 for each in examples)
        prompts = sum(len(each.prompt) - 1 - len(beginning) for each in examples)
        if answers_alone and answers * a_state + prompts * a_key > room:
            answers_alone, beginning = False, ()
            prompts = sum(len(each.prompt) - 1 for each in examples)
        if not answers_alone and (answers + prompts) * a_state > room:
            _log.warning(
                "the lower layers' hidden states would take %.1f GB: they are not kept, and "
                "every step runs all layers",
                (answers + prompts) * a_state / 1e9,
            )
            return None
        states: list[Tensor] = [torch.empty(0)] * len(examples)
        keys: list[Tensor] = [torch.empty(0)] * len(examples)
        shared = _Shared.run(model, beginning) if beginning else None
        done = 0
        for rows in narrow(examples, range(len(examples)), token_budget):
            batch = TrainingBatch.of(examples, rows, model.device).after(
                [len(beginning)] * len(rows)
            )
            hidden = _after(model.parts, layer, batch, shared)
            if answers_alone:
                prompt_keys = _prompt_keys(model, layer, batch, hidden, shared)
                if prompt_keys is None:
                    return cls.keep(
                        model, examples, layer, token_budget=token_budget, progress=progress
                    )
                for row, own in zip(rows, prompt_keys, strict=True):
                    keys[row] = own
            for row, state in zip(rows, hidden, strict=True):
                start = len(examples[row].prompt) - 1 - len(beginning) if answers_alone else 0
                end = len(examples[row].tokens) - len(beginning)
                states[row] = state[start:end].clone()
            done += len(rows)
            if progress:
                progress(done, len(examples))
        if not answers_alone:
            return cls(layer, states)
        kept = _stacked(shared.cache, layer) if shared else None
        return cls(layer, states, keys, None if kept is None else kept[0])

    def _repeated(self, which: Sequence[int]) -> Lower:
        """The same of examples that are these, in this order."""
        keys = None if self._keys is None else [self._keys[place] for place in which]
        return Lower(self.layer, [self._states[place] for place in which], keys, self._shared)

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
        if self._shared is not None:
            every = self._shared.expand(len(own), *self._shared.shape)
            padded = torch.cat([every, padded], dim=-2)
            mask = torch.cat([mask.new_ones(len(own), self._shared.shape[-2]), mask], dim=1)
        cache = layers_of(parts.decoder.config)
        for number, layer in enumerate(cache.layers):
            above = number - self.layer - 1
            # The lower layers are not run; that they are as long as the others is all that counts.
            pair = padded[:, above] if above >= 0 else padded[:, 0, :, :1, :, :1]
            layer.lazy_initialization(pair[:, 0], pair[:, 1])  # type: ignore[union-attr]  # a plain one
            layer.keys, layer.values = pair[:, 0], pair[:, 1]  # type: ignore[union-attr]
        return cache, mask.to(batch.mask.device)


@dataclass
class LastLower:
    """What was kept for the last training, for the next one on the same samples."""

    _of: tuple[Any, ...] = ()
    _lower: Lower | None = None

    def keep(
        self, model: LanguageModel, examples: Sequence[Example], layer: int, **how: Any
    ) -> Lower | None:
        """As ``Lower.keep``; run only where the samples, their order or the layer are others."""
        rows = tuple((each.prompt, each.answer) for each in examples)
        of = (model.fingerprint, model.precision, rows, layer, how.get("answers_alone", False))
        if self._lower is None or self._of != of:
            self._lower = None  # what is not wanted any more makes room first
            self._lower = Lower.keep(model, examples, layer, **how)
            self._of = of
        return self._lower


@dataclass(frozen=True)
class _Shared:
    """What all prompts begin with, after its pass."""

    cache: Cache
    length: int

    @classmethod
    def run(cls, model: LanguageModel, tokens: Sequence[int]) -> _Shared:
        """Run it."""
        cache = layers_of(model.parts.decoder.config)
        # Its last token is no answer's: what comes after it is all the same here.
        row = TrainingBatch.of([Example(0, tuple(tokens), (0,))], [0], model.device)
        row = replace(row, tokens=row.tokens[:, :-1], mask=row.mask[:, :-1])
        run_batch(model.parts, row, cache, row.mask.new_zeros(1, 0))
        return cls(cache, len(tokens))

    def rows(self, batch: TrainingBatch) -> tuple[Cache, Tensor]:
        """A cache of its own for a batch, and the mask of what it holds."""
        count = len(batch.rows)
        return select_rows(self.cache, [0] * count), batch.mask.new_ones(count, self.length)


def _beginning(model: LanguageModel, examples: Sequence[Example]) -> tuple[int, ...]:
    """What all prompts begin with, short of their last two tokens; empty where it is too little."""
    prompts = [each.prompt for each in examples]
    if not holds_keys_only(model.parts.decoder.config):
        return ()
    # What the first and the last in order share, all between them share.
    count = min(common(min(prompts), max(prompts)), min(map(len, prompts)) - 2)
    return prompts[0][:count] if count >= MIN_SHARED and len(prompts) > 1 else ()


def _prompt_keys(
    model: LanguageModel,
    layer: int,
    batch: TrainingBatch,
    hidden: Tensor,
    shared: _Shared | None,
) -> list[Tensor] | None:
    """The keys and values of each row's prompt but for its last token, in the layers above.

    Args:
        model: The model.
        layer: Above this layer.
        batch: The rows, without what is shared.
        hidden: What the layer gives, ``(rows, tokens, hidden_size)``.
        shared: What comes before; its keys are not among those returned.

    Returns:
        By row ``(layers, 2, heads, tokens, head_size)``; None where layers share keys, or theirs
        are of several shapes.
    """
    before = shared.length if shared else 0
    starts = [length - 1 - before for length in batch.prompt_lengths]
    longest = max(starts)
    real = torch.arange(longest, device=batch.mask.device) < torch.tensor(
        [[start] for start in starts], device=batch.mask.device
    )
    prompts = replace(batch, tokens=batch.tokens[:, :longest], mask=real.long())
    if shared:
        cache, mask = shared.rows(batch)
    else:
        cache = layers_of(model.parts.decoder.config)
        mask = real.new_zeros(len(starts), 0).long()
    with beginning_after(model.parts, layer, hidden[:, :longest]):
        run_batch(model.parts, prompts, cache, mask)
    states = _stacked(cache, layer)
    if states is None or len(cache.layers) != model.layer_count:
        return None
    return [
        states[row, ..., before : before + start, :].clone() for row, start in enumerate(starts)
    ]


def _stacked(cache: Cache, layer: int) -> Tensor | None:
    """Keys and values above a layer, ``(rows, layers, 2, heads, tokens, head_size)``.

    None where layers share keys, or theirs are of several shapes.
    """
    above = cache.layers[layer + 1 :]
    pairs = [(getattr(each, "keys", None), getattr(each, "values", None)) for each in above]
    shapes = {None if part is None else part.shape for pair in pairs for part in pair}
    if len(shapes) != 1 or None in shapes:
        return None
    return torch.stack([torch.stack(pair, 1) for pair in pairs], 1)  # type: ignore[arg-type]


def _after(parts: Parts, layer: int, batch: TrainingBatch, shared: _Shared | None = None) -> Tensor:
    """The hidden states after a layer, ``(rows, tokens, hidden_size)``."""
    states: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        states.append(first_tensor(output))

    handle = parts.layers[layer].block.register_forward_hook(of_this_thread(keep))
    try:
        with stopping_after(parts, layer):
            run_batch(parts, batch, *(shared.rows(batch) if shared else ()))
    finally:
        handle.remove()
    return states[-1]
