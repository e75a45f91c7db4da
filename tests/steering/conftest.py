"""Tiny random models of every supported family, built from the real transformers classes."""

from typing import TYPE_CHECKING

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

if TYPE_CHECKING:
    from trimtab.steering import SteeredModel

VOCABULARY = 128
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_GPT2_SHAPE = {
    "vocab_size": VOCABULARY, "n_embd": 32, "n_inner": 64, "n_layer": 4, "n_head": 4
}  # fmt: skip
_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
FAMILIES = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", _SHAPE),
    "mistral": ("MistralForCausalLM", "MistralConfig", _SHAPE),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _SHAPE),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", _SHAPE | {"head_dim": 8}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", _SHAPE | {"head_dim": 8}),
    "gemma3_text": ("Gemma3ForCausalLM", "Gemma3TextConfig", _SHAPE | {"head_dim": 8}),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", _SHAPE),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", _GPT2_SHAPE),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _SHAPE),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", _SHAPE),
    "smollm3": ("SmolLM3ForCausalLM", "SmolLM3Config", _SHAPE),
}


def tiny_model(family: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    model_class, config_class, shape = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**shape, **_TOKENS)
    return getattr(transformers, model_class)(config).to(dtype).eval()


@pytest.fixture(scope="session", params=FAMILIES)
def any_family(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


@pytest.fixture(scope="session")
def llama() -> PreTrainedModel:
    return tiny_model("llama")


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word: w0, w1, ..., with a plain chat template."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "user:": 3, "assistant:": 4, "system:": 5}
    words |= {f"w{n}": n for n in range(len(words), VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    fast.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + ' </s> ' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    )
    return fast


@pytest.fixture(scope="session")
def tiny_steered(llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> "SteeredModel":
    from trimtab.steering import SteeredModel

    return SteeredModel(llama, tiny_tokenizer, name="tiny-llama")
