"""``trimtab eval``: compare ways to personalize: on texts, in the shop, and ways to call."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .flags import (
    Controls,
    Data,
    Generate,
    History,
    Json,
    NewTokens,
    PlanFile,
    PlannedModel,
    Quiet,
    RunOut,
    Seed,
    Settings,
    Tests,
    Users,
    plan_fields,
)
from .loading import Device, DeviceMap, Dtype, Placement

if TYPE_CHECKING:
    from ..eval.opening import Plan


_SPECTRUM = ("part", "offered", "written", "references")
"""Flags of the task toolspectrum alone."""


def evaluate(
    task: Annotated[
        str | None,
        typer.Argument(
            help="headlines, abstracts, lamp-2n, lamp-2m, lamp-3, lamp-5, lamp-7, texts (your "
            "own records), shop, bfcl or toolspectrum.",
            show_default=False,
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, with options: zero-shot,rag(k=3,by=bm25),fints(strength=2). "
            "There are zero-shot, rag, pag, cos, stylevector, fints and two-part; of bfcl free, "
            "constrained and auto; of toolspectrum also persona and persona-vector.",
            show_default="zero-shot,rag,fints",
        ),
    ] = None,
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
    temperature: Annotated[
        float | None, typer.Option(help="Of sampled answers.", show_default="0")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Sampled answers to each sample.", show_default="1")
    ] = None,
    max_new_tokens: NewTokens = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens of prompt and answer; default: the model's own.")
    ] = None,
    batch: Annotated[
        int, typer.Option(help="Rows at once; with 1, seconds are each answer's own latency.")
    ] = 48,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Answer on the workers of a Ray cluster: HOST:PORT, auto, or local for one on "
            "this machine."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Of --ray; default: one a GPU, or one a machine without GPUs."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="Of toolspectrum, whose items: test, or tune, the third that settings are chosen "
            "on.",
            show_default="test",
        ),
    ] = None,
    offered: Annotated[
        str | None,
        typer.Option(
            help="Of toolspectrum, whose functions a prompt shows: competing (the right app's and "
            "its competitors'), or all.",
            show_default="competing",
        ),
    ] = None,
    written: Annotated[
        str | None,
        typer.Option(
            help="Of toolspectrum, how far an answer is written: call, or name, which is faster "
            "and tells the app and the function alone.",
            show_default="call",
        ),
    ] = None,
    steer_by: Annotated[
        str | None,
        typer.Option(
            help="Of bfcl, a store: every way once more, steered by a random user's dictionary."
        ),
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(
            help="Of toolspectrum, how many requests of others a persona's vector is read from.",
            show_default="4",
        ),
    ] = None,
    plan: PlanFile = None,
    out: RunOut = None,
    resume: Annotated[
        Path | None, typer.Option(help="Resume the run in this folder, as it was begun.")
    ] = None,
    rescore: Annotated[
        Path | None, typer.Option(help="Only score the outputs in this folder anew.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show every record as it ends.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare ways to personalize a model, each steered one beside its controls."""
    from ..errors import TrimtabError
    from .console.running import rescore_run, resume_run, run_plan

    given = plan_fields(
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
        temperature=temperature,
        repeats=repeats,
        max_new_tokens=max_new_tokens,
        context=context,
    )
    rare = {
        "part": part,
        "offered": offered,
        "written": written,
        "references": references,
        "steer_by": steer_by,
    }
    given |= {name: value for name, value in rare.items() if value is not None}
    placement = Placement(dtype, device, device_map)
    if workers is not None and ray is None:
        raise TrimtabError("--workers says nothing without --ray ADDRESS")
    how: dict[str, Any] = {"batch_size": batch, "show": show, "quiet": quiet, "as_json": as_json}
    how |= {"ray": ray, "workers": workers}
    folder = resume or rescore
    if folder is None:
        made = plan_from(given, file=plan, controls=controls)
        run_plan(made, placement=placement, out=out, **how)
        return
    others = {**given, "plan": plan, "out": out, "rescore": rescore if resume else None}
    others["ray"] = None if resume else ray
    asked = sorted(name for name, value in others.items() if value is not None)
    if asked:
        what = "--resume" if resume else "--rescore"
        named = {"task": f"the task {task!r}", "generate": "--no-generate"}
        other = named.get(asked[0], f"--{asked[0].replace('_', '-')}")
        raise TrimtabError(f"{what} takes all from the run's folder; leave out {other}")
    if resume:
        resume_run(resume, placement=placement, **how)
    else:
        rescore_run(folder, as_json=as_json)


