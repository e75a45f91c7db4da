"""What is checked once, when a model is loaded, so that none is ever silently steered wrong.

Every model: its weights are there, it is not compiled, no adapter adds to its prompt, every layer's
modules run once a pass, and the logits that are computed here are numbers, and the model's own. A
family that is not declared also: cached decoding, and rows that are padded on their left, give what
a full pass gives.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...errors import TrimtabError
from .caches import layers_of
from .devices import execution_device, missing_weights
from .families import Parts, base_model, parts_of
from .forward import padded, run
from .recognition import few_tokens
from .vocabulary import logits_of, vocabulary_of

_REMEDY = "use a model of another family, or another version of transformers"


def checked_parts(hf: Any) -> tuple[Parts, nn.Module]:
    """A model's parts, and the module that makes logits of its hidden states.

    Raises:
        TrimtabError: The model cannot be steered; the line says why.
    """
    inner = base_model(hf)
    _check_loaded(inner)
    _check_adapter(hf)
    name = inner.config.model_type
    if getattr(inner.config, "is_encoder_decoder", False):
        raise TrimtabError(
            f"the model family {name!r} has an encoder; expected a model that is a decoder alone"
        )
    try:
        parts = parts_of(hf)
        head = vocabulary_of(inner, parts.path)
        with torch.inference_mode():
            _check_logits(inner, parts, head)
            if not parts.declared:
                _check_cache(parts, head)
    except (TrimtabError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a family's code raises on a few plain tokens
        lines = str(error).strip().splitlines()
        raise TrimtabError(
            f"the model family {name!r} cannot be run on plain tokens alone "
            f"({type(error).__name__}: {lines[0] if lines else ''}); {_REMEDY}"
        ) from error
    return parts, head


def check_kind(hf: Any) -> None:
    """Refuse what is no causal language model of transformers.

    Raises:
        TrimtabError: It is something else.
    """
    if isinstance(hf, nn.Module):
        hf = base_model(hf)
        check_uncompiled(hf, inside=True)
    if not isinstance(hf, PreTrainedModel) or not hf.can_generate():
        raise TrimtabError(
            "expected a causal language model of transformers, such as AutoModelForCausalLM "
            f"loads, got {type(hf).__name__}"
        )


def check_uncompiled(model: nn.Module, *, inside: bool = False) -> None:
    """Refuse a model that ``torch.compile`` has been asked for.

    Compiled code leaves out the hooks that are added after it was traced, and with them steering.

    Args:
        model: The model.
        inside: Whether only the modules inside it count: our own passes call those, and never
            the model as a whole, which ``model.compile()`` compiles in place.

    Raises:
        TrimtabError: The model, or a module of it, is compiled.
    """
    for path, module in model.named_modules():
        if inside and not path and not hasattr(module, "_orig_mod"):
            continue
        wrapped = hasattr(module, "_orig_mod")
        if wrapped or getattr(module, "_compiled_call_impl", None) is not None:
            raise TrimtabError(
                f"{path or 'the model'} is compiled, and compiled code leaves steering out; "
                "expected a model without torch.compile: load it anew, or pass the one that "
                "was compiled"
            )


def _check_loaded(model: nn.Module) -> None:
    missing = missing_weights(model)
    if missing:
        raise TrimtabError(
            f"{len(missing)} weights of the model, such as {missing[0]}, are on the meta device, "
            "which holds no numbers; load them with from_pretrained, or give it a device_map"
        )


def _check_adapter(hf: Any) -> None:
    config: Any = getattr(hf, "active_peft_config", None)
    if getattr(config, "is_prompt_learning", False):
        raise TrimtabError(
            f"the adapter is of PEFT's type {config.peft_type.value}, which puts tokens of its own "
            "before every prompt; expected an adapter that changes weights, such as LoRA, or none"
        )


def _check_logits(model: nn.Module, parts: Parts, head: nn.Module) -> None:
    hidden: list[Tensor] = []
    calls: Counter[nn.Module] = Counter()

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        hidden.append(output[0])

    def count(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        calls[module] += 1

    handles = [parts.decoder.register_forward_hook(keep)]
    sites = {layer.block for layer in parts.layers}
    for layer in parts.layers:
        sites |= {*layer.attention.modules, *layer.mlp.modules}
    handles += [site.register_forward_hook(count) for site in sites]
    try:
        tokens = few_tokens(model).to(execution_device(model))
        own = model.forward(input_ids=tokens, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    name = model.config.model_type  # type: ignore[union-attr]
    if own.isnan().any():
        raise TrimtabError(
            f"the model computes NaN on plain tokens in {str(own.dtype).removeprefix('torch.')}; "
            "its weights are damaged, or too large for the data type: try bfloat16 or float32"
        )
    if any(calls[site] != 1 for site in sites):
        raise TrimtabError(
            f"the model family {name!r} does not run each module of its layers once a pass, where "
            f"hooks are; {_REMEDY}"
        )
    if len(hidden) != 1 or not _alike(logits_of(head, hidden[0]), own, own.dtype):
        raise TrimtabError(
            f"the model family {name!r} makes its logits in a way that is not known; {_REMEDY}"
        )


def _check_cache(parts: Parts, head: nn.Module) -> None:
    """Two rows of unequal length, padded and then a token longer, against full passes of each."""
    decoder = parts.decoder
    ids = few_tokens(decoder, 7)[0].tolist()
    rows = [ids, ids[2:][::-1]]

    def whole(row: list[int]) -> Tensor:
        mask = torch.ones(1, len(row), dtype=torch.long)
        return run(decoder, torch.tensor([row]), mask, layers_of(decoder.config))[0, -1]

    wanted = torch.stack([whole(row) for row in rows])
    tokens, mask = padded([row[:-1] for row in rows], left=True)
    cache = layers_of(decoder.config, room=1)
    run(decoder, tokens, mask, cache)
    last = torch.tensor([row[-1:] for row in rows])
    found = run(decoder, last, torch.cat([mask, mask.new_ones(2, 1)], dim=1), cache)[:, -1]
    if not _alike(logits_of(head, found), logits_of(head, wanted), wanted.dtype):
        raise TrimtabError(
            f"the model family {decoder.config.model_type!r} answers otherwise with a cache, or "
            f"in a padded batch, than in a full pass, which steering rests on; {_REMEDY}"
        )


def _alike(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> bool:
    """Whether logits that were computed in a data type agree up to its rounding."""
    share = 1e-3 if dtype == torch.float32 else 0.1
    difference = (found.float() - wanted.float()).norm()
    return found.shape == wanted.shape and bool(difference <= share * wanted.float().norm())
