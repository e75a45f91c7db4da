"""A tiny model and samples of random tokens, the same in every process."""

import os
import random
import signal
from pathlib import Path

import safetensors.torch
import torch
import transformers

from trimtab.eval.training.examples import Example
from trimtab.eval.training.loop import train
from trimtab.eval.training.options import TrainingOptions
from trimtab.eval.training.trainable import LowRankStack
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


def tiny_language_model() -> LanguageModel:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SHAPE, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    return LanguageModel(transformers.LlamaForCausalLM(config).eval(), Words())  # type: ignore[arg-type]


def made_examples(counts: list[int], seed: int = 0) -> list[Example]:
    """So many of each owner, each owner with words of their own."""
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


def trained(model, folder=None, **how):
    """Train with a held-back set; gives the numbers and the held-back losses."""
    numbers = LowRankStack(layers=(1, 2), hidden_size=32, rank=3, positions="answer", owners=1)
    options = TrainingOptions(learning_rate=1e-2, batch_size=3, epochs=2, patience=2)
    held = made_examples([3], seed=9)
    told = train(model, numbers, made_examples([11]), options, held=held, folder=folder, **how)
    return {name: each.detach() for name, each in numbers.numbers.items()}, told.held


def train_until_killed(folder: Path, writes: int) -> None:
    """The first so many writes of what is trained are whole; in the next one the system ends us."""
    whole = safetensors.torch.save_file

    def save_file(tensors, path, metadata=None):
        nonlocal writes
        if not writes:
            Path(path).write_bytes(b"the beginning of a file")
            os.kill(os.getpid(), signal.SIGKILL)
        writes -= 1
        whole(tensors, path, metadata=metadata)

    safetensors.torch.save_file = save_file
    trained(tiny_language_model(), folder, checkpoint_seconds=0)
