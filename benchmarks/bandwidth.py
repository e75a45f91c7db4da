"""How near decoding is to what the machine allows: bytes of weights a token against bandwidth.

A decoded token reads every weight once. On a machine whose memory gives so many bytes a second, no
token can be quicker than its weights' bytes over that; multiplying a matrix by one vector, of
weights too large for any cache, is how fast the machine really reads.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch

from benchmarks.protocol import Benchmark, Figure, Setting, interleaved
from benchmarks.speed_prompts import requests, story
from trimtab.steering.generation.generate import generate

_SIDE = 8192  # a matrix of 268 MB in float32


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    few, many = setting.size(4, 2), setting.size(36, 6)
    # A tied head is read once for the logits; the embedding reads one row a token.
    weights = {id(p): p.numel() * p.element_size() for p in model.hf.parameters()}
    embedding = model.hf.get_input_embeddings().weight
    if model.hf.get_output_embeddings().weight is not embedding:
        weights[id(embedding)] = 0
    size = sum(weights.values())
    matrix = torch.randn(_SIDE, _SIDE, dtype=model.hf.dtype)
    vector = torch.randn(_SIDE, dtype=model.hf.dtype)
    asked = requests([story()], [None])
    times = interleaved(
        {
            "read": lambda: matrix @ vector,
            "few": lambda: generate(model, asked, max_new_tokens=few),
            "many": lambda: generate(model, asked, max_new_tokens=many),
        },
        setting.repetitions,
    )
    read = {name: statistics.median(each) for name, each in times.items()}
    bandwidth = matrix.numel() * matrix.element_size() / read["read"]
    token = (read["many"] - read["few"]) / (many - few)
    floor = size / bandwidth
    yield Figure(
        "a decoded token / its weights' bytes over the measured bandwidth",
        token / floor,
        detail=(
            f"{token * 1000:.1f} ms / {floor * 1000:.1f} ms: {size / 1e9:.2f} GB a token, "
            f"{bandwidth / 1e9:.1f} GB a second"
        ),
    )


BENCHMARK = Benchmark("bandwidth", "How near decoding is to the machine's memory bandwidth.", run)
