"""The tasks of `trimtab eval` that are no writing: shopping episodes, and function calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from ...errors import TrimtabError
from ...files import home
from ...steering.weights.known import DEFAULT_MODEL
from ..console.progress import counting, progress_bars, waiting


def evaluate_other(
    given: Mapping[str, Any],
    *,
    out: Path | None = None,
    batch_size: int = 48,
    console: Console | None = None,
) -> None:
    """Run ``shop`` or ``bfcl``.

    Args:
        given: The flags of `trimtab eval`; None is one that was not given.
        out: The run's folder; an unfinished one is gone on with.
        batch_size: At most this many rows at once.
        console: Where to print.

    Raises:
        TrimtabError: A flag that the task has no use for, missing data, or a folder in use.
        KeyboardInterrupt: After Ctrl-C, when what is finished has been shown.
    """
    flags = {name: value for name, value in given.items() if value is not None}
    task = flags.pop("task")
    console = console or Console()
    if task == "shop":
        _check(flags, {"model", "data", "users", "seed", "settings"}, "shop", "`trimtab run`")
        _shop(flags, out, batch_size, console)
    else:
        known = {"model", "data", "methods", "tests", "seed", "max_new_tokens"}
        _check(flags, known, "bfcl", "`trimtab eval --help`")
        _bfcl(flags, out, batch_size, console)


def _check(flags: Mapping[str, Any], known: Collection[str], task: str, where: str) -> None:
    unknown = sorted(set(flags) - set(known))
    if unknown:
        name = unknown[0].replace("_", "-")
        raise TrimtabError(f"--{name} says nothing to the task {task}; see {where}")


def _shop(flags: Mapping[str, Any], out: Path | None, batch_size: int, console: Console) -> None:
    from .run import run_command

    spread = flags.get("users")
    if spread is not None and spread < 1:
        raise TrimtabError(f"expected users of at least 1, got {spread}")
    run_command(
        model=flags.get("model", DEFAULT_MODEL),
        **({"world": flags["data"]} if "data" in flags else {}),
        # One search, one recommendation and one review of each user.
        **({"spread": spread, "episodes": 3 * spread} if spread else {}),
        seed=flags.get("seed", 0),
        settings=Path(flags["settings"]) if "settings" in flags else None,
        out=out,
        max_live=batch_size,
        console=console,
    )


def _bfcl(flags: Mapping[str, Any], out: Path | None, batch_size: int, console: Console) -> None:
    from ...envs.bfcl.cases import load_bfcl
    from ...eval.calls.run import METRICS, run_bfcl
    from ...steering.model import SteeredModel
    from ..console.calls_table import print_bfcl

    if "data" not in flags:
        raise TrimtabError(
            "bfcl has no built-in data; give a folder with BFCL_v4_*.json and possible_answer/ as "
            "--data"
        )
    count, seed = flags.get("tests"), flags.get("seed", 0)
    data = load_bfcl(flags["data"]).chosen(count=count, seed=seed)
    methods = tuple(m.strip() for m in flags.get("methods", "free,constrained").split(","))
    out = out or home() / "runs" / f"bfcl-{datetime.now():%Y%m%d-%H%M%S}"
    with progress_bars(console) as progress:
        with waiting(progress, "loading the model"):
            model = SteeredModel.from_pretrained(flags.get("model", DEFAULT_MODEL))
        told = counting(progress, "answers", len(data.cases) * len(methods))
        run = run_bfcl(
            model,
            data,
            folder=out,
            methods=methods,
            configuration={"seed": seed, "tests": count},
            max_new_tokens=flags.get("max_new_tokens", 256),
            batch_size=batch_size,
            on_record=lambda record: told(1),
        )
    print_bfcl(console, run.records, METRICS)
    console.print(
        f"{len(run.records)} of {run.planned} answers in {run.seconds:.0f} s, kept in {out}",
        soft_wrap=True,
        highlight=False,
    )
    if run.interrupted:
        raise KeyboardInterrupt
