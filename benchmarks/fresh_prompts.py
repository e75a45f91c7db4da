"""Ours beside transformers' ``generate``: prompts that nothing is known of, 64 tokens each."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from benchmarks.speed_prompts import by_transformers, fresh, requests
from trimtab.steering.generation.generate import generate


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    tokens = setting.size(64, 4)
    for rows in (1, 8):
        ways = {
            "ours": lambda rows=rows: generate(
                model, requests(fresh(rows), [None] * rows), max_new_tokens=tokens
            ),
            "generate": lambda rows=rows: by_transformers(model, fresh(rows), tokens),
        }
        times = interleaved(ways, setting.size(3, 1))
        title = f"ours / generate, fresh prompts, {tokens} tokens, batch {rows}"
        yield ratio(title, times, "ours", "generate", at_most=0.9, per=tokens)


BENCHMARK = Benchmark("fresh", "Ours beside transformers' generate on fresh prompts.", run)
