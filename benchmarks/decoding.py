"""What steering costs a decoded token: at one layer, at all, and with another user in every row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from benchmarks.speed_prompts import fresh, random_steering, requests, story
from trimtab.steering.generation.generate import generate


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    tokens = setting.size(24, 4)
    one = random_steering(model, [model.layer_at(0.72)])
    every = random_steering(model, range(model.layer_count))
    ways = {
        name: partial(generate, model, requests([story()], [steering]), max_new_tokens=tokens)
        for name, steering in {"unsteered": None, "one": one, "all": every}.items()
    }
    times = interleaved(ways, setting.repetitions)
    for name, steered, aim in (("one layer", "one", 1.01), ("all layers", "all", 1.05)):
        title = f"a token steered at {name} / unsteered"
        yield ratio(title, times, steered, "unsteered", at_most=aim, per=tokens)

    prompts = [story(prompt[1]["content"]) for prompt in fresh(8)]
    layer = [model.layer_at(0.72)]
    users = [random_steering(model, layer, seed=row) for row in range(8)]
    ways = {
        name: partial(generate, model, requests(prompts, rows), max_new_tokens=tokens)
        for name, rows in {"8 users": users, "1 user": users[:1] * 8}.items()
    }
    times = interleaved(ways, setting.repetitions)
    title = "8 rows with 8 dictionaries / 8 rows with one"
    yield ratio(title, times, "8 users", "1 user", at_most=1.01, per=tokens)


BENCHMARK = Benchmark("decoding", "What steering costs a decoded token.", run)
