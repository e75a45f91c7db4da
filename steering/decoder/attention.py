"""Attention from a few new tokens to a long cache, without a copy of the cache for every head.

Where several query heads share a key-value head, PyTorch's attention on a processor first repeats
the keys and values for each of them; with several new tokens a row, that costs more than all the
rest of the step. Here the query heads of a group are laid end to end instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "trimtab_grouped"


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """What transformers' ``sdpa`` attention computes, up to rounding.

    Args:
        module: The attention module.
        query: ``(batch, heads, tokens, head_size)``.
        key: ``(batch, key_value_heads, cached, head_size)``.
        value: As ``key``.
        attention_mask: ``(batch, 1, tokens, cached)``, true where a token may look.
        dropout: As in ``sdpa``.
        scaling: As in ``sdpa``.
        **kwargs: As in ``sdpa``.

    Returns:
        ``(batch, tokens, heads, head_size)``, and None for the weights.
    """
    batch, heads, tokens, size = query.shape
    groups = heads // key.shape[1]
    # For one new token a processor's attention reads the cache as it is; a GPU's repeats it.
    alone = tokens == 1 and not query.is_cuda
    usual = groups == 1 or alone or attention_mask is None or attention_mask.shape[1] != 1
    if usual or kwargs.get("position_bias") is not None or kwargs.get("softcap") is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    assert attention_mask is not None
    attended = scaled_dot_product_attention(
        query.reshape(batch, heads // groups, groups * tokens, size),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, groups, 1),
        dropout_p=dropout,
        scale=scaling,
    )
    return attended.reshape(batch, heads, tokens, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, grouped_attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)

_inside: WeakKeyDictionary[PreTrainedModel, int] = WeakKeyDictionary()
_changing = threading.Lock()


@contextmanager
def grouped(hf: PreTrainedModel) -> Iterator[None]:
    """Let a model that uses ``sdpa`` attention use ``grouped_attention`` inside the context.

    Several threads may be inside at once; the last one that leaves puts ``sdpa`` back.
    """
    with _changing:
        others = _inside.get(hf, 0)
        # Families that are not built on transformers' interface ask for ``sdpa`` by its name.
        supported = getattr(hf, "_supports_attention_backend", False)
        usable = others > 0 or (supported and hf.config._attn_implementation == "sdpa")
        if usable:
            _inside[hf] = others + 1
            hf.config._attn_implementation = _NAME
    try:
        yield
    finally:
        with _changing:
            if usable:
                _inside[hf] -= 1
                if not _inside[hf]:
                    hf.config._attn_implementation = "sdpa"
