"""The package steering-vectors beside ours: what the same vector adds to ``generate``, in one run.

Needs the package (``pip install steering-vectors``), which trimtab does not.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from benchmarks.protocol import Benchmark, Figure, Missing, Setting, interleaved, ratio
from benchmarks.speed_prompts import TINY, by_transformers, story
from trimtab.steering import Point, Steering, SteeringVectors


def run(setting: Setting) -> Iterator[Figure]:
    if importlib.util.find_spec("steering_vectors") is None:
        raise Missing("the package steering-vectors is not installed")
    import torch
    from steering_vectors import SteeringVector

    model = setting.model()
    tokens = setting.size(32, 4)
    layer = model.layer_at(0.72)
    vector = torch.randn(model.hf.config.hidden_size, generator=torch.Generator().manual_seed(0))
    ours = Steering(
        SteeringVectors({Point(layer, "block"): vector}), strength=TINY, positions="all"
    )
    theirs = SteeringVector({layer: vector}, "decoder_block")

    def plain() -> None:
        by_transformers(model, [story()], tokens)

    def by_ours() -> None:
        with model.steered([ours]):
            plain()

    def by_theirs() -> None:
        with theirs.apply(model.hf, multiplier=TINY):
            plain()

    times = interleaved({"plain": plain, "ours": by_ours, "theirs": by_theirs}, setting.repetitions)
    where = "a token of transformers' generate"
    yield ratio(f"{where} steered by ours / unsteered", times, "ours", "plain", per=tokens)
    yield ratio(
        f"{where} steered by steering-vectors / unsteered", times, "theirs", "plain", per=tokens
    )


BENCHMARK = Benchmark("steering-vectors", "The package steering-vectors beside ours.", run)
