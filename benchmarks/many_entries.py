"""What a large dictionary costs a step: the request is embedded, entries picked, a call begun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.constrained_decoding import requests
from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from trimtab.agent.shop.settings import TOOL_CHOICE
from trimtab.steering import SteeredModel, SteeringDictionary
from trimtab.steering.dictionaries.steer import steer_by
from trimtab.steering.generation.generate import generate
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of


def dictionary(model: SteeredModel, user: str, entries: int) -> SteeringDictionary:
    """Random entries, at the points of the shop's settings."""
    draws = torch.Generator().manual_seed(0)
    points = points_of(TOOL_CHOICE.layers(model), TOOL_CHOICE.sites)
    size = model.hf.config.get_text_config().hidden_size
    keys = torch.randn(entries, model.encoder.encode(["x"]).shape[1], generator=draws)
    return SteeringDictionary(
        user_id=user,
        fingerprint=model.fingerprint,
        points=points,
        encoder_name=model.encoder.name,
        keys_from=TOOL_CHOICE.keys,
        entries=[Entry(str(n), str(n), "", "response", n) for n in range(entries)],
        keys=torch.nn.functional.normalize(keys),
        vectors=1e-4 * torch.randn(entries, len(points), size, generator=draws),
    )


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    sizes = {"10": 10, "10,000": 10_000}
    held = {name: dictionary(model, name, size) for name, size in sizes.items()}
    steer = steer_by(held, TOOL_CHOICE, model=model)
    [asked] = requests(1)

    def step(name: str) -> None:
        said = str(asked.messages[-1]["content"])
        query = model.encoder.encode([said])[0]
        request = replace(asked, steering=steer(name, query))
        generate(model, [request], max_new_tokens=setting.size(64, 16))

    times = interleaved({name: lambda name=name: step(name) for name in sizes}, setting.repetitions)
    title = "a step with 10,000 entries / with 10"
    yield ratio(title, times, "10,000", "10", at_most=1.05)


BENCHMARK = Benchmark("entries", "What a large dictionary costs a step.", run)
