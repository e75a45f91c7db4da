"""Shopping episodes, 8 answers at a time and one, and whether the answers are the same."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from trimtab.envs.shop.environment import ShopEnvironment
from trimtab.envs.shop.records import ShoppingTask
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.eval.runner import evaluate
from trimtab.eval.shop.plan import shop_methods
from trimtab.eval.shop.selection import pick_tasks
from trimtab.eval.shop.task import ShopTask


class NoRecommender:
    """Which products come is no part of what is measured."""

    def recommend(self, sequence: list[str], k: int = 10) -> list[str]:
        return []


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    count = setting.size(24, 3)
    answers: dict[int, list[object]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = generate_bazaar(users=24, products=300)
        shop = ShopEnvironment(world, folder / "shop", recommender=NoRecommender())
        tasks = pick_tasks(world, count, 0)
        methods = shop_methods("zero-shot")
        runs = iter(range(1000))

        def played(tasks: Sequence[ShoppingTask], rows: int) -> None:
            live = 1 if rows == 1 else len(tasks)
            task = ShopTask(model, shop, tasks, cache=folder, max_live=live, batch_size=rows)
            done = evaluate(task, methods, folder / f"run-{next(runs)}")
            assert not any(record.error for record in done.records)
            kept = sorted(done.records, key=lambda record: record.sample_id)
            answers[rows] = [record.output for record in kept]

        played(tasks[:1], 1)  # both ways find the tools' descriptions and the grammar ready
        ways = {"one": lambda: played(tasks, 1), "eight": lambda: played(tasks, 8)}
        times = interleaved(ways, 1, warm=False)
    title = f"{count} episodes one at a time / 8 answers at a time"
    yield ratio(title, times, "one", "eight", at_least=2.5, per=count)
    apart = sum(a != b for a, b in zip(answers[1], answers[8], strict=True))
    yield Figure("episodes whose answers differ between the two", apart, at_most=0)


BENCHMARK = Benchmark("episodes", "Episodes side by side beside one at a time.", run)
