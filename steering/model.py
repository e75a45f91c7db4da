"""A causal language model that can be read and steered."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import TrimtabError
from .contrast.pairs import Exchange
from .decoder.families import Parts, parts_of
from .dictionaries.encoder import DEFAULT_ENCODER, Encoder, load_encoder
from .prompts.render import render, tokenize
from .reading.capture import mean_activations
from .reading.teacher_forcing import Forced
from .vectors.injection import Steering, injected
from .vectors.steering_vectors import Point
from .weights.known import DEFAULT_MODEL, model_path
from .weights.quiet import without_loading_bars

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .generation.requests import Completion, Request


class SteeredModel:
    """A Hugging Face causal language model with its tokenizer, and hooks for steering.

    Several threads may call ``generate`` and ``stream``: calls take turns, those of ``stream`` a
    token at a time.

    Attributes:
        name: As it was asked for.
        hf: The Hugging Face model, frozen and in evaluation mode; its weights never change here.
        tokenizer: Its tokenizer.
        parts: Its decoder and layers.
        lock: Held by whoever generates.

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
    ) -> None:
        self.name = name or hf.config.model_type
        self.hf = hf.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.parts: Parts = parts_of(hf)
        self.lock = threading.RLock()
        self._encoder_name = encoder

    @classmethod
    def from_pretrained(
        cls,
        name: str = DEFAULT_MODEL,
        *,
        dtype: torch.dtype | str | None = None,
        device: str | None = None,
        encoder: str = DEFAULT_ENCODER,
    ) -> SteeredModel:
        """Load a model that trimtab can fetch by itself, a hub id, or a local folder.

        Args:
            name: See ``trimtab models list`` for the first kind.
            dtype: Default: bfloat16.
            device: Default: a GPU where there is one.
            encoder: The sentence encoder for keys and queries.

        Raises:
            TrimtabError: The model cannot be found, fetched or read.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = model_path(name)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            with without_loading_bars():
                hf = AutoModelForCausalLM.from_pretrained(path, dtype=dtype or torch.bfloat16)
            tokenizer = AutoTokenizer.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise TrimtabError(
                f"cannot load the model {name!r}: expected a name from `trimtab models list`, a "
                f"hub id that can be reached or a local folder; {str(error).splitlines()[0]}"
            ) from error
        hf.to(device)  # type: ignore[arg-type]  # transformers' wrapper hides nn.Module's types
        return cls(hf, tokenizer, name=name, encoder=encoder)

    @property
    def device(self) -> torch.device:
        """Where the decoder's inputs go."""
        return next(self.parts.decoder.parameters()).device

    @property
    def layer_count(self) -> int:
        """How many decoder layers there are."""
        return len(self.parts.layers)

    def layer_at(self, depth: float) -> int:
        """The layer at a relative depth from 0 to 1; the paper's 23 of 32 is 0.72."""
        return min(int(depth * self.layer_count), self.layer_count - 1)

    @cached_property
    def encoder(self) -> Encoder:
        """The sentence encoder, loaded when first asked for."""
        with self.lock:
            return load_encoder(self._encoder_name)

    @cached_property
    def fingerprint(self) -> str:
        """What tells this model's activations from another's: its shape and some of its weights.

        The same for every dtype that it is loaded in.
        """
        config = self.hf.config.get_text_config()
        digest = hashlib.sha256(
            repr(
                (config.model_type, config.num_hidden_layers, config.hidden_size, config.vocab_size)
            ).encode()
        )
        for layer in (self.parts.layers[0], self.parts.layers[-1]):
            for parameter in layer.block.parameters():
                # A few numbers of each matrix, rounded to bfloat16: loading dtypes agree on them.
                sample = parameter.detach().flatten()[:16].to(torch.bfloat16).float().cpu()
                digest.update(sample.numpy().tobytes())
        return digest.hexdigest()[:16]

    def check_fingerprint(self, fingerprint: str, what: str) -> None:
        """Refuse vectors that were read from another model.

        Raises:
            TrimtabError: The fingerprints differ.
        """
        if fingerprint != self.fingerprint:
            raise TrimtabError(
                f"{what} was built with another model (fingerprint {fingerprint}) than the one "
                f"loaded, {self.name} ({self.fingerprint}); load that model or build it again"
            )

    @contextmanager
    def steered(
        self,
        rows: Sequence[Steering | None],
        *,
        prompt_lengths: Sequence[int] | None = None,
    ) -> Iterator[None]:
        """Steer every forward pass that this thread makes inside the context, one row each.

        See ``trimtab.steering.vectors.injection.injected`` for the arguments and errors.
        """
        for row in rows:
            if row is not None and row.fingerprint is not None:
                self.check_fingerprint(row.fingerprint, "the steering")
        with injected(self.parts, rows, prompt_lengths):
            yield

    def prompt_tokens(self, messages: Sequence[Any], tools: Sequence[Any] = ()) -> tuple[int, ...]:
        """The chat prompt as token ids, up to where the assistant's answer starts."""
        return tuple(tokenize(self.tokenizer, render(self.tokenizer, messages, tools)))

    def forced(self, exchange: Exchange) -> Forced:
        """An exchange as token ids."""
        return Forced(
            self.prompt_tokens(exchange.messages, exchange.tools),
            tuple(tokenize(self.tokenizer, exchange.answer)),
        )

    def mean_activations(
        self,
        exchanges: Sequence[Exchange],
        points: Sequence[Point],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Activations averaged over each answer's tokens: ``(exchanges, points, hidden_size)``.

        See ``trimtab.steering.reading.capture.mean_activations``.
        """
        forced = [self.forced(exchange) for exchange in exchanges]
        return mean_activations(self.parts, forced, points, progress=progress)

    def logits(self, hidden: Tensor) -> Tensor:
        """From the decoder's last hidden states to the vocabulary, in float32."""
        logits = self.hf.get_output_embeddings()(hidden).float()
        cap = getattr(self.hf.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

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
    ) -> list[Completion]:
        """Answer requests, each with its own steering; see ``steering.generation``."""
        from .generation.requests import generate

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
            )

    def stream(self, request: Request, **options: Any) -> Generator[str, None, Completion]:
        """Answer one request piece by piece; see ``steering.generation``."""
        from .generation.requests import stream

        return stream(self, request, **options)
