"""From hidden states to the vocabulary, by the model's own code.

Families scale, cap and correct their logits in their own ways. So the model's own forward pass
runs here, on a shallow copy that hands it the hidden states in the place of its decoder's.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast


class _Output(BaseModelOutputWithPast):
    """Hidden states, and None for whatever else a family's output may hold."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Given(nn.Module):
    """Stands where the decoder does and returns the embeddings that it is given.

    Args:
        real: The module in whose place it stands.
        path: From there to the decoder; empty where it is the decoder.
    """

    def __init__(self, real: nn.Module, path: str) -> None:
        super().__init__()
        vars(self)["_real"] = real  # no sub-module: moving this one leaves that one alone
        first, _, rest = path.partition(".")
        if first:
            self._modules[first] = _Given(real.get_submodule(first), rest)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(vars(self)["_real"], name)  # such as a number that logits are scaled by

    def forward(self, *args: Any, inputs_embeds: Tensor, **kwargs: Any) -> Any:
        return _Output(last_hidden_state=inputs_embeds)


def vocabulary_of(model: nn.Module, decoder: str) -> nn.Module:
    """A module from hidden states to logits that shares the model's weights.

    Args:
        model: The causal language model.
        decoder: The dotted path of its decoder.
    """
    head = copy.copy(model)
    # accelerate and PEFT put a forward pass into the instance, which is bound to the whole model.
    for name in ("forward", "_hf_hook", "_old_forward"):
        vars(head).pop(name, None)
    vars(head)["_modules"] = dict(model._modules)
    first, _, rest = decoder.partition(".")
    head._modules[first] = _Given(model.get_submodule(first), rest)
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        vars(head)[hooks] = type(vars(head)[hooks])()
    return head


def logits_of(head: nn.Module, hidden: Tensor) -> Tensor:
    """The logits of hidden states ``(..., hidden_size)``, in float32: ``(..., vocabulary)``."""
    # As one row: PyTorch multiplies a strided batch of rows by a copy of the whole vocabulary
    # matrix for each.
    flat = hidden.reshape(1, -1, hidden.shape[-1])
    logits: Tensor = head(inputs_embeds=flat, use_cache=False).logits
    return logits.reshape(*hidden.shape[:-1], -1).float()