def plan_from(
    given: Mapping[str, Any], *, file: Path | None = None, controls: bool = True
) -> "Plan":
    """The plan that flags ask for, whatever the task.

    Args:
        given: The flags by name; None is one that was not given.
        file: A TOML file of texts.
        controls: Whether steered methods bring their controls.

    Raises:
        TrimtabError: Flags that say nothing to the task, or as its plan.
    """
    from ..errors import TrimtabError
    from ..eval.texts.kinds import OTHER_TASKS, TASKS, check_task
    from ..eval.texts.plan import make_plan

    task = given.get("task")
    if task is not None:
        check_task(task, [*TASKS, *OTHER_TASKS])
    own = {"toolspectrum": _SPECTRUM, "bfcl": ("steer_by",)}
    for of, names in own.items():
        named = {name for name in names if task != of and given.get(name) is not None}
        _check(named, (), str(task), "`trimtab eval --help`")
    if task not in OTHER_TASKS:
        return make_plan(given, file=file, controls=controls)
    if file is not None:
        raise TrimtabError(f"--plan says nothing to the task {task}; give its flags instead")
    flags = {name: value for name, value in given.items() if value is not None and name != "task"}
    if task == "toolspectrum":
        return _spectrum_plan(flags, controls)
    return _shop_plan(flags, controls) if task == "shop" else _call_plan(flags)


def _shop_plan(flags: Mapping[str, Any], controls: bool) -> "Plan":
    from ..errors import TrimtabError
    from ..eval.shop.plan import DEFAULT_METHODS, ShopPlan, shop_methods

    known = {"model", "data", "users", "seed", "settings", "methods", "temperature", "repeats"}
    _check(flags, known, "shop", "`trimtab run`")
    spread = flags.get("users")
    if spread is not None and spread < 1:
        raise TrimtabError(f"expected users of at least 1, got {spread}")
    settings = flags.get("settings")
    same = {
        name: flags[name] for name in ("model", "seed", "temperature", "repeats") if name in flags
    }
    return ShopPlan(
        methods=shop_methods(
            flags.get("methods", DEFAULT_METHODS),
            None if settings is None else Path(settings),
            controls=controls,
        ),
        **({"world": flags["data"]} if "data" in flags else {}),
        # One search, one recommendation and one review of each user.
        **({"spread": spread, "episodes": 3 * spread} if spread else {}),
        **same,
    )


def _call_plan(flags: Mapping[str, Any]) -> "Plan":
    from ..eval.calls.plan import DEFAULT_METHODS, CallPlan, call_methods

    known = {"model", "data", "methods", "tests", "seed", "max_new_tokens", "steer_by"}
    _check(flags, known, "bfcl", "`trimtab eval --help`")
    used = ("methods", "data", "steer_by")
    rest = {name: value for name, value in flags.items() if name not in used}
    return CallPlan(
        methods=call_methods(flags.get("methods", DEFAULT_METHODS), flags.get("steer_by", "")),
        data=flags.get("data", ""),
        **rest,
    )


def _spectrum_plan(flags: Mapping[str, Any], controls: bool) -> "Plan":
    from ..eval.calls.spectrum.methods import DEFAULT_METHODS, spectrum_methods
    from ..eval.calls.spectrum.plan import SpectrumPlan

    known = {"model", "data", "methods", "users", "seed", "settings", "max_new_tokens"}
    known |= set(_SPECTRUM)
    _check(flags, known, "toolspectrum", "`trimtab eval --help`")
    settings = flags.get("settings")
    methods = spectrum_methods(
        flags.get("methods", DEFAULT_METHODS),
        None if settings is None else Path(settings),
        controls=controls,
    )
    rest = {k: v for k, v in flags.items() if k not in ("methods", "settings", "data")}
    return SpectrumPlan(methods=methods, data=flags.get("data", ""), **rest)


def _check(flags: Collection[str], known: Collection[str], task: str, where: str) -> None:
    from ..errors import TrimtabError

    unknown = sorted(set(flags) - set(known))
    if unknown:
        name = unknown[0].replace("_", "-")
        raise TrimtabError(f"--{name} says nothing to the task {task}; see {where}")
