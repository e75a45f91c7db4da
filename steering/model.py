"""A causal language model that can be read and steered."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..files import home
from .contrast.pairs import Exchange
from .decoder.checks import check_uncompiled
from .decoder.language_model import LanguageModel
from .dictionaries.encoder import DEFAULT_ENCODER, Encoder, load_encoder
from .generation.generate import completions, generate, stream
from .generation.requests import Completion, Request
from .reading.capture import mean_activations
from .reading.pace import Pace
from .reading.teacher_forcing import TokenizedExchange
from .vectors.injection import steered
from .vectors.steering import Steering
from .vectors.steering_vectors import Point
from .weights.int8 import INT8, quantise
from .weights.known import DEFAULT_MODEL
from .weights.loading import load_causal_lm
from .weights.packed import pack_linears

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class SteeredModel(LanguageModel):
    """A Hugging Face causal language model that can be read, steered and asked.

    Several threads may call ``generate`` and ``stream``: calls take turns, those of ``stream`` a
    token at a time.

    Example:
        >>> model = SteeredModel.from_pretrained("smollm2-135m-instruct")  # doctest: +SKIP
        >>> with model.steered([steering, None]):  # doctest: +SKIP
        ...     model.hf.generate(**inputs)  # two rows; the second is unsteered
    """

    def __init__(
        self,
        hf: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str = "",
        encoder: str = DEFAULT_ENCODER,
        prefix_folder: Path | None = None,
    ) -> None:
        super().__init__(hf, tokenizer, name=name, prefix_folder=prefix_folder)
        self._encoder_name = encoder

    @classmethod
    def from_pretrained(
        cls,
        name: str = DEFAULT_MODEL,
        *,
        dtype: torch.dtype | str | None = None,
        device: str | torch.device | None = None,
        device_map: str | dict[str, Any] | None = None,
        encoder: str = DEFAULT_ENCODER,
        disk_prefixes: bool | None = None,
    ) -> SteeredModel:
        """Load a model that trimtab can fetch by itself, a hub id, or a local folder.

        Args:
            name: See ``trimtab models list`` for the first kind.
            dtype: Default: bfloat16 where the machine multiplies in it, else float32. ``int8`` is
                float32 with the layers' weights as 8-bit integers, on a processor: decoding few
                rows is faster, and answers are not quite the same.
            device: Default: a GPU where there is one.
            device_map: In its place, where accelerate puts each part, such as ``auto``; see
                ``trimtab.steering.weights.loading.load_causal_lm``.
            encoder: The sentence encoder for keys and queries.
            disk_prefixes: Keep what the layers make of system prompts and tool descriptions in the
                cache folder, so that the first call of the next process need not run them. Nothing
                that a user said is kept. Default: yes, unless the environment variable
                ``TRIMTAB_DISK_PREFIXES`` is 0.

        Raises:
            TrimtabError: The model cannot be found, fetched or read.
        """
        integers = dtype == INT8
        hf, tokenizer = load_causal_lm(
            name, dtype="float32" if integers else dtype, device=device, device_map=device_map
        )
        if disk_prefixes is None:
            disk_prefixes = os.environ.get("TRIMTAB_DISK_PREFIXES", "1") != "0"
        folder = home() / "prefixes" if disk_prefixes else None
        made = cls(hf, tokenizer, name=name, encoder=encoder, prefix_folder=folder)
        if integers:
            made.fingerprint  # noqa: B018  # that of the weights before, whose vectors fit as well
            quantise(made.parts.decoder, name)
        pack_linears(hf)
        return made

    @cached_property
    def encoder(self) -> Encoder:
        """The sentence encoder, loaded when first asked for."""
        with self.lock:
            return load_encoder(self._encoder_name)

    @contextmanager
    def steered(
        self,
        rows: Sequence[Steering | None],
        *,
        prompt_lengths: Sequence[int] | None = None,
    ) -> Iterator[None]:
        """Steer every forward pass that this thread makes inside the context, one row each.

        See ``trimtab.steering.vectors.injection.injected`` for the arguments and errors.

        Raises:
            TrimtabError: The model is compiled: its code would leave steering out.
        """
        check_uncompiled(self.hf)
        with steered(self, rows, prompt_lengths):
            yield

    def tokenized(self, exchange: Exchange) -> TokenizedExchange:
        """An exchange as token ids."""
        if exchange.raw:
            text = "\n\n".join(str(message["content"]) for message in exchange.messages)
            prompt = self.tokens_of(f"{text}\n")
        else:
            prompt = self.prompt_tokens(exchange.messages, exchange.tools)
        return TokenizedExchange(prompt, self.tokens_of(exchange.answer))

    def mean_activations(
        self,
        exchanges: Sequence[Exchange],
        points: Sequence[Point],
        *,
        progress: Callable[[int], None] | None = None,
        pace: Pace | None = None,
    ) -> Tensor:
        """Activations averaged over each answer's tokens: ``(exchanges, points, hidden_size)``.

        See ``trimtab.steering.reading.capture.mean_activations``.
        """
        tokenized = [self.tokenized(exchange) for exchange in exchanges]
        return mean_activations(
            self.parts, tokenized, points, prefixes=self.prefixes, progress=progress, pace=pace
        )

    def generate(
        self,
        requests: Sequence[Request],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        batch_size: int = 48,
        batch_tokens: int | None = None,
    ) -> list[Completion]:
        """Answer requests, each with its own steering; see ``steering.generation``."""
        with self.lock:
            return generate(
                self,
                requests,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=seed,
                stop=tuple(stop),
                batch_size=batch_size,
                batch_tokens=batch_tokens,
            )

    def completions(
        self, requests: Sequence[Request], **options: Any
    ) -> Iterator[tuple[int, Completion]]:
        """Answer requests as ``generate`` does, and give each answer as soon as it ends.

        See ``trimtab.steering.generation.generate.completions`` for the options.

        Returns:
            An iterator of places in the list and their answers.
        """
        return completions(self, requests, **options)

    def stream(self, request: Request, **options: Any) -> Generator[str, None, Completion]:
        """Answer one request piece by piece; see ``steering.generation``."""
        return stream(self, request, **options)
