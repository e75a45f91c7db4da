"""A steered call that fits its schema, beside ``generate`` writing as many tokens unconstrained.

Transformers has no grammar here: its side writes as many tokens of whatever it likes from the same
prompt, tool descriptions included.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.constrained_decoding import TOOLS, requests
from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from benchmarks.speed_prompts import by_transformers, random_steering
from trimtab.steering.decoder.prefix_files import PrefixFiles
from trimtab.steering.decoder.prefixes import Prefixes
from trimtab.steering.generation.generate import generate


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    [asked] = requests(1)
    request = replace(asked, steering=random_steering(model, [model.layer_at(0.72)]))
    limit = setting.size(128, 32)
    [made] = generate(model, [request], max_new_tokens=limit)
    tokens = len(made.tokens)

    def first_call(folder: Path | None) -> None:
        """As in a process that has answered nothing yet."""
        files = None if folder is None else PrefixFiles(folder, model.hf)
        model._prefixes = Prefixes(files=files)
        model._beginnings.clear()
        generate(model, [request], max_new_tokens=limit)

    with tempfile.TemporaryDirectory() as name:
        ways = {
            "known": lambda: generate(model, [request], max_new_tokens=limit),
            "generate": lambda: by_transformers(model, [list(request.messages)], tokens, TOOLS),
            "cold": lambda: first_call(None),
            "disk": lambda: first_call(Path(name)),
        }
        times = interleaved(ways, setting.repetitions)
    model._prefixes = Prefixes()
    written = f"{tokens} tokens, {made.forced_tokens} of them forced"
    for way, what, aim in (
        ("known", "the prompt's beginning known", 0.2),
        ("disk", "a process's first call, the beginning on disk", 0.5),
        ("cold", "a process's first call, nothing on disk", None),
    ):
        title = f"a steered, schema-valid call / generate, {written}, {what}"
        yield ratio(title, times, way, "generate", at_most=aim)
    yield ratio("a first call, the beginning on disk / nothing on disk", times, "disk", "cold")


BENCHMARK = Benchmark("calls", "A schema-valid call beside as many tokens of generate.", run)
