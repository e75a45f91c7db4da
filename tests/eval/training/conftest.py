"""Tiny models and samples of random tokens."""

import random

import pytest
import torch
import transformers

from trimtab.eval.training.examples import Example
from trimtab.steering.decoder.language_model import LanguageModel

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


class Words:
    """All that training asks of a tokenizer."""

    eos_token_id = 2


@pytest.fixture(scope="session")
def language_model() -> LanguageModel:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SHAPE, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    return LanguageModel(transformers.LlamaForCausalLM(config).eval(), Words())  # type: ignore[arg-type]


@pytest.fixture
def causal():
    """Make a tiny model of a family; None is GPT-2's shape."""

    def make(family: str, shape: dict | None) -> LanguageModel:
        gpt2 = {"vocab_size": 96, "n_embd": 32, "n_inner": 64, "n_layer": 4, "n_head": 4}
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(
            **(gpt2 if shape is None else SHAPE | shape)
        )
        ending = "LMHeadModel" if shape is None else "ForCausalLM"
        model = getattr(transformers, family + ending)(config).eval()
        return LanguageModel(model, Words())  # type: ignore[arg-type]

    return make


@pytest.fixture
def examples():
    """Make samples: so many of each owner, each owner with words of their own."""

    def make(counts: list[int], seed: int = 0) -> list[Example]:
        drawn = random.Random(seed)
        return [
            Example(
                owner,
                tuple(drawn.choices(range(5, 90), k=drawn.randint(4, 12))),
                (*drawn.choices(range(5 + 10 * owner, 15 + 10 * owner), k=drawn.randint(3, 8)), 2),
            )
            for owner, count in enumerate(counts)
            for _ in range(count)
        ]

    return make
