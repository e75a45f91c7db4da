"""How much a machine has room for."""

from __future__ import annotations

import torch

from ..weights.container import memory
from .caches import bytes_a_token
from .language_model import LanguageModel

MEMORY_SHARE = 0.3
"""Of the free memory, for the keys and values of what goes through a model together."""


def free_memory(device: torch.device) -> int:
    """Bytes that are free now, of the GPU, or of the machine for this process."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return memory().available


def tokens_that_fit(model: LanguageModel, share: float = MEMORY_SHARE) -> int:
    """How many tokens, of all rows together, fit in a share of the memory that is free now."""
    free = free_memory(model.device)
    return max(int(share * free / bytes_a_token(model.hf.config, model.hf.dtype)), 1)
