"""``trimtab study``: how robust methods are, and what steering does to a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import TrimtabError
from .loading import BY_HARDWARE, Device, DeviceMap, Dtype, ModelName, Placement, load_model
from .run import Quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from ..envs.shop.environment import ShopEnvironment
    from ..eval.studies.finding import Finding
    from ..eval.studies.setting import Setting
    from ..steering.model import SteeredModel

    Found = tuple[Finding | list[Finding], Figure | list[Figure]]

app = typer.Typer()


class By(StrEnum):
    """What of a sample is embedded."""

    input = "input"
    output = "output"
    both = "both"


Task = Annotated[str, typer.Argument(help="A text task, such as headlines; see `trimtab eval`.")]
Methods = Annotated[
    str,
    typer.Option(
        help="Comma-separated, with options; see `trimtab eval`. The first is the baseline."
    ),
]
Data = Annotated[
    str | None, typer.Option(help="The benchmark's folder or file; default: built-in data.")
]
Model = Annotated[
    str | None, typer.Option(help="A name from `trimtab models list`, a hub id, or a folder.")
]
Users = Annotated[int | None, typer.Option(help="At most this many users.", show_default="200")]
History = Annotated[
    int | None, typer.Option(help="Only this many of a user's latest past samples.")
]
Tests = Annotated[int | None, typer.Option(help="Only this many of a user's test samples.")]
Seed = Annotated[int | None, typer.Option(help="Of users, draws and groups.", show_default="0")]
Settings = Annotated[
    Path | None, typer.Option(help="A TOML file with a steering table, for steered methods.")
]
Controls = Annotated[bool, typer.Option(help="Also the controls of every steered method.")]
Generate = Annotated[
    bool, typer.Option(help="Let the model answer, or only score the users' own texts.")
]
NewTokens = Annotated[int | None, typer.Option(help="The longest answer; default: the task's own.")]
Batch = Annotated[int, typer.Option(help="Rows at once.")]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="A TOML file with these fields; flags go before it.")
]
Out = Annotated[
    Path | None, typer.Option(help="The study's folder; an unfinished study in it is resumed.")
]


@app.callback(invoke_without_command=True)
def study_group(context: typer.Context) -> None:
    """Robustness studies; each ends in a table and a figure (PNG and SVG)."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("sparse")
