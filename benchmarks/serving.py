"""What a server's clients see: 16 of them at once, each a user with a dictionary of their own.

python -m benchmarks --only serving
python -m benchmarks.serving --soak 600     # ten minutes of load: throughput and memory
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import psutil
import torch

from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from trimtab.steering import (
    DEFAULT_MODEL,
    Entry,
    SteeringDictionary,
    SteeringSettings,
    SteeringStore,
)
from trimtab.steering.vectors.steering_vectors import points_of

CLIENTS = 16
_ENTRIES = 100  # of each user
_SETTINGS = SteeringSettings(sites=("mid", "mlp"), depths=(0.72,), strength=1e-4)
_TOPICS = ("a lighthouse", "a bakery", "a glacier", "a night train", "a violin", "a beehive")
_count = itertools.count()


@dataclass
class Seen:
    """What clients saw: seconds to each answer's first token, and how many tokens came."""

    first: list[float] = field(default_factory=list)
    tokens: int = 0


def user(number: int) -> str:
    return f"user-{number}"


def fill(setting: Setting, store: str) -> None:
    """A store of one user a client, with random dictionaries at a strength that changes no text."""
    model = setting.model()
    points = points_of(_SETTINGS.layers(model), _SETTINGS.sites)
    draws = torch.Generator().manual_seed(0)
    keys = torch.nn.functional.normalize(torch.randn(_ENTRIES, 384, generator=draws), dim=-1)
    size = model.hf.config.get_text_config().hidden_size
    with SteeringStore(store, model=model) as opened:
        for number in range(CLIENTS):
            opened.put(
                SteeringDictionary(
                    user_id=user(number),
                    fingerprint=model.fingerprint,
                    points=points,
                    encoder_name=model.encoder.name,
                    entries=[Entry(f"s{n}", "a story", "", "response", n) for n in range(_ENTRIES)],
                    keys=keys,
                    vectors=torch.randn(_ENTRIES, len(points), size, generator=draws),
                )
            )


@contextmanager
def serving(model: str, store: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server in a process of its own: its URL, and the process."""
    table = folder / "steering.toml"
    _SETTINGS.save(table)
    command = [
        *(sys.executable, "-c", "from trimtab.cli import main; main()", "serve", "--quiet"),
        *("--model", model, "--name", "served", "--store", store),
        *("--settings", str(table), "--port", "0"),
    ]
    log = folder / "log"
    with log.open("w") as written, subprocess.Popen(command, stderr=written) as process:
        while " at http://" not in (said := log.read_text()):
            assert process.poll() is None, said
            time.sleep(0.1)
        try:
            yield said.split(" at ")[1].split()[0], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


async def ask(http: httpx.AsyncClient, number: int, tokens: int, seen: Seen) -> None:
    """One streamed answer to a prompt that the server has not seen."""
    topic = _TOPICS[number % len(_TOPICS)]
    words = f"Story {next(_count)}. Tell a long story of at least 500 words about {topic}."
    body = {
        "model": "served",
        "messages": [{"role": "user", "content": words}],
        "user": user(number % CLIENTS),
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    started = time.perf_counter()
    first = None
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if usage := chunk.get("usage"):
                seen.tokens += usage["completion_tokens"]
            for choice in chunk["choices"]:
                if choice["delta"].get("content") and first is None:
                    first = time.perf_counter() - started
    seen.first.append(time.perf_counter() - started if first is None else first)


def asked(url: str, count: int, at_once: int, tokens: int, seen: Seen) -> None:
    """So many requests by so many clients, each of which asks again when it is answered."""

    async def all_of_them() -> None:
        left = iter(range(count))
        async with httpx.AsyncClient(base_url=url, timeout=600) as http:

            async def client() -> None:
                for number in left:
                    await ask(http, number, tokens, seen)

            await asyncio.gather(*(client() for _ in range(at_once)))

    asyncio.run(all_of_them())


def run(setting: Setting) -> Iterator[Figure]:
    requests, tokens = CLIENTS, setting.size(64, 8)
    with tempfile.TemporaryDirectory(prefix="trimtab-serving-") as name:
        store = str(Path(name) / "users.db")
        fill(setting, store)
        seen = {at_once: Seen() for at_once in (1, CLIENTS)}
        with serving(setting.model_name, store, Path(name)) as (url, _):
            asked(url, 2, 1, 4, Seen())
            ways = {
                f"{at_once} at once": partial(asked, url, requests, at_once, tokens, seen[at_once])
                for at_once in seen
            }
            times = interleaved(ways, 1, warm=False)
    title = f"{requests} answers one after the other / by {CLIENTS} clients"
    yield ratio(title, times, "1 at once", f"{CLIENTS} at once", at_least=2.5, per=requests)
    for at_once, found in seen.items():
        median, late = _quantiles(found.first)
        yield Figure(
            f"seconds to the first token, p95 / p50, {at_once} at once",
            late / median,
            detail=f"{1000 * late:,.0f} ms / {1000 * median:,.0f} ms of {len(found.first)}",
        )


def soak(setting: Setting, seconds: float, every: float) -> None:
    """Load for so long; prints throughput and the server's memory now and then."""
    with tempfile.TemporaryDirectory(prefix="trimtab-serving-") as name:
        store = str(Path(name) / "users.db")
        fill(setting, store)
        with serving(setting.model_name, store, Path(name)) as (url, process):
            began = time.perf_counter()
            print("| s | answers | tokens a second | first token p50, p95 ms | memory MB |")
            print("| --- " * 5 + "|")
            while (now := time.perf_counter()) - began < seconds:
                seen = Seen()
                while time.perf_counter() - now < every:
                    asked(url, 2 * CLIENTS, CLIENTS, setting.size(64, 8), seen)
                median, late = _quantiles(seen.first)
                rate = seen.tokens / (time.perf_counter() - now)
                memory = process.memory_info().rss / 1e6
                print(
                    f"| {time.perf_counter() - began:,.0f} | {len(seen.first)} | {rate:.1f} | "
                    f"{1000 * median:,.0f}, {1000 * late:,.0f} | {memory:,.0f} |",
                    flush=True,
                )


def _quantiles(seconds: list[float]) -> tuple[float, float]:
    """The median and the 95th percentile."""
    return statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]


BENCHMARK = Benchmark("serving", "What clients at once cost a server's answers.", run)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--soak", type=float, default=600, help="for so many seconds")
    parser.add_argument("--every", type=float, default=30, help="seconds between two lines")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--quick", action="store_true", help="short answers")
    options = parser.parse_args()
    soak(Setting(options.model, options.quick), options.soak, options.every)


if __name__ == "__main__":
    main()
