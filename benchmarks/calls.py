"""A steered call that fits its schema, beside ``generate`` writing as many tokens unconstrained.

Transformers has no grammar here: its side writes as many tokens of whatever it likes from the same
prompt, tool descriptions included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.constrained_decoding import TOOLS, requests
from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from benchmarks.speed_prompts import by_transformers, random_steering
from trimtab.steering.decoder.prefixes import Prefixes
from trimtab.steering.generation.generate import generate


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    [asked] = requests(1)
    request = replace(asked, steering=random_steering(model, [model.layer_at(0.72)]))
    limit = setting.size(128, 32)
    [made] = generate(model, [request], max_new_tokens=limit)
    tokens = len(made.tokens)

    def cold() -> None:
        model._prefixes = Prefixes()  # as in a process that has answered nothing yet
        generate(model, [request], max_new_tokens=limit)

    ways = {
        "known": lambda: generate(model, [request], max_new_tokens=limit),
        "generate": lambda: by_transformers(model, [list(request.messages)], tokens, TOOLS),
        "cold": cold,
    }
    times = interleaved(ways, setting.repetitions)
    written = f"{tokens} tokens, {made.forced_tokens} of them forced"
    for way, what, aim in (
        ("known", "the prompt's beginning known", 0.2),
        ("cold", "nothing known", 0.5),
    ):
        title = f"a steered, schema-valid call / generate, {written}, {what}"
        yield ratio(title, times, way, "generate", at_most=aim)


BENCHMARK = Benchmark("calls", "A schema-valid call beside as many tokens of generate.", run)
