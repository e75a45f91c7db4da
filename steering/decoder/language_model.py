"""The language model that reading, generation and dictionaries take; ``SteeredModel`` is one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import TrimtabError
from ..prompts.beginning import INSTRUCTIONS, beginning
from ..prompts.marks import CALL_MARKS
from ..prompts.render import render, tokenize
from ..weights.int8 import INT8, is_quantised
from .caches import holds_keys_only
from .checks import check_kind, checked_parts
from .devices import execution_device, weights_of
from .families import Parts
from .prefix_files import PrefixFiles
from .prefixes import Prefixes, common
from .turns import Turns
from .vocabulary import logits_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BEGINNINGS = 64  # of prompts, whose tokens are remembered


class LanguageModel:
    """A Hugging Face causal language model with its tokenizer, taken apart.

    Args:
        hf: The model; it is frozen and set to evaluation mode.
        tokenizer: Its tokenizer.
        name: What messages call it; empty takes the model type.
        prefix_folder: Where beginnings of prompts are kept for the next process: instructions and
            tools, never what a user said. None keeps them in memory alone.

    Attributes:
        name: As it was asked for.
        hf: The Hugging Face model, frozen and in evaluation mode; its weights never change here.
        tokenizer: Its tokenizer.
        parts: Its decoder and layers.
        lock: Held by whoever generates; threads get it in the order in which they ask.

    Raises:
        TrimtabError: The model cannot be steered; the line says why.
    """

    def __init__(
        self,
        hf: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str = "",
        prefix_folder: Path | None = None,
    ) -> None:
        check_kind(hf)
        self.name = name or hf.config.model_type
        self.hf = hf.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.parts: Parts
        self.parts, self._head = checked_parts(hf)
        self.lock = Turns()
        spread = len(set(getattr(hf, "hf_device_map", {"": 0}).values())) > 1
        files = None if prefix_folder is None or spread else PrefixFiles(prefix_folder, hf)
        self._prefixes = Prefixes(files=files)
        self._prefixes_of = (self.device, self.parts.decoder.dtype)
        self._beginnings: dict[str, tuple[int, ...]] = {}
        self._words: dict[int, str] = {}

    @property
    def device(self) -> torch.device:
        """Where the decoder's inputs go."""
        return execution_device(self.parts.decoder)

    @property
    def layer_count(self) -> int:
        """How many decoder layers there are."""
        return len(self.parts.layers)

    def layer_at(self, depth: float) -> int:
        """The layer at a relative depth from 0 to 1; the paper's 23 of 32 is 0.72."""
        return min(int(depth * self.layer_count), self.layer_count - 1)

    @property
    def prefixes(self) -> Prefixes:
        """The beginnings of prompts that ran last, with what they left in the cache."""
        now = (self.device, self.parts.decoder.dtype)
        # Another adapter may be active than last time, or the model was moved.
        if hasattr(self.hf, "peft_config") or now != self._prefixes_of:
            self._prefixes, self._prefixes_of = Prefixes(), now
        return self._prefixes

    def kept_beginning(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        prompt: Sequence[int],
    ) -> int:
        """How many of a prompt's first tokens may be kept for the next process.

        Args:
            messages: What the prompt was made from.
            tools: The same.
            prompt: Its tokens.
        """
        if self.prefixes.files is None or not holds_keys_only(self.hf.config):
            return 0
        system = [*takewhile(lambda message: message["role"] in INSTRUCTIONS, messages)]
        asked = repr((system, tools))
        known = self._beginnings.get(asked)
        if known is None:
            known = beginning(self.tokenizer, system, tools)
            if len(self._beginnings) >= _BEGINNINGS:
                self._beginnings.clear()
            self._beginnings[asked] = known
        return common(known, prompt)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        declared = getattr(getattr(self.hf, "generation_config", None), "eos_token_id", None)
        ends = [*declared] if isinstance(declared, list | tuple) else [declared]
        ends.append(self.tokenizer.eos_token_id)
        return tuple(dict.fromkeys(end for end in ends if end is not None))

    @cached_property
    def hidden_tokens(self) -> frozenset[int]:
        """Special tokens, which no answer's text shows; the marks of tool calls are not among them.

        Some tokenizers count those marks as special, but a call is read by them.
        """
        tokenizer = self.tokenizer
        special = {n for n, token in tokenizer.added_tokens_decoder.items() if token.special}
        marks = {tokenizer.get_added_vocab().get(mark) for mark in CALL_MARKS}
        return frozenset((special | set(tokenizer.all_special_ids)) - marks)

    def word_of(self, token: int) -> str:
        """What a token writes, without the space before it."""
        known = self._words.get(token)
        if known is None:
            written = self.tokenizer.convert_ids_to_tokens(token) or ""
            known = self._words[token] = str(written).lstrip("\u0120\u2581 ") or str(written)
        return known

    @cached_property
    def fingerprint(self) -> str:
        """What tells this model's activations from another's: its shape and some of its weights.

        The same for every precision that it is loaded in.
        """
        config = self.hf.config.get_text_config()
        digest = hashlib.sha256(
            repr(
                (config.model_type, config.num_hidden_layers, config.hidden_size, config.vocab_size)
            ).encode()
        )
        for layer in (self.parts.layers[0], self.parts.layers[-1]):
            for weights in weights_of(layer.block):
                # A few numbers of each matrix, rounded to bfloat16: loading dtypes agree on them.
                sample = weights.flatten()[:16].to(torch.bfloat16).float().cpu()
                digest.update(sample.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def precision(self) -> str:
        """What the layers multiply in: ``int8``, or the data type, such as ``torch.float32``.

        Models of one fingerprint make different numbers in different precisions.
        """
        return INT8 if is_quantised(self.parts.decoder) else str(self.hf.dtype)

    def configuration(self) -> dict[str, str]:
        """What tells a model from others that would give other results; plain data."""
        return {"name": self.name, "fingerprint": self.fingerprint, "dtype": self.precision}

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

    def prompt_tokens(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[int, ...]:
        """The chat prompt as token ids, up to where the assistant's answer starts."""
        return self.tokens_of(render(self.tokenizer, messages, tools))

    def tokens_of(self, text: str) -> tuple[int, ...]:
        """The token ids of a rendered prompt, or of what follows one.

        Raises:
            TrimtabError: The model has no embedding for one of them.
        """
        tokens = tuple(tokenize(self.tokenizer, text))
        size = self._embedded
        if size is not None and (beyond := [token for token in tokens if token >= size]):
            written = self.tokenizer.convert_ids_to_tokens(beyond[0])
            raise TrimtabError(
                f"the text holds {written!r}, token {beyond[0]} of the tokenizer, but the model "
                f"has embeddings for {size} tokens; use the model's own tokenizer, or resize its "
                "embeddings (resize_token_embeddings) and train them"
            )
        return tokens

    @cached_property
    def _embedded(self) -> int | None:
        """How many tokens have an embedding; None where it is not told."""
        size = getattr(self.hf.get_input_embeddings(), "num_embeddings", None)
        return size if isinstance(size, int) else None

    def logits(self, hidden: Tensor) -> Tensor:
        """From the decoder's last hidden states to the vocabulary, in float32.

        Scaled and capped as the model itself does.
        """
        return logits_of(self._head, hidden)
