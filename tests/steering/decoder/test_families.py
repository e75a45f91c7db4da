import pytest
import torch
from torch import nn
from transformers import (
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    StableLmConfig,
    StableLmForCausalLM,
)

from trimtab import TrimtabError
from trimtab.steering.decoder.families import parts_of, recognise
from trimtab.steering.decoder.sublayers import first_tensor

IDS = torch.arange(5, 17)[None]


def recorded(modules: dict[str, nn.Module], model: PreTrainedModel) -> dict[str, torch.Tensor]:
    kept = {}
    handles = [
        module.register_forward_hook(
            lambda m, a, out, name=name: kept.__setitem__(name, first_tensor(out))
        )
        for name, module in modules.items()
    ]
    with torch.inference_mode():
        model(IDS)
    for handle in handles:
        handle.remove()
    return kept


def test_declared_modules_add_up_to_what_the_layer_adds(any_family: PreTrainedModel) -> None:
    parts = parts_of(any_family)
    assert len(parts.layers) == 4
    third = parts.layers[2]
    before = parts.layers[1].block
    modules = {"attn": third.attention.module, "mlp": third.mlp.module}
    kept = recorded({"in": before, **modules, "out": third.block}, any_family)
    torch.testing.assert_close(kept["in"] + kept["attn"] + kept["mlp"], kept["out"])
    assert kept["attn"].norm() > 0 and kept["mlp"].norm() > 0


def test_structure_alone_finds_what_is_declared(any_family: PreTrainedModel) -> None:
    found_parts, declared_parts = recognise(any_family), parts_of(any_family)
    assert not found_parts.declared and declared_parts.declared
    assert found_parts.path == declared_parts.path
    names = ("found", "declared")
    for which in ("attention", "mlp"):
        pair = (found_parts.layers[1], declared_parts.layers[1])
        kept = recorded(
            dict(zip(names, (getattr(p, which).module for p in pair), strict=True)), any_family
        )
        torch.testing.assert_close(kept["found"], kept["declared"])


def test_an_undeclared_family_is_recognised() -> None:
    config = StableLmConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4,
    )  # fmt: skip
    parts = parts_of(StableLmForCausalLM(config).eval())
    assert type(parts.layers[0].attention.module).__name__ in ("StableLmAttention", "Dropout")
    assert type(parts.layers[0].mlp.module).__name__ in ("StableLmMLP", "Dropout")


def test_a_family_that_does_not_add_up_is_refused() -> None:
    # OpenAI's first GPT norms the stream itself after each sub-layer.
    config = OpenAIGPTConfig(n_embd=32, n_head=4, n_layer=2, vocab_size=64)
    with pytest.raises(
        TrimtabError, match=r"family 'openai-gpt' is not known: its layers norm .*declare"
    ):
        parts_of(OpenAIGPTLMHeadModel(config).eval())
