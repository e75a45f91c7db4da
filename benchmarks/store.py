"""How fast and how large a store of many users is: reads, selects, writes, disk and memory.

Fills a store with random entries in a folder of its own, which is removed at the end, and times
what a personalized service does with it. The defaults take about 7 GB of disk for a while:

    python benchmarks/store.py --entries 1000000
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of

KEY_SIZE = 384
USERS_AT_ONCE = 400


def dictionary(user: int, entries: int, hidden: int, seed: int = 0) -> SteeringDictionary:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + user)
    keys = torch.nn.functional.normalize(torch.randn(entries, KEY_SIZE, generator=generator))
    return SteeringDictionary(
        user_id=f"user-{user:07d}",
        fingerprint="0123456789abcdef",
        points=points_of([21], ["mid", "mlp"]),
        encoder_name="all-MiniLM-L6-v2",
        entries=[
            Entry(
                sample_id=f"user-{user:07d}-sample-{seed}-{n:04d}",
                key=f"Please find me a light rain jacket for trip number {n} of this year.",
                answer='{"name": "search_product_by_query", "arguments": {"query": "rain jacket"}}',
                contrast="response",
                timestamp=1_600_000_000_000 + n,
            )
            for n in range(entries)
        ],
        keys=keys,
        vectors=torch.randn(entries, 2, hidden, generator=generator),
    )


def fill(folder: str, users: int, entries: int, hidden: int, times: dict[str, float]) -> None:
    """In a process of its own, so that its memory is not counted as the readers'."""
    store = SteeringStore(folder)
    start = time.perf_counter()
    for first in range(0, users, USERS_AT_ONCE):
        chunk = range(first, min(first + USERS_AT_ONCE, users))
        store.put(*(dictionary(user, entries, hidden) for user in chunk))
        print(f"\r{chunk.stop:,} of {users:,} users", end="", flush=True)
    print()
    times["fill"] = time.perf_counter() - start
    start = time.perf_counter()
    store.compact()
    times["compact"] = time.perf_counter() - start


def quantiles(action: Callable[[int], object], count: int) -> tuple[float, float]:
    """Median and 99th percentile of the time of one call, in seconds."""
    times = []
    for n in range(count):
        start = time.perf_counter()
        action(n)
        times.append(time.perf_counter() - start)
    q = torch.tensor(times, dtype=torch.float64).quantile(torch.tensor([0.5, 0.99]).double())
    return q[0].item(), q[1].item()


def drop_page_cache(folder: Path) -> None:
    """Ask the system to forget the files, so that they are read from the disk again."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def peak_memory() -> float:
    """In MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def working_folder(chosen: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=chosen, prefix="trimtab-store-") as folder:
        yield Path(folder) / "users"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--per-user", type=int, default=50)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--reads", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    args = parser.parse_args()
    users = args.entries // args.per_user
    chance = random.Random(0)

    table = Table("", "p50, ms", "p99, ms")

    def row(name: str, action: Callable[[int], object], count: int) -> None:
        p50, p99 = quantiles(action, count)
        table.add_row(name, f"{1e3 * p50:.3f}", f"{1e3 * p99:.3f}")

    with working_folder(args.folder) as folder:
        with multiprocessing.get_context("spawn").Manager() as manager:
            times = manager.dict()
            filling = multiprocessing.get_context("spawn").Process(
                target=fill, args=(str(folder), users, args.per_user, args.hidden, times)
            )
            filling.start()
            filling.join()
            took = dict(times)
        disk = size(folder)

        before = peak_memory()
        store = SteeringStore(folder, hot_bytes=64 * 2**20)
        drop_page_cache(folder)
        start = time.perf_counter()
        _ = store["user-0000000"]
        first = time.perf_counter() - start
        strangers = chance.sample(range(1, users), k=min(args.reads, users - 1))
        row("cold get, from the disk", lambda n: store[f"user-{strangers[n]:07d}"], len(strangers))
        reading = peak_memory() - before

        cached = SteeringStore(folder, hot_bytes=0)
        row("cold get, in the page cache", lambda n: cached[f"user-{strangers[n]:07d}"],
            len(strangers))  # fmt: skip
        row("hot get", lambda n: store[f"user-{strangers[-1]:07d}"], args.reads)

        thousand = dictionary(users, 1000, args.hidden)
        store.put(thousand)
        large = store[thousand.user_id]
        queries = [large.keys[n % 1000] for n in range(args.reads)]
        row("hot select, 1,000 entries", lambda n: large.select(queries[n]), args.reads)
        row("the same, before a time",
            lambda n: large.select(queries[n], before=1_600_000_000_900), args.reads)  # fmt: skip
        row("add one entry",
            lambda n: store.add(dictionary(n, 1, args.hidden, seed=1)), 50)  # fmt: skip
        row("population, without one user",
            lambda n: store.population(without=thousand.user_id).mean("response"), 100)  # fmt: skip
        start = time.perf_counter()
        store.forget("user-0000001")
        forgot = time.perf_counter() - start

    console = Console(width=100)
    console.print(
        f"{args.entries:,} entries of {users:,} users, {args.hidden} dimensions x 2 sites"
    )
    console.print(table)
    console.print(
        f"disk {disk / 1e9:.2f} GB, {disk / args.entries:,.0f} bytes an entry; the first get "
        f"{1e3 * first:.0f} ms\n"
        f"memory for reading {reading:,.0f} MB above {before:,.0f} MB, 64 of it for hot users\n"
        f"fill {took['fill']:.0f} s ({args.entries / took['fill']:,.0f} entries a second), "
        f"compact {took['compact']:.1f} s, forget a user {forgot:.1f} s"
    )


if __name__ == "__main__":
    main()
