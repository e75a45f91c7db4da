"""What the studies of ``trimtab study`` share: their flags, how they are run, and what is shown."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import TrimtabError
from .flags import (
    Controls,
    Data,
    Generate,
    History,
    NewTokens,
    PlanFile,
    PlannedModel,
    Quiet,
    Seed,
    Settings,
    Tests,
    Users,
    plan_fields,
)
from .loading import Device, DeviceMap, Dtype, ModelName, Placement, load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..envs.shop.environment import ShopEnvironment
    from ..eval.studies.finding import Finding
    from ..eval.studies.setting import Setting
    from ..steering.model import SteeredModel

    Found = tuple[Finding | list[Finding], Figure | list[Figure]]

TextStudy = Callable[["Setting"], "Found"]
"""Makes tables and figures of a text task that is ready to run."""

ShopStudy = Callable[["SteeredModel", "ShopEnvironment", Path, Callable[[str], None]], "Found"]
"""Makes them of a model and a shop, and keeps in a folder what is done; tells what is under way."""

Out = Annotated[
    Path | None,
    typer.Option(help="The study's folder; what it keeps of an unfinished study is used again."),
]


def as_command(
    app: typer.Typer,
    name: str,
    run: Callable[..., None],
    *,
    fixed: Mapping[str, Any] | None = None,
    **defaults: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a study a command, with its own flags and those that all studies of its kind share.

    Args:
        app: Gets the command.
        name: The study's.
        run: ``run_text_study`` or ``run_shop_study``; its keyword arguments are the shared flags.
        fixed: What of these is no flag of this study, and what it is.
        defaults: What of these has another default here.

    Returns:
        A decorator of the function that takes the study's own flags and returns the study. A flag
        that has the name of a shared one is that flag.
    """
    values = fixed or {}

    def register(study: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(study, eval_str=True).parameters
        shared = {
            flag.name: flag.replace(default=defaults.get(flag.name, flag.default))
            for flag in inspect.signature(run, eval_str=True).parameters.values()
            if flag.kind is flag.KEYWORD_ONLY and flag.name not in values
        }

        def command(**given: Any) -> None:
            chosen = study(**{flag: given[flag] for flag in own})
            run(name, chosen, **{flag: given[flag] for flag in shared}, **values)

        flags = [flag.replace(kind=flag.KEYWORD_ONLY) for flag in {**own, **shared}.values()]
        command.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
        command.__annotations__ = {flag.name: flag.annotation for flag in flags}
        command.__doc__ = study.__doc__
        app.command(name)(command)
        return study

    return register


def run_text_study(
    name: str,
    study: TextStudy,
    *,
    task: Annotated[
        str, typer.Argument(help="A text task, such as headlines; see `trimtab eval`.")
    ] = "headlines",
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated, with options; see `trimtab eval`. The first is the baseline."
        ),
    ] = "zero-shot,rag,fints",
    data: Data = None,
    model: PlannedModel = None,
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
    batch: Annotated[int, typer.Option(help="Rows at once.")] = 48,
    plan: PlanFile = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Run a study of a text task.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C; the same command with the same folder resumes.
    """
    from rich.console import Console

    from ..eval.figures import check_plots
    from ..eval.studies.setting import Setting
    from ..eval.texts.plan import make_plan
    from .console.progress import progress

    check_plots()
    if batch < 1:
        raise TrimtabError(f"expected a batch of at least 1 row, got {batch}")
    fields = plan_fields(
        task=task,
        methods=methods,
        data=data,
        model=model,
        users=users,
        history=history,
        tests=tests,
        seed=seed,
        settings=settings,
        generate=generate,
        max_new_tokens=max_new_tokens,
    )
    console = Console()
    made = make_plan(fields, file=plan, controls=controls)
    dataset = made.dataset()
    console.print(dataset.described(), soft_wrap=True, highlight=False, markup=False)
    folder = out or _new_folder(f"{name}-{made.task}")
    with progress(console, quiet=quiet) as display:
        display.doing(f"loading {made.model}")
        loaded = load_model(made.model, Placement(dtype, device, device_map))
        results = study(Setting(made, loaded, dataset, folder, batch, display))
    _show(results, folder)


def run_shop_study(
    name: str,
    study: ShopStudy,
    *,
    users: Annotated[int, typer.Option(help="How many users of a bazaar.")] = 24,
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    seed: Annotated[int, typer.Option(help="Of the world and the draws.")] = 0,
    flips: Annotated[bool, typer.Option(help="Users change half way.")] = False,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Run a study of tool choices in a bazaar.

    Raises:
        TrimtabError: Anything that a person can put right.
    """
    import tempfile

    from rich.console import Console

    from ..envs.shop.environment import ShopEnvironment
    from ..envs.worlds.bazaar import generate_bazaar
    from ..eval.figures import check_plots
    from ..eval.studies.tool_choices import NothingRecommended
    from .console.progress import progress

    check_plots()
    world = generate_bazaar(users=users, products=300, seed=seed, flips=flips)
    folder = out or _new_folder(name)
    with progress(Console(), quiet=quiet) as display, tempfile.TemporaryDirectory() as scratch:
        display.doing(f"loading {model}")
        loaded = load_model(model, Placement(dtype, device, device_map))
        shop = ShopEnvironment(world, Path(scratch), recommender=NothingRecommended())
        results = study(loaded, shop, folder, display.doing)
    _show(results, folder)


def numbers(text: str, what: str) -> list[float]:
    """Numbers from a line: ``0.5,1,2``.

    Raises:
        TrimtabError: Something else is in it, or nothing.
    """
    parts = [part.strip().removesuffix("%") for part in text.split(",") if part.strip()]
    try:
        read = [float(part) for part in parts]
    except ValueError:
        read = []
    if not read:
        raise TrimtabError(f"expected {what} as numbers with commas, got {text!r}")
    return read


def shares(text: str) -> Sequence[float]:
    """Parts of 1 from percent: ``5,10%``.

    Raises:
        TrimtabError: As ``numbers``.
    """
    return [share / 100 for share in numbers(text, "shares")]


def _new_folder(name: str) -> Path:
    from ..files import home

    return home() / "runs" / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def _show(results: Found, folder: Path) -> None:
    """Keep the tables and figures in the folder, and print the tables."""
    from rich.console import Console

    from ..eval.studies.finding import keep
    from .console.finding import print_findings

    tables, drawn = results
    findings = tables if isinstance(tables, list) else [tables]
    figures = drawn if isinstance(drawn, list) else [drawn]
    written = [
        path
        for finding, figure in zip_longest(findings, figures)
        for path in keep(finding, figure, folder)
    ]
    print_findings(findings, written, Console())