def study_sparse(
    task: Task = "headlines",
    methods: Methods = "zero-shot,rag,fints",
    shares: Annotated[
        str, typer.Option(help="Percent of each user's past samples to use.")
    ] = "5,10,25,50,100",
    data: Data = None,
    model: Model = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    users: Users = None,
    history: History = None,
    tests: Tests = None,
    seed: Seed = None,
    settings: Settings = None,
    controls: Controls = True,
    generate: Generate = True,
    max_new_tokens: NewTokens = None,
    batch: Batch = 48,
    plan: PlanFile = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Score with only a share of every user's past samples."""
    from ..eval.studies.sparse import sparse_study

    asked = [share / 100 for share in numbers(shares, "shares")]
    study_command(
        "sparse",
        lambda setting: sparse_study(setting, asked),
        _given(locals()),
        placement=Placement(dtype, device, device_map),
        plan=plan,
        controls=controls,
        out=out,
        batch_size=batch,
        quiet=quiet,
    )


@app.command("heterogeneous")
def study_heterogeneous(
    task: Task = "headlines",
    methods: Methods = "zero-shot,rag,fints",
    groups: Annotated[int, typer.Option(help="How many sub-populations.")] = 4,
    by: Annotated[By, typer.Option(help="What of a sample is embedded.")] = By.input,
    data: Data = None,
    model: Model = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    users: Users = None,
    history: History = None,
    tests: Tests = None,
    seed: Seed = None,
    settings: Settings = None,
    controls: Controls = True,
    generate: Generate = True,
    max_new_tokens: NewTokens = None,
    batch: Batch = 48,
    plan: PlanFile = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Group samples by their embeddings, and score each group."""
    from ..eval.studies.heterogeneous import heterogeneous_study

    study_command(
        "heterogeneous",
        lambda setting: heterogeneous_study(setting, groups, by.value),
        _given(locals()),
        placement=Placement(dtype, device, device_map),
        plan=plan,
        controls=controls,
        out=out,
        batch_size=batch,
        quiet=quiet,
    )


@app.command("latency")
def study_latency(
    task: Task = "headlines",
    methods: Methods = "zero-shot,fints",
    samples: Annotated[int, typer.Option(help="How many samples to time.")] = 200,
    data: Data = None,
    model: Model = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    users: Users = None,
    history: History = None,
    tests: Tests = None,
    seed: Seed = None,
    settings: Settings = None,
    max_new_tokens: NewTokens = None,
    batch: Batch = 48,
    plan: PlanFile = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Time direct and steered answers to the same samples, one at a time."""
    from ..eval.studies.latency import latency_study

    study_command(
        "latency",
        lambda setting: latency_study(setting, samples),
        _given(locals()),
        placement=Placement(dtype, device, device_map),
        plan=plan,
        controls=False,
        out=out,
        batch_size=batch,
        quiet=quiet,
    )


@app.command("layers")
def study_layers(
    task: Task = "headlines",
    methods: Methods = "zero-shot,fints",
    depths: Annotated[
        str, typer.Option(help="Relative depths to steer at, 0 to 1.")
    ] = "0.1,0.25,0.4,0.5,0.6,0.72,0.85,0.95",
    strengths: Annotated[str, typer.Option(help="Strengths to try.")] = "0.5,1,2,4",
    data: Data = None,
    model: Model = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    users: Users = None,
    history: History = None,
    tests: Tests = None,
    seed: Seed = None,
    settings: Settings = None,
    generate: Generate = False,
    max_new_tokens: NewTokens = None,
    batch: Batch = 48,
    plan: PlanFile = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Score against layer and strength, by likelihood unless --generate is given."""
    from ..eval.studies.layers import layers_study

    where, how_much = numbers(depths, "depths"), numbers(strengths, "strengths")
    study_command(
        "layers",
        lambda setting: layers_study(setting, where, how_much),
        _given(locals()),
        placement=Placement(dtype, device, device_map),
        plan=plan,
        controls=False,
        out=out,
        batch_size=batch,
        quiet=quiet,
    )


@app.command("delta")
def study_delta(
    task: Task = "headlines",
    depths: Annotated[
        str, typer.Option(help="Relative depths to read at, 0 to 1.")
    ] = "0.25,0.5,0.72,1",
    shown: Annotated[int, typer.Option(help="Past samples in the personal context.")] = 3,
    data: Data = None,
    model: Model = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    users: Users = None,
    history: History = None,
    tests: Tests = None,
    seed: Seed = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Measure what personal context does to the last token's activation."""
    from ..eval.studies.delta import delta_study

    where = numbers(depths, "depths")
    study_command(
        "delta",
        lambda setting: delta_study(setting, where, shown),
        _given(locals()) | {"methods": "zero-shot"},
        placement=Placement(dtype, device, device_map),
        out=out,
        quiet=quiet,
    )


@app.command("perfit")
def study_perfit(
    task: Task = "headlines",
    methods: Methods = "zero-shot,perfit",
    ranks: Annotated[str, typer.Option(help="Ranks of either stage; every pair.")] = "1,4,16",
    depths: Annotated[
        str, typer.Option(help="Relative depths of a single layer, 0 to 1.")
    ] = "0.1,0.3,0.5,0.7,0.9",
    counts: Annotated[str, typer.Option(help="Numbers of layers to change.")] = "1,2,4,8",
    data: Data = None,
    model: Model = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    users: Users = None,
    history: History = None,
    tests: Tests = None,
    seed: Seed = None,
    generate: Generate = False,
    max_new_tokens: NewTokens = None,
    batch: Batch = 48,
    plan: PlanFile = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Train PerFit by stage, rank, depth and number of layers; by likelihood unless --generate."""
    from ..eval.studies.perfit import perfit_study

    sizes = [int(rank) for rank in numbers(ranks, "ranks")]
    where, many = numbers(depths, "depths"), [int(n) for n in numbers(counts, "counts")]
    if min(*sizes, *many) < 1:
        raise TrimtabError("expected ranks and counts of at least 1")
    study_command(
        "perfit",
        lambda setting: perfit_study(setting, sizes, where, many),
        _given(locals()),
        placement=Placement(dtype, device, device_map),
        plan=plan,
        controls=False,
        out=out,
        batch_size=batch,
        quiet=quiet,
    )


@app.command("drift")
def study_drift(
    users: Annotated[int, typer.Option(help="How many users of a bazaar.")] = 24,
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    seed: Annotated[int, typer.Option(help="Of the world.")] = 0,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Ask users whose idioms have come to mean the other tool, request after request."""
    from ..eval.studies.drift import drift_study

    shop_study(
        "drift",
        lambda loaded, shop, doing: drift_study(loaded, shop, doing=doing),
        users=users,
        seed=seed,
        flips=True,
        model=model,
        placement=Placement(dtype, device, device_map),
        out=out,
        quiet=quiet,
    )


@app.command("poisoned")
def study_poisoned(
    wanted: Annotated[
        str | None, typer.Option(help="The tool that the attacker wants; default: reviews'.")
    ] = None,
    shares: Annotated[
        str, typer.Option(help="Percent of a dictionary's entries that are the attacker's.")
    ] = "5,10,20",
    users: Annotated[int, typer.Option(help="How many users of a bazaar.")] = 24,
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    seed: Annotated[int, typer.Option(help="Of the world and the draws.")] = 0,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Mix an attacker's entries into users' dictionaries, with and without the outlier guard."""
    from ..eval.studies.poisoned import poisoned_study

    asked = [share / 100 for share in numbers(shares, "shares")]
    shop_study(
        "poisoned",
        lambda loaded, shop, doing: poisoned_study(
            loaded, shop, wanted=wanted, shares=asked, seed=seed, doing=doing
        ),
        users=users,
        seed=seed,
        model=model,
        placement=Placement(dtype, device, device_map),
        out=out,
        quiet=quiet,
    )


_FIELDS = (
    "task", "methods", "data", "model", "users", "history", "tests", "seed", "settings",
    "generate", "max_new_tokens",
)  # fmt: skip


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that are fields of a plan, as ``make_plan`` takes them."""
    found = {name: values.get(name) for name in _FIELDS}
    found["settings"] = None if found["settings"] is None else str(found["settings"])
    found["generate"] = False if found["generate"] is False else None
    return found


def study_command(
    kind: str,
    run: Callable[[Setting], Found],
    given: Mapping[str, Any],
    *,
    plan: Path | None = None,
    controls: bool = True,
    placement: Placement = BY_HARDWARE,
    out: Path | None = None,
    batch_size: int = 48,
    quiet: bool = False,
    console: Console | None = None,
) -> Sequence[Finding]:
    """Run one study.

    Args:
        kind: Its name.
        run: From a setting to tables and a figure.
        given: Fields of a ``TextPlan``; None is one that was not given.
        plan: A TOML file with the same fields.
        controls: Whether steered methods bring their controls.
        placement: In which data type and on which devices the model is loaded.
        out: The folder; None is a new one in the cache folder.
        batch_size: At most this many rows at once.
        quiet: Show no progress.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C; the same command with the same folder resumes.
    """
    from rich.console import Console

    from ..eval.figures import check_plots
    from ..eval.studies.finding import keep
    from ..eval.studies.setting import Setting
    from ..eval.texts.plan import make_plan
    from ..files import home
    from .console.finding import print_findings
    from .console.progress import progress

    check_plots()
    if batch_size < 1:
        raise TrimtabError(f"expected a batch of at least 1 row, got {batch_size}")
    console = console or Console()
    made = make_plan(given, file=plan, controls=controls)
    dataset = made.dataset()
    console.print(dataset.described(), soft_wrap=True, highlight=False, markup=False)
    folder = out or home() / "runs" / f"{kind}-{made.task}-{datetime.now():%Y%m%d-%H%M%S}"
    with progress(console, quiet=quiet) as display:
        display.doing(f"loading {made.model}")
        model = load_model(made.model, placement)
        found, figure = run(Setting(made, model, dataset, folder, batch_size, display))
    findings = found if isinstance(found, list) else [found]
    figures = figure if isinstance(figure, list) else [figure]
    written = [
        path
        for finding, drawn in zip_longest(findings, figures)
        for path in keep(finding, drawn, folder)
    ]
    print_findings(findings, written, console)
    return findings


def shop_study(
    kind: str,
    run: Callable[[SteeredModel, ShopEnvironment, Callable[[str], None]], tuple[Finding, Figure]],
    *,
    users: int,
    seed: int,
    flips: bool = False,
    model: str,
    placement: Placement = BY_HARDWARE,
    out: Path | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Finding:
    """Run one study of tool choices in a bazaar.

    Args:
        kind: Its name.
        run: From a model and a shop to a table and a figure; told what is under way.
        users: Of the bazaar.
        seed: Of the bazaar.
        flips: Whether its users change half way.
        model: A model's name, hub id or folder.
        placement: In which data type and on which devices it is loaded.
        out: The folder; None is a new one in the cache folder.
        quiet: Show no progress.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
    """
    import tempfile

    from rich.console import Console

    from ..envs.shop.environment import ShopEnvironment
    from ..envs.worlds.bazaar import generate_bazaar
    from ..eval.figures import check_plots
    from ..eval.studies.finding import keep
    from ..eval.studies.tool_choices import NothingRecommended
    from ..files import home
    from .console.finding import print_findings
    from .console.progress import progress

    check_plots()
    console = console or Console()
    world = generate_bazaar(users=users, products=300, seed=seed, flips=flips)
    folder = out or home() / "runs" / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    with progress(console, quiet=quiet) as told, tempfile.TemporaryDirectory() as scratch:
        told.doing(f"loading {model}")
        loaded = load_model(model, placement)
        shop = ShopEnvironment(world, Path(scratch), recommender=NothingRecommended())
        finding, figure = run(loaded, shop, told.doing)
    print_findings([finding], keep(finding, figure, folder), console)
    return finding


def numbers(text: str, what: str) -> list[float]:
    """Numbers from a line: ``0.5,1,2``.

    Raises:
        TrimtabError: Something else is in it, or nothing.
    """
    parts = [part.strip().removesuffix("%") for part in text.split(",") if part.strip()]
    try:
        found = [float(part) for part in parts]
    except ValueError:
        found = []
    if not found:
        raise TrimtabError(f"expected {what} as numbers with commas, got {text!r}")
    return found
