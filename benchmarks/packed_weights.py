"""What packed weights save a pass of the layers and the vocabulary on a processor."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch

from benchmarks.protocol import Benchmark, Figure, Missing, Setting, interleaved
from trimtab.steering.weights.loading import load_causal_lm
from trimtab.steering.weights.packed import is_packed


@torch.inference_mode()
def run(setting: Setting) -> Iterator[Figure]:
    packed = setting.model().hf
    if not is_packed(packed):
        raise Missing("it is for float32 on x86 processors, with memory for a copy of the weights")
    plain, _ = load_causal_lm(setting.model_name, dtype="float32", device="cpu")
    for rows, tokens in ((1, 1), (8, 1), (48, 1), (1, 512)):
        asked = torch.randint(1000, 2000, (rows, tokens))
        ways = {
            name: lambda model=model, asked=asked: model(
                input_ids=asked, use_cache=False, logits_to_keep=1
            )
            for name, model in (("packed", packed), ("plain", plain))
        }
        times = interleaved(ways, setting.size(7, 1))
        sides = [statistics.median(times[name]) * 1000 for name in ways]
        yield Figure(
            f"a pass of {rows} x {tokens} tokens, packed weights / plain",
            sides[0] / sides[1],
            at_most=1.05,
            detail=f"{sides[0]:,.1f} ms / {sides[1]:,.1f} ms",
        )


BENCHMARK = Benchmark("packed", "What packed weights save a processor.", run)
