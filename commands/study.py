"""``trimtab study``: how robust methods are, and what steering does to a model."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .loading import Device, DeviceMap, Dtype, Placement

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
StudyFile = Annotated[
    Path | None, typer.Option("--study", help="A TOML file with these fields; flags go before it.")
]
Out = Annotated[
    Path | None, typer.Option(help="The study's folder; an unfinished one is gone on with.")
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
    study: StudyFile = None,
    out: Out = None,
) -> None:
    """Score with only a share of every user's past samples."""
    from ..eval.studies.sparse import sparse_study
    from .actions.study import numbers, study_command

    asked = [share / 100 for share in numbers(shares, "shares")]
    study_command(
        "sparse",
        lambda setting: sparse_study(setting, asked),
        _given(locals()),
        placement=Placement(dtype, device, device_map),
        study=study,
        controls=controls,
        out=out,
        batch_size=batch,
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
    study: StudyFile = None,
    out: Out = None,
) -> None:
    """Group samples by their embeddings, and score each group."""
    from ..eval.studies.heterogeneous import heterogeneous_study
    from .actions.study import study_command

    study_command(
        "heterogeneous",
        lambda setting: heterogeneous_study(setting, groups, by.value),
        _given(locals()),
        placement=Placement(dtype, device, device_map),
        study=study,
        controls=controls,
        out=out,
        batch_size=batch,
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
    study: StudyFile = None,
    out: Out = None,
) -> None:
    """Time direct and steered answers to the same samples, one at a time."""
    from ..eval.studies.latency import latency_study
    from .actions.study import study_command

    study_command(
        "latency",
        lambda setting: latency_study(setting, samples),
        _given(locals()),
        placement=Placement(dtype, device, device_map),
        study=study,
        controls=False,
        out=out,
        batch_size=batch,
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
    study: StudyFile = None,
    out: Out = None,
) -> None:
    """Score against layer and strength, by likelihood unless --generate is given."""
    from ..eval.studies.layers import layers_study
    from .actions.study import numbers, study_command

    where, how_much = numbers(depths, "depths"), numbers(strengths, "strengths")
    study_command(
        "layers",
        lambda setting: layers_study(setting, where, how_much),
        _given(locals()),
        placement=Placement(dtype, device, device_map),
        study=study,
        controls=False,
        out=out,
        batch_size=batch,
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
) -> None:
    """Measure what personal context does to the last token's activation."""
    from ..eval.studies.delta import delta_study
    from .actions.study import numbers, study_command

    where = numbers(depths, "depths")
    study_command(
        "delta",
        lambda setting: delta_study(setting, where, shown),
        _given(locals()) | {"methods": "zero-shot"},
        placement=Placement(dtype, device, device_map),
        out=out,
    )


_FIELDS = (
    "task", "methods", "data", "model", "users", "history", "tests", "seed", "settings",
    "generate", "max_new_tokens",
)  # fmt: skip


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that are fields of a study, as ``make_study`` takes them."""
    found = {name: values.get(name) for name in _FIELDS}
    found["settings"] = None if found["settings"] is None else str(found["settings"])
    found["generate"] = False if found["generate"] is False else None
    return found
