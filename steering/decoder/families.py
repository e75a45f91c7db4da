"""Where each model family keeps its decoder layers, and what each sub-layer adds.

A family is one small declaration. To add one, add a line to ``FAMILIES``; a model that is not
listed is recognised by structure when the residual identity holds (see ``recognise``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ...errors import TrimtabError
from .devices import execution_device
from .recognition import added_by, few_tokens, recording, residual_scales, why_unknown
from .sublayers import Sublayer


@dataclass(frozen=True)
class Family:
    """Dotted paths to the parts of a decoder that steering reads and writes.

    Attributes:
        layers: From the causal language model to its list of decoder layers.
        attention: From a layer to the module whose output attention adds to the residual stream;
            the norm after attention, where the family has one (Gemma 2 and 3, OLMo 2). Several
            paths, in the order in which the modules run, where their outputs are added up.
        mlp: The same for the MLP.
        multipliers: By path, the number of the configuration that the module's output is
            multiplied by before it is added.
    """

    layers: str
    attention: str | tuple[str, ...]
    mlp: str | tuple[str, ...]
    multipliers: Mapping[str, str] = field(default_factory=dict)

    @property
    def decoder(self) -> str:
        """The module that runs the layers and stops short of the vocabulary."""
        return self.layers.rpartition(".")[0]


_LLAMA = Family("model.layers", "self_attn", "mlp")
_NORMED_AFTER = Family("model.layers", "post_attention_layernorm", "post_feedforward_layernorm")
_NORMED_AFTER_IN_PARTS = replace(_NORMED_AFTER, layers="model.language_model.layers")
_SHARED_EXPERT = Family(
    "model.layers",
    "self_attn",
    ("block_sparse_moe", "shared_mlp"),
    dict.fromkeys(("self_attn", "block_sparse_moe", "shared_mlp"), "residual_multiplier"),
)

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "smollm3": _LLAMA,
    "phi3": _LLAMA,
    "gemma2": _NORMED_AFTER,
    "gemma3_text": _NORMED_AFTER,
    "gemma3": _NORMED_AFTER_IN_PARTS,
    # After the MLP a layer of Gemma 4 adds an embedding of the token and scales the whole stream.
    "gemma4_text": _NORMED_AFTER,
    "gemma4": _NORMED_AFTER_IN_PARTS,
    "gemma4_unified_text": _NORMED_AFTER,
    "gemma4_unified": _NORMED_AFTER_IN_PARTS,
    "olmo2": _NORMED_AFTER,
    "gpt2": Family("transformer.h", "attn", "mlp"),
    "gpt_neox": Family("gpt_neox.layers", "attention", "mlp"),
    "granitemoeshared": _SHARED_EXPERT,
    "granitemoe_swa": _SHARED_EXPERT,
    "falcon_h1": Family(
        "model.layers",
        ("mamba", "self_attn"),
        "feed_forward",
        {"mamba": "ssm_out_multiplier", "self_attn": "attention_out_multiplier"},
    ),
}


@dataclass(frozen=True)
class Layer:
    """One decoder layer with the sub-layers whose outputs it adds up.

    Attributes:
        block: The layer.
        attention: Its token mixer, or the norm after it.
        mlp: Its MLP, or the norm after it.
    """

    block: nn.Module
    attention: Sublayer
    mlp: Sublayer


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
    config = inner.config.get_text_config(decoder=True)
    layers = [
        Layer(
            b,
            _declared(b, family.attention, family, config),
            _declared(b, family.mlp, family, config),
        )
        for b in blocks
    ]
    return Parts(decoder, tuple(layers), family.decoder, declared=True)


def _declared(
    block: nn.Module, paths: str | tuple[str, ...], family: Family, config: Any
) -> Sublayer:
    """The sub-layer of a layer that lies under some paths; those that hold nothing are left out."""
    found = []
    for path in (paths,) if isinstance(paths, str) else paths:
        parent, _, name = path.rpartition(".")
        module = getattr(block.get_submodule(parent), name)
        if module is not None:
            multiplier = family.multipliers.get(path)
            found.append((module, float(getattr(config, multiplier)) if multiplier else 1.0))
    *before, (module, scale) = found
    return Sublayer(module, scale, tuple(before))


def recognise(model: nn.Module) -> Parts:
    """Find the layers of a family that is not declared, and what adds to the residual stream.

    Raises:
        TrimtabError: No list of layers, or a layer in which no pair of modules adds up.
    """
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", type(model).__name__)
    scales = residual_scales(config.get_text_config(decoder=True) if config else None)
    tokens = few_tokens(model).to(execution_device(model))
    why = "no decoder of its own, which is a model of transformers, holds its layers in a list"
    for path, blocks in _layer_lists(model):
        decoder = model.get_submodule(path.rpartition(".")[0])
        if not isinstance(decoder, PreTrainedModel):
            continue
        with recording(list(blocks)) as recorded, torch.inference_mode():
            model(input_ids=tokens, use_cache=False)
        found = [added_by(layer, scales) for layer in recorded]
        layers = tuple(
            Layer(
                b,
                Sublayer(b.get_submodule(f.attention), f.scale),
                Sublayer(b.get_submodule(f.mlp), f.scale),
            )
            for b, f in zip(blocks, found, strict=True)
            if f is not None
        )
        if len(layers) == len(blocks):
            return Parts(decoder, layers, path.rpartition(".")[0], declared=False)
        if any(layer.calls for layer in recorded):  # not the layers that read images
            why = why_unknown(recorded[found.index(None)])
    raise TrimtabError(
        f"the model family {model_type!r} is not known: {why}; use a model of another family, or "
        "declare this one in trimtab.steering.FAMILIES: the path to its layers, and in a layer the "
        "modules whose outputs attention and the MLP add"
    )


def _layer_lists(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    config: Any = model.config
    depth = getattr(config.get_text_config(decoder=True), "num_hidden_layers", None)
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth and "." in path:
            yield path, module
