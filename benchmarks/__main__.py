"""``python -m benchmarks``: run all benchmarks and write one table.

python -m benchmarks --only decoding,dictionary --out table.md
python -m benchmarks --quick
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

import benchmarks
from benchmarks.protocol import Benchmark, Figure, Missing, Setting
from trimtab.eval.runs.provenance import provenance
from trimtab.files import replacing
from trimtab.steering import DEFAULT_MODEL
from trimtab.steering.weights.machine import default_device, default_dtype


def found() -> dict[str, Benchmark]:
    """Every benchmark of this folder by name."""
    modules = (
        importlib.import_module(f"benchmarks.{each.name}")
        for each in pkgutil.iter_modules(benchmarks.__path__)
        if not each.name.startswith("_")
    )
    every = (getattr(module, "BENCHMARK", None) for module in modules)
    return {made.name: made for made in every if isinstance(made, Benchmark)}


def machine() -> str:
    """What the figures were measured on, in a line."""
    made = provenance()
    device = default_device()
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    where = ", ".join(made["gpus"]) or f"{made['processor']}, {torch.get_num_threads()} threads"
    dtype = str(default_dtype(device).dtype).removeprefix("torch.")
    return f"{where}; {dtype}; {versions}; commit {made['commit']}; {made['date']}"


def row(benchmark: str, figure: Figure) -> str:
    """A figure as a line of the table."""
    met = {True: "yes", False: "no", None: ""}[figure.met]
    cells = (benchmark, figure.name, f"{figure.value:.3g}", figure.aim, met, figure.detail)
    return f"| {' | '.join(cells)} |"


def rows(chosen: list[Benchmark], setting: Setting) -> Iterator[str]:
    """The table's lines as they come; one that cannot run here tells why."""
    for benchmark in chosen:
        try:
            for figure in benchmark.run(setting):
                yield row(benchmark.name, figure)
        except Missing as reason:
            yield f"| {benchmark.name} | not run: {reason} | | | | |"


def main() -> None:
    # Ended by SIGTERM, what is under way still stops the servers that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    every = found()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help=f"of {', '.join(every)}; commas between them")
    parser.add_argument(
        "--quick", action="store_true", help="small and seldom: to see that it runs"
    )
    parser.add_argument("--repetitions", type=int, default=5, help="of each way of a ratio")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--out", type=Path, help="a Markdown file for the table as well")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(every)
    unknown = [name for name in names if name not in every]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(every)}")

    lines = [f"{options.model} on {machine()}", ""]
    lines += ["| benchmark | figure | ratio | aim | met | the two sides |", "| --- " * 6 + "|"]
    print("\n".join(lines), flush=True)
    repetitions = 2 if options.quick else options.repetitions
    setting = Setting(options.model, options.quick, repetitions)
    for line in rows([every[name] for name in names], setting):
        lines.append(line)
        print(line, flush=True)
        if options.out:
            with replacing(options.out) as temporary:
                temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
