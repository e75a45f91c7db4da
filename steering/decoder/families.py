"""Where each model family keeps its decoder layers, and what each sub-layer adds.

A family is one small declaration. To add one, add a line to ``FAMILIES``; a model that is not
listed is recognised by structure when the residual identity holds (see ``recognise``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...errors import TrimtabError
from .devices import execution_device
from .recognition import added_by, few_tokens, recording, residual_scales


@dataclass(frozen=True)
class Family:
    """Dotted paths to the parts of a decoder that steering reads and writes.

    Attributes:
        layers: From the causal language model to its list of decoder layers.
        attention: From a layer to the module whose output attention adds to the residual stream;
            the norm after attention, where the family has one (Gemma 2 and 3, OLMo 2).
        mlp: The same for the MLP.
    """

    layers: str
    attention: str
    mlp: str

    @property
    def decoder(self) -> str:
        """The module that runs the layers and stops short of the vocabulary."""
        return self.layers.rpartition(".")[0]


_LLAMA = Family("model.layers", "self_attn", "mlp")
_NORMED_AFTER = Family("model.layers", "post_attention_layernorm", "post_feedforward_layernorm")

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "smollm3": _LLAMA,
    "phi3": _LLAMA,
    "gemma2": _NORMED_AFTER,
    "gemma3_text": _NORMED_AFTER,
    "gemma3": Family(
        "model.language_model.layers", "post_attention_layernorm", "post_feedforward_layernorm"
    ),
    "olmo2": _NORMED_AFTER,
    "gpt2": Family("transformer.h", "attn", "mlp"),
    "gpt_neox": Family("gpt_neox.layers", "attention", "mlp"),
}


@dataclass(frozen=True)
class Layer:
    """One decoder layer with the modules whose outputs it adds up.

    Attributes:
        block: The layer.
        attention: Its token mixer, or the norm after it.
        mlp: Its MLP, or the norm after it.
        scale: What their outputs are multiplied by before they are added.
    """

    block: nn.Module
    attention: nn.Module
    mlp: nn.Module
    scale: float = 1.0


@dataclass(frozen=True)
class Parts:
    """A model's decoder and its layers.

    Attributes:
        decoder: The module that runs the layers and stops short of the vocabulary.
        layers: Its layers.
        path: Dotted path of the decoder in the causal language model.
        declared: Whether the family is declared; otherwise it was recognised by its structure.
    """

    decoder: PreTrainedModel
    layers: tuple[Layer, ...]
    path: str
    declared: bool


def base_model(model: nn.Module) -> Any:
    """The causal language model itself, also under a PEFT adapter."""
    # PEFT's wrapper has this method; nn.Module's types do not know it.
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def parts_of(model: nn.Module, family: Family | None = None) -> Parts:
    """Find the decoder and the layers of a causal language model, also under a PEFT adapter.

    Raises:
        TrimtabError: The family is unknown and its structure is not recognised.
    """
    inner = base_model(model)
    family = family or FAMILIES.get(inner.config.model_type)
    if family is None:
        return recognise(inner)
    blocks = inner.get_submodule(family.layers)
    decoder = inner.get_submodule(family.decoder)
    assert isinstance(blocks, nn.ModuleList) and isinstance(decoder, PreTrainedModel)
    layers = [
        Layer(b, b.get_submodule(family.attention), b.get_submodule(family.mlp)) for b in blocks
    ]
    return Parts(decoder, tuple(layers), family.decoder, declared=True)


def first_tensor(output: Tensor | tuple[Any, ...]) -> Tensor:
    """The hidden states of a module's output, which some modules return in a tuple."""
    return output[0] if isinstance(output, tuple) else output


def recognise(model: nn.Module) -> Parts:
    """Find the layers of a family that is not declared, and what adds to the residual stream.

    Raises:
        TrimtabError: No list of layers, or a layer in which no pair of modules adds up.
    """
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", type(model).__name__)
    scales = residual_scales(config.get_text_config(decoder=True) if config else None)
    tokens = few_tokens(model).to(execution_device(model))
    for path, blocks in _layer_lists(model):
        decoder = model.get_submodule(path.rpartition(".")[0])
        if not isinstance(decoder, PreTrainedModel):
            continue
        with recording(list(blocks)) as recorded, torch.inference_mode():
            model(input_ids=tokens, use_cache=False)
        found = [added_by(layer, scales) for layer in recorded]
        layers = tuple(
            Layer(b, b.get_submodule(f.attention), b.get_submodule(f.mlp), f.scale)
            for b, f in zip(blocks, found, strict=True)
            if f is not None
        )
        if len(layers) == len(blocks):
            return Parts(decoder, layers, path.rpartition(".")[0], declared=False)
    raise TrimtabError(
        f"the model family {model_type!r} is not known, and no two sub-modules of its layers add "
        "up to what a layer adds; declare it in trimtab.steering.FAMILIES: the path to "
        "its layers, and in a layer the modules whose outputs attention and the MLP add"
    )


def _layer_lists(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    config: Any = model.config
    depth = getattr(config.get_text_config(decoder=True), "num_hidden_layers", None)
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth and "." in path:
            yield path, module
