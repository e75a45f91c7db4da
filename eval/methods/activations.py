"""What texts make of a model, read once: mean activations, kept by what they depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...steering.contrast.pairs import Exchange
from ...steering.decoder.forward import context_of
from ...steering.reading.capture import mean_activations
from ...steering.reading.teacher_forcing import TokenizedExchange
from ...steering.vectors.steering_vectors import Point
from .kept import KeptValues, digest

if TYPE_CHECKING:
    from ...steering.contrast.pairs import Messages
    from ...steering.model import SteeredModel

# Changes whenever the same texts would have other activations.
_FORM = 1

# Texts read together before they are kept: wide enough for full batches, few enough that a reading
# that was broken off keeps most of its work.
_AT_ONCE = 512


class KeptActivations:
    """A file of activations. Several processes may use one at once.

    Args:
        path: The file; made when something is first kept.
    """

    def __init__(self, path: Path) -> None:
        self._values = KeptValues(path, "activations", "numbers", "the activations of texts")

    def means(
        self,
        model: SteeredModel,
        prompt: Messages,
        texts: Sequence[str],
        points: Sequence[Point],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Activations averaged over each text's tokens; only what is not kept is read.

        Of a text that is longer than the model's context, the beginning is read.

        Args:
            model: The model.
            prompt: What stands before every text.
            texts: The texts.
            points: Where to read.
            progress: Told how many texts more are there.

        Returns:
            ``(texts, points, hidden_size)``, float32, on the CPU.

        Raises:
            TrimtabError: The file cannot be used, or as for ``mean_activations``.
        """
        if not texts:
            return torch.zeros(0, len(points), model.hf.config.get_text_config().hidden_size)
        about = [_FORM, model.fingerprint, model.precision, [dict(m) for m in prompt]]
        keys = {text: [_key(about, text, point) for point in points] for text in texts}
        kept = self._values.get([key for own in keys.values() for key in own])
        numbers = {key: _numbers(value) for key, value in kept.items()}
        missing = [text for text, own in keys.items() if not all(key in numbers for key in own)]
        if progress:
            absent = set(missing)
            progress(sum(text not in absent for text in texts))
        # By length, so that what is read together is alike.
        missing.sort(key=len)
        times = Counter(texts)
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            read = mean_activations(
                model.parts,
                [_fitting(model, Exchange(prompt, text)) for text in some],
                points,
                prefixes=model.prefixes,
            )
            fresh = {
                key: activation
                for text, own in zip(some, read, strict=True)
                for key, activation in zip(keys[text], own, strict=True)
            }
            self._values.put({key: _bytes(activation) for key, activation in fresh.items()})
            numbers.update(fresh)
            if progress:
                progress(sum(times[text] for text in some))
        return torch.stack([torch.stack([numbers[key] for key in keys[text]]) for text in texts])


def _fitting(model: SteeredModel, exchange: Exchange) -> TokenizedExchange:
    """An exchange as token ids, its answer cut to what the context has room for."""
    whole = model.tokenized(exchange)
    limit = context_of(model.hf.config)
    if limit is None:
        return whole
    return replace(whole, answer=whole.answer[: max(limit - len(whole.prompt), 1)])


def _key(about: Sequence[Any], text: str, point: Point) -> str:
    return digest([*about, text, point.layer, point.site])


def _bytes(activation: Tensor) -> bytes:
    return activation.contiguous().numpy().tobytes()


def _numbers(value: bytes) -> Tensor:
    return torch.frombuffer(bytearray(value), dtype=torch.float32)
