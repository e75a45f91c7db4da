"""Where each model family keeps its decoder layers, and what each sub-layer adds.

A family is one small declaration. To add one, add a line to ``FAMILIES``; a model that is not
listed is recognised by structure when the residual identity holds (see ``find_family``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...errors import TrimtabError


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
    """One decoder layer with the modules whose outputs it adds up."""

    block: nn.Module
    attention: nn.Module
    mlp: nn.Module


@dataclass(frozen=True)
class Parts:
    """A model's decoder and its layers, found by its family's declaration."""

    decoder: PreTrainedModel
    layers: tuple[Layer, ...]


def parts_of(model: nn.Module, family: Family | None = None) -> Parts:
    """Find the decoder and the layers of a causal language model, also under a PEFT adapter.

    Raises:
        TrimtabError: The family is unknown and its structure is not recognised.
    """
    # PEFT's wrapper has this method; nn.Module's types do not know it.
    inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    family = family or FAMILIES.get(inner.config.model_type) or find_family(inner)
    return _parts(inner, family)


def _parts(model: nn.Module, family: Family) -> Parts:
    blocks = model.get_submodule(family.layers)
    assert isinstance(blocks, nn.ModuleList)
    decoder = model.get_submodule(family.decoder)
    assert isinstance(decoder, PreTrainedModel)
    return Parts(
        decoder,
        tuple(
            Layer(b, b.get_submodule(family.attention), b.get_submodule(family.mlp)) for b in blocks
        ),
    )


def first_tensor(output: Tensor | tuple[Any, ...]) -> Tensor:
    """The hidden states of a module's output, which some modules return in a tuple."""
    return output[0] if isinstance(output, tuple) else output


def find_family(model: nn.Module) -> Family:
    """Recognise an undeclared family by the residual identity.

    In a pre- or post-norm decoder, a layer's output is its input plus what attention adds plus
    what the MLP adds. Every pair of child modules is tried on a few tokens; the last pair in
    the order of execution for which the sum is right tells the sites.

    Raises:
        TrimtabError: No list of layers, or no pair of modules that adds up.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    for path, blocks in _layer_lists(model):
        block = blocks[len(blocks) // 2]
        with _recording(block) as outputs, torch.inference_mode():
            model(input_ids=torch.arange(1, 6, device=next(model.parameters()).device)[None])
        before, after = outputs.pop("input"), outputs.pop("output")
        added = (after - before).float()
        for (first, a), (second, b) in itertools.combinations(reversed(outputs.items()), 2):
            if a.shape == b.shape == added.shape and _close(a + b, added):
                return Family(path, attention=second, mlp=first)
    raise TrimtabError(
        f"the model family {model_type!r} is not known, and no two sub-modules of its layers add "
        "up to what a layer adds; declare it in trimtab.steering.FAMILIES: the path to "
        "its layers, and in a layer the modules whose outputs attention and the MLP add"
    )


def _close(total: Tensor, added: Tensor) -> bool:
    return bool((total.float() - added).norm() <= 0.02 * added.norm())


def _layer_lists(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    depth = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth and "." in path:
            yield path, module


@contextmanager
def _recording(block: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record a layer's input and output and every child's output, in the order of execution."""
    outputs: dict[str, Tensor] = {}

    def keep_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        outputs["input"] = args[0] if args else kwargs["hidden_states"]

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(first_tensor(output), Tensor):
                outputs[name] = first_tensor(output)

        return hook

    handles = [block.register_forward_pre_hook(keep_input, with_kwargs=True)]
    handles += [child.register_forward_hook(keep(name)) for name, child in block.named_children()]
    handles.append(block.register_forward_hook(keep("output")))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
