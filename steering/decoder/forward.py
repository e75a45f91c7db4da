"""One forward pass of a decoder over rows of unequal length, after what their cache holds.

Rows lie side by side, padded under a mask of 0. A token's position is the number of real ones
before it in its row, wherever the padding is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Cache, PreTrainedConfig, PreTrainedModel

from .attention import grouped
from .caches import holds_keys_only
from .devices import execution_device
from .hooks import own_pass
from .kernels import without_cudnn_attention


def padded(
    sequences: Sequence[Sequence[int]], *, left: bool, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Token ids and mask of shape ``(rows, longest)``; padding is token 0 under mask 0.

    Where nothing is padded, the token ids are all that is copied to the device.
    """
    longest = max(len(sequence) for sequence in sequences)
    if all(len(sequence) == longest for sequence in sequences):
        tokens = torch.tensor([list(sequence) for sequence in sequences], dtype=torch.long)
        tokens = tokens.reshape(len(sequences), longest).to(device)
        return tokens, torch.ones_like(tokens)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
    real = torch.zeros_like(tokens)
    for row, sequence in enumerate(sequences):
        where = slice(longest - len(sequence), longest) if left else slice(0, len(sequence))
        tokens[row, where] = torch.tensor(sequence, dtype=torch.long)
        real[row, where] = 1
    return tokens.to(device), real.to(device)


def run(decoder: PreTrainedModel, tokens: Tensor, mask: Tensor, cache: Cache) -> Tensor:
    """Run tokens and append them to the cache.

    Args:
        decoder: The module that runs the layers and stops short of the vocabulary.
        tokens: Token ids, shape ``(rows, tokens)``.
        mask: 1 for real tokens, shape ``(rows, cached + tokens)``.
        cache: What the tokens before left there.

    Returns:
        The last hidden states, shape ``(rows, tokens, hidden_size)``.
    """
    device = execution_device(decoder)
    mask = mask.to(device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    with own_pass(), without_cudnn_attention(), grouped(decoder):
        hidden: Tensor = decoder(
            input_ids=tokens.to(device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    return hidden


def context_of(config: PreTrainedConfig) -> int | None:
    """How many tokens a prompt and its answer may have together; None where it is not told."""
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) else None


def window_passed(config: PreTrainedConfig, longest: int) -> bool:
    """Whether no padding may lie between the tokens of a row of ``longest`` tokens.

    A layer that looks back only so far counts it as distance; a state of linear attention or of a
    convolution takes it in.
    """
    if not holds_keys_only(config):
        return True
    config = config.get_text_config()
    if set(getattr(config, "layer_types", None) or ["unknown"]) == {"full_attention"}:
        return False
    windows = [getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size")]
    return any(window is not None and longest > window for window in windows)
