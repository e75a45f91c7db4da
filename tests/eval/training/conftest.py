"""Tiny models and samples of random tokens."""

import pytest
import torch
import transformers

from trimtab.steering.decoder.language_model import LanguageModel

from .made import SHAPE, Words, made_examples, tiny_language_model


@pytest.fixture(scope="session")
def language_model() -> LanguageModel:
    return tiny_language_model()


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
    """Make samples."""
    return made_examples
