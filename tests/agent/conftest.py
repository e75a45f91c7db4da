"""Small tools for a scripted model to call, and small dictionaries."""

import re

import pytest
import torch

from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of
from trimtab.tools import Toolkit, ToolSpec


def find(query: str) -> list[str]:
    """Find products.

    Args:
        query: What to look for.
    """
    return [f"{word}-{n}" for n, word in enumerate(re.findall(r"\w+", query))]


def rate(stars: int) -> str:
    """Rate a product.

    Args:
        stars: From 1 to 5.
    """
    if stars > 5:
        raise ValueError("five is the most")
    return f"rated {stars}"


@pytest.fixture
def toolkit():
    return Toolkit([ToolSpec.from_function(find), ToolSpec.from_function(rate)])


@pytest.fixture
def dictionary(letters):
    """Make a user's dictionary whose keys are the given texts, entry n at time n."""

    def make(user_id, *texts):
        points = points_of([1], ["block"])
        return SteeringDictionary(
            user_id=user_id,
            fingerprint="f",
            points=points,
            encoder_name="letters",
            entries=[
                Entry(f"{user_id}-{n}", text, "an answer", "response", n)
                for n, text in enumerate(texts)
            ],
            keys=letters.encode(texts),
            vectors=torch.stack([torch.full((1, 4), float(n + 1)) for n in range(len(texts))]),
        )

    return make


TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tiny():
    """A small Qwen of random weights with a byte-level tokenizer that knows the marks of calls."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    from trimtab.steering import SteeredModel

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    )
    inner.train_from_iterator(['{"name": "search", "arguments": {"query": "lamp"}}'] * 3, trainer)
    inner.add_tokens([AddedToken("<tool_call>"), AddedToken("</tool_call>")])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE
    config = transformers.Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.3,
    )
    torch.manual_seed(1)
    hf = transformers.Qwen2ForCausalLM(config)
    return SteeredModel(hf, tokenizer, name="tiny")
