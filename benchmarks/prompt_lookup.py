"""What proposing the prompt's own words saves: constrained, steered calls with it and without."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from benchmarks.constrained_decoding import requests
from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from benchmarks.speed_prompts import random_steering
from trimtab.steering import Request, SteeredModel
from trimtab.steering.generation.generate import generate


def steered(model: SteeredModel, rows: int) -> list[Request]:
    """Calls held to their schemas, each steered by vectors of its own."""
    layers = [model.layer_at(0.72)]
    return [
        replace(request, steering=random_steering(model, layers, seed=n))
        for n, request in enumerate(requests(rows))
    ]


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    limit = setting.size(128, 32)
    for rows in (1, 4):
        asked = [steered(model, 3)[2]] if rows == 1 else steered(model, rows)
        ways = {
            name: partial(generate, model, asked, max_new_tokens=limit, lookup=lookup)
            for name, lookup in (("with", True), ("without", False))
        }
        times = interleaved(ways, setting.size(3, 1))
        yield ratio(f"steered calls, {rows} at once: with / without", times, "with", "without")


BENCHMARK = Benchmark("lookup", "What proposing the prompt's own words saves a call.", run)
