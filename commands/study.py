"""``trimtab study``: how robust methods are, and what steering does to a model."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from ..errors import TrimtabError
from .studying import (
    ShopStudy,
    TextStudy,
    as_command,
    numbers,
    run_shop_study,
    run_text_study,
    shares,
)

app = typer.Typer()


class By(StrEnum):
    """What of a sample is embedded."""

    input = "input"
    output = "output"
    both = "both"


@app.callback(invoke_without_command=True)
def study_group(context: typer.Context) -> None:
    """Robustness studies; each ends in a table and a figure (PNG and SVG)."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@as_command(app, "sparse", run_text_study)
def sparse(
    percent: Annotated[
        str, typer.Option("--shares", help="Percent of each user's past samples to use.")
    ] = "5,10,25,50,100",
) -> TextStudy:
    """Score with only a share of every user's past samples."""
    from ..eval.studies.sparse import sparse_study

    return partial(sparse_study, shares=shares(percent))


@as_command(app, "heterogeneous", run_text_study)
def heterogeneous(
    groups: Annotated[int, typer.Option(help="How many sub-populations.")] = 4,
    by: Annotated[By, typer.Option(help="What of a sample is embedded.")] = By.input,
) -> TextStudy:
    """Group samples by their embeddings, and score each group."""
    from ..eval.studies.heterogeneous import heterogeneous_study

    return partial(heterogeneous_study, clusters=groups, embedded=by.value)


@as_command(
    app,
    "latency",
    run_text_study,
    methods="zero-shot,fints",
    fixed={"controls": False, "generate": True},
)
def latency(
    samples: Annotated[int, typer.Option(help="How many samples to time.")] = 200,
) -> TextStudy:
    """Time direct and steered answers to the same samples, one at a time."""
    from ..eval.studies.latency import latency_study

    return partial(latency_study, samples=samples)


@as_command(
    app,
    "layers",
    run_text_study,
    methods="zero-shot,fints",
    generate=False,
    fixed={"controls": False},
)
def layers(
    depths: Annotated[
        str, typer.Option(help="Relative depths to steer at, 0 to 1.")
    ] = "0.1,0.25,0.4,0.5,0.6,0.72,0.85,0.95",
    strengths: Annotated[str, typer.Option(help="Strengths to try.")] = "0.5,1,2,4",
) -> TextStudy:
    """Score against layer and strength, by likelihood unless --generate is given."""
    from ..eval.studies.layers import layers_study

    return partial(
        layers_study,
        depths=numbers(depths, "depths"),
        strengths=numbers(strengths, "strengths"),
    )


@as_command(
    app,
    "quality",
    run_text_study,
    methods="zero-shot,fints",
    fixed={"controls": False, "generate": True},
)
def quality(
    strengths: Annotated[str, typer.Option(help="Strengths to try.")] = "1,2,4,8",
) -> TextStudy:
    """Measure whether steered texts repeat themselves, read naturally, and end."""
    from ..eval.studies.quality import quality_study

    return partial(quality_study, strengths=numbers(strengths, "strengths"))


@as_command(
    app,
    "delta",
    run_text_study,
    fixed={
        "methods": "zero-shot",
        "settings": None,
        "controls": True,
        "generate": True,
        "max_new_tokens": None,
        "batch": 48,
        "plan": None,
    },
)
def delta(
    depths: Annotated[
        str, typer.Option(help="Relative depths to read at, 0 to 1.")
    ] = "0.25,0.5,0.72,1",
    shown: Annotated[int, typer.Option(help="Past samples in the personal context.")] = 3,
) -> TextStudy:
    """Measure what personal context does to the last token's activation."""
    from ..eval.studies.delta import delta_study

    return partial(delta_study, depths=numbers(depths, "depths"), shown=shown)


@as_command(
    app,
    "perfit",
    run_text_study,
    methods="zero-shot,perfit",
    generate=False,
    fixed={"settings": None, "controls": False},
)
def perfit(
    ranks: Annotated[str, typer.Option(help="Ranks of either stage; every pair.")] = "1,4,16",
    depths: Annotated[
        str, typer.Option(help="Relative depths of a single layer, 0 to 1.")
    ] = "0.1,0.3,0.5,0.7,0.9",
    counts: Annotated[str, typer.Option(help="Numbers of layers to change.")] = "1,2,4,8",
) -> TextStudy:
    """Train PerFit by stage, rank, depth and number of layers; by likelihood unless --generate."""
    from ..eval.studies.perfit import perfit_study

    sizes = [int(rank) for rank in numbers(ranks, "ranks")]
    where, many = numbers(depths, "depths"), [int(n) for n in numbers(counts, "counts")]
    if min(*sizes, *many) < 1:
        raise TrimtabError("expected ranks and counts of at least 1")
    return partial(perfit_study, ranks=sizes, depths=where, counts=many)


@as_command(app, "drift", run_shop_study, fixed={"flips": True})
def drift(
    half_life: Annotated[
        float, typer.Option(help="Of older entries' weights where they fade, in later requests.")
    ] = 1.0,
    trained: Annotated[
        bool,
        typer.Option("--trained", help="Also train an intervention anew for every request; slow."),
    ] = False,
) -> ShopStudy:
    """Ask users whose idioms have come to mean the other tool, request after request."""
    from ..eval.studies.drift import drift_study

    return lambda model, shop, folder, doing: drift_study(
        model, shop, half_life=half_life, trained=trained, folder=folder, doing=doing
    )


@as_command(app, "poisoned", run_shop_study, fixed={"flips": False})
def poisoned(
    wanted: Annotated[
        str | None, typer.Option(help="The tool that the attacker wants; default: reviews'.")
    ] = None,
    percent: Annotated[
        str,
        typer.Option("--shares", help="Percent of a dictionary's entries that are the attacker's."),
    ] = "5,10,20",
    seed: int = 0,
) -> ShopStudy:
    """Mix an attacker's entries into users' dictionaries, with and without the outlier guard."""
    from ..eval.studies.poisoned import poisoned_study

    parts = shares(percent)
    return lambda model, shop, folder, doing: poisoned_study(
        model, shop, wanted=wanted, shares=parts, seed=seed, folder=folder, doing=doing
    )
