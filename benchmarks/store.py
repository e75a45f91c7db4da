"""How fast and how large a store of many users is: reads, selects, writes, disk and memory.

Fills stores with random entries in a folder that is removed at the end, and times what a
personalized service does with them. A million entries take about 4 GB of disk for each store:

    python benchmarks/store.py --entries 1000000

With the folder of a checkout of the last release (`git worktree add /tmp/last/trimtab 4016e65`),
its Lance store is measured in the same run; with a URL, so is a PostgreSQL database, which must be
empty and is left filled; `--no-sqlite` leaves the SQLite store out:

    python benchmarks/store.py --last-release /tmp/last --postgresql postgresql://me@/bench

Filling takes many times as long as measuring. `--keep FOLDER` keeps the filled stores, and goes on
with what a run before has filled there, so that both can be done at different times (`--fill-only`
ends before measuring).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

# Only what the last release has under the same names: this file runs on its package too.
from trimtab.steering import Entry, Point, SteeringDictionary, SteeringStore

KEY_SIZE = 384
USERS_AT_ONCE = 400
HOT_BYTES = 64 * 2**20

ROWS = {
    "first get, with opening": "first",
    "cold get, from the disk": "disk",
    "cold get, in the page cache": "cached",
    "hot get": "hot",
    "hot select, of the user's entries": "select",
    "hot select, of 1,000 entries": "select_1000",
    "add one entry": "add",
    "switch a user off or on": "switch",
    "the others' mean": "population",
    "forget a user": "forget",
}


def dictionary(user: int, entries: int, hidden: int, seed: int = 0) -> SteeringDictionary:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + user)
    keys = torch.nn.functional.normalize(torch.randn(entries, KEY_SIZE, generator=generator))
    return SteeringDictionary(
        user_id=f"user-{user:07d}",
        fingerprint="0123456789abcdef",
        points=[Point(21, "mid"), Point(21, "mlp")],
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


def fill(uri: str, users: int, entries: int, hidden: int) -> dict[str, float]:
    store = SteeringStore(uri)
    start = time.perf_counter()
    there = len(store) // USERS_AT_ONCE * USERS_AT_ONCE  # of a run that was cut off
    for first in range(there, users, USERS_AT_ONCE):
        chunk = range(first, min(first + USERS_AT_ONCE, users))
        store.put(*(dictionary(user, entries, hidden) for user in chunk))
        print(f"\r{uri}: {chunk.stop:,} of {users:,} users", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    filled = time.perf_counter()
    store.compact()
    rate = max(users - there, 0) * entries / (filled - start)
    return {"rate": rate, "compact": time.perf_counter() - filled}


def quantiles(action: Callable[[int], object], count: int) -> list[float]:
    """Median and 99th percentile of the time of one call, in milliseconds."""
    times = []
    for n in range(count):
        start = time.perf_counter()
        action(n)
        times.append(1e3 * (time.perf_counter() - start))
    found = torch.tensor(times, dtype=torch.float64).quantile(torch.tensor([0.5, 0.99]).double())
    return list(found.tolist())


def drop_page_cache(folder: Path) -> None:
    """Ask the system to forget the files, so that they are read from the disk again."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def peak_memory() -> float:
    """In MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(uri: str, users: int, entries: int, hidden: int, reads: int) -> dict[str, Any]:
    """Each row's median and 99th percentile in milliseconds, and the memory of reading in MB."""
    chance = random.Random(0)
    sampled = [f"user-{n:07d}" for n in chance.sample(range(users), k=min(reads, users))]
    folder = Path(uri).parent if "://" not in uri else None
    found: dict[str, Any] = {}
    dictionary(0, 1, hidden).select(torch.ones(KEY_SIZE))  # what torch loads late is not ours
    before = peak_memory()
    if folder is not None:
        drop_page_cache(folder)
    opened: list[SteeringStore] = []

    def first(n: int) -> None:
        opened.append(SteeringStore(uri, hot_bytes=HOT_BYTES))
        _ = opened[0]["user-0000000"]

    found["first"] = quantiles(first, 1)
    store = opened[0]
    if folder is not None:
        found["disk"] = quantiles(lambda n: store[sampled[n]], len(sampled))
    found["memory"] = peak_memory() - before

    cached = SteeringStore(uri, hot_bytes=0)
    found["cached"] = quantiles(lambda n: cached[sampled[n]], len(sampled))
    found["hot"] = quantiles(lambda n: store[sampled[-1]], reads)
    queries = torch.nn.functional.normalize(torch.randn(reads, KEY_SIZE))
    found["select"] = quantiles(lambda n: store[sampled[-1]].select(queries[n]), reads)

    thousand = dictionary(users, 1000, hidden)
    store.put(thousand)
    large = store[thousand.user_id]
    found["select_1000"] = quantiles(lambda n: large.select(queries[n]), reads)
    fresh = [dictionary(n, 1, hidden, seed=1) for n in range(50)]
    found["add"] = quantiles(lambda n: store.add(fresh[n]), len(fresh))
    if hasattr(store, "switch"):
        found["switch"] = quantiles(
            lambda n: store.switch(sampled[n // 2 % len(sampled)], enabled=bool(n % 2)), 50
        )
    found["population"] = quantiles(
        lambda n: store.population(without=sampled[n]).mean("response"), min(100, len(sampled))
    )
    start = time.perf_counter()
    store.forget(sampled[0])
    times = 3 if time.perf_counter() - start > 1 else min(50, len(sampled) - 1)
    found["forget"] = quantiles(lambda n: store.forget(sampled[1 + n]), times)
    # As it was, so that a store that is kept can be measured again.
    gone = [int(user.removeprefix("user-")) for user in sampled[: 1 + times]]
    store.put(*(dictionary(user, entries, hidden) for user in gone))
    store.forget(thousand.user_id)
    store.close()
    return found


def size(uri: str, folder: Path) -> int:
    """Bytes on the disk."""
    if "://" in uri:
        import psycopg

        with psycopg.connect(uri) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert row is not None
            return int(row[0])
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def in_process(step: str, uri: str, args: argparse.Namespace, package: Path | None) -> Any:
    """What a step gives in a process of its own, whose memory and package are its own."""
    command = [sys.executable, __file__, "--step", step, "--uri", uri]
    for name in ("entries", "per_user", "hidden", "reads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    environment = dict(os.environ)
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def filled(
    title: str, uri: str, folder: Path, args: argparse.Namespace, package: Path | None
) -> dict[str, float]:
    """How long filling took and what it takes on the disk; from a run before where that is kept."""
    note = None if args.keep is None else args.keep / f"{title}, {args.entries}.json"
    if note is not None and note.exists():
        return dict(json.loads(note.read_text()))
    found: dict[str, float] = in_process("fill", uri, args, package)
    found["bytes"] = size(uri, folder)
    if note is not None:
        note.write_text(json.dumps(found))
    return found


def show(results: dict[str, Any], entries: int, users: int, hidden: int) -> None:
    table = Table("p50 / p99, ms", *results)

    def cells(name: str) -> Iterable[str]:
        for found in results.values():
            yield f"{found[name][0]:.2f} / {found[name][1]:.2f}" if name in found else "-"

    for title, name in ROWS.items():
        table.add_row(title, *cells(name))
    table.add_section()
    for title, number in {
        "disk, GB": lambda found: f"{found['bytes'] / 1e9:.2f}",
        "bytes an entry": lambda found: f"{found['bytes'] / entries:,.0f}",
        "memory for reading, MB": lambda found: f"{found['memory']:,.0f}",
        # Unknown where the last run had nothing to add.
        "fill, entries a second": lambda found: f"{found['rate']:,.0f}" if found["rate"] else "-",
        "compact, s": lambda found: f"{found['compact']:.1f}",
    }.items():
        table.add_row(title, *map(number, results.values()))
    console = Console(width=100)
    console.print(
        f"{entries:,} entries of {users:,} users, {hidden} dimensions x 2 sites; "
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--per-user", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--reads", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the filled stores")
    parser.add_argument("--fill-only", action="store_true", help="measure nothing; with --keep")
    parser.add_argument("--last-release", type=Path, help="a folder with its package `trimtab`")
    parser.add_argument("--postgresql", help="the URL of an empty database")
    parser.add_argument("--no-sqlite", action="store_true")
    parser.add_argument("--step", choices=["fill", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    args = parser.parse_args()
    users = args.entries // args.per_user
    if args.step == "fill":
        print(json.dumps(fill(args.uri, users, args.per_user, args.hidden)))
        return
    if args.step == "measure":
        print(json.dumps(measure(args.uri, users, args.per_user, args.hidden, args.reads)))
        return
    with ExitStack() as stack:
        root = args.keep or Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(dir=args.folder, prefix="trimtab-store-")
            )
        )
        stores: dict[str, tuple[str, Path, Path | None]] = {}
        for title, file, package in (
            ("SQLite", "sqlite/users.db", None),
            ("Lance, the last release", "lance/users", args.last_release),
        ):
            if (title == "SQLite" and not args.no_sqlite) or package is not None:
                place = root / file
                place.parent.mkdir(parents=True, exist_ok=True)
                stores[title] = str(place), place.parent, package
        if args.postgresql:
            stores["PostgreSQL"] = args.postgresql, Path(), None
        found = {
            title: filled(title, *store[:2], args, store[2]) for title, store in stores.items()
        }
        if args.fill_only:
            return
        results = {
            title: found[title] | in_process("measure", uri, args, package)
            for title, (uri, _, package) in stores.items()
        }
    show(results, args.entries, users, args.hidden)


if __name__ == "__main__":
    main()
