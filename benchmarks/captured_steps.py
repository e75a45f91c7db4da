"""On a GPU, at an 8B model's shape: captured steps beside transformers' ``generate``.

The weights are random: what a step costs does not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.protocol import Benchmark, Figure, Missing, Setting, interleaved, ratio
from benchmarks.speed_prompts import by_transformers, fresh, random_steering, requests
from trimtab.steering import SteeredModel, Steering
from trimtab.steering.generation.generate import generate


def run(setting: Setting) -> Iterator[Figure]:
    if not torch.cuda.is_available():
        raise Missing("it needs a GPU")
    model = _llama_8b(setting)
    tokens = setting.size(96, 16)
    layers = {
        "unsteered": [],
        "steered at one layer": [model.layer_at(0.72)],
        "steered at all layers": list(range(model.layer_count)),
    }
    for rows, aim in ((1, 2.5), (8, 1.8), (48, 1.0)):
        ways = {"generate": lambda rows=rows: by_transformers(model, fresh(rows), tokens)}
        for name, where in layers.items():
            steerings = [
                random_steering(model, where, seed=row) if where else None for row in range(rows)
            ]
            ways[name] = partial(_answer, model, steerings, tokens)
        times = interleaved(ways, setting.repetitions)
        for name in layers:
            title = f"generate / ours, batch {rows}, {name}"
            yield ratio(title, times, "generate", name, at_least=aim, per=tokens)


def _answer(model: SteeredModel, steerings: list[Steering | None], tokens: int) -> None:
    generate(model, requests(fresh(len(steerings)), steerings), max_new_tokens=tokens)
    torch.cuda.synchronize()


def _llama_8b(setting: Setting) -> SteeredModel:
    """Random weights in Llama-3.1-8B's shape, in bfloat16, behind the setting's tokenizer."""
    tokenizer = setting.model().tokenizer
    config = LlamaConfig(
        vocab_size=max(128_256, len(tokenizer)),
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.device("cuda"):
        hf = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    return SteeredModel(hf, tokenizer)


BENCHMARK = Benchmark("captured", "On a GPU, captured steps beside transformers' generate.", run)
