"""What training leaves as it is, computed once and kept: a pass begins behind it.

The hidden states below the lowest change never change. Where nothing before a prompt's last token
is changed, neither do the keys and values of that part: a pass then holds the answer's tokens
alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from ...steering.decoder.budget import free_memory
from ...steering.decoder.caches import bytes_a_token, layers_of
from ...steering.decoder.families import Parts
from ...steering.decoder.forward import window_passed
from ...steering.decoder.hooks import of_this_thread
from ...steering.decoder.language_model import LanguageModel
from ...steering.decoder.partial import beginning_after, stopping_after
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
        room = _KEPT_SHARE * free_memory(model.device)
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
                prompt_keys = _prompt_keys(model, layer, batch, hidden)
                if prompt_keys is None:
                    return cls.keep(model, examples, layer, token_budget=token_budget)
                for row, own in zip(rows, prompt_keys, strict=True):
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
    with beginning_after(model.parts, layer, hidden[:, :longest]):
        run_batch(model.parts, prompts, cache, real.new_zeros(len(starts), 0).long())
    above = cache.layers[layer + 1 :]
    pairs = [(getattr(each, "keys", None), getattr(each, "values", None)) for each in above]
    shapes = {None if part is None else part.shape for pair in pairs for part in pair}
    if len(shapes) != 1 or None in shapes or len(cache.layers) != model.layer_count:
        return None
    states = torch.stack([torch.stack(pair, 1) for pair in pairs], 1)  # type: ignore[arg-type]
    # (rows, layers, 2, heads, tokens, head_size)
    return [states[row, ..., :start, :].clone() for row, start in enumerate(starts)]


def _after(parts: Parts, layer: int, batch: TrainingBatch) -> Tensor:
    """The hidden states after a layer, ``(rows, tokens, hidden_size)``."""
    states: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        states.append(first_tensor(output))

    handle = parts.layers[layer].block.register_forward_hook(of_this_thread(keep))
    try:
        with stopping_after(parts, layer):
            run_batch(parts, batch)
    finally:
        handle.remove()
    return states[-1]
