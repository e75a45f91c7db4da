"""``trimtab store``: all users' dictionaries in one place: fill it, look at it, forget users."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TrimtabError
from .flags import Data, History, Quiet, Settings, Users, WorldSource
from .loading import Device, DeviceMap, Dtype, ModelName, Placement, load_model

if TYPE_CHECKING:
    from ..steering.store.steering_store import SteeringStore

app = typer.Typer(no_args_is_help=True)

Uri = Annotated[
    str, typer.Argument(help="The store: sqlite:///FILE, postgresql://..., or a file's path.")
]


@app.callback()
def store() -> None:
    """Keep all users' steering dictionaries in one place."""


@app.command("build")
def build(
    uri: Uri,
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    world: WorldSource = "bazaar",
    user: Annotated[list[str] | None, typer.Option(help="Only this user; may be repeated.")] = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Build shopping users' dictionaries from their training tasks, and put them in."""
    from rich.console import Console

    from ..eval.shop.opening import load_settings, open_shop, users_dictionaries
    from ..steering.store.steering_store import SteeringStore
    from .console.progress import counting, progress

    console = Console()
    chosen = load_settings(settings)
    shop = open_shop(world)
    for each in user or ():
        shop.world.profile(each)  # refuses an unknown one
    wanted = list(user or ()) or sorted({task.user_id for task in shop.world.train})
    with progress(console, quiet=quiet) as display:
        display.doing(f"loading {model}")
        loaded = load_model(model, Placement(dtype, device, device_map))
        with SteeringStore(uri, model=loaded) as store:
            done = counting(display, "steering dictionaries", len(wanted))
            built = users_dictionaries(loaded, shop, wanted, chosen, progress=done)
            store.put(*built.values())
    left = len(wanted) - len(built)
    without = f"; {left} have no training tasks" if left else ""
    console.print(f"{len(built)} users' dictionaries are in {uri}{without}", soft_wrap=True)


@app.command("train")
def train(
    uri: Uri,
    task: Annotated[str, typer.Argument(help="A text task; see `trimtab eval`.")],
    method: Annotated[
        str, typer.Option(help="One trained method with its options, such as 'perfit(rank_p=1)'.")
    ],
    data: Data = None,
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    users: Users = None,
    history: History = None,
    name: Annotated[
        str | None, typer.Option(help="What the store calls it; default: the method's name.")
    ] = None,
    shared: Annotated[
        Path | None,
        typer.Option(help="A file for what all users share; else it is kept with each user."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train users of a text task, and keep what is theirs beside their dictionaries."""
    from rich.console import Console

    from ..eval.methods.registry import parse_methods
    from ..eval.texts.plan import TextPlan
    from ..eval.texts.task import TextTask
    from ..eval.texts.trained import check_trained, train_users
    from ..steering.store.steering_store import SteeringStore
    from ..steering.store.trained import keep_stages
    from ..steering.vectors.low_rank import save_stages
    from .console.progress import progress

    chosen = parse_methods(method)
    if len(chosen) != 1:
        raise TrimtabError(f"expected one method to train, got {len(chosen)}: {method!r}")
    [named] = chosen
    check_trained(named)
    called = name or named.method.name
    console = Console()
    plan = TextPlan(task, (named,), model, data or "", users, history=history)
    dataset = plan.dataset()
    with progress(console, quiet=quiet) as display:
        display.doing(f"loading {model}")
        loaded = load_model(model, Placement(dtype, device, device_map))
        with SteeringStore(uri, model=loaded) as opened:
            trained = train_users(TextTask(plan, loaded, dataset), named, display)
            first = () if shared else trained.shared
            kept = {user: (*first, *own) for user, own in trained.own.items() if first or own}
            for user, stages in kept.items():
                keep_stages(opened, user, called, stages, fingerprint=loaded.fingerprint)
            if shared:
                save_stages(shared, trained.shared, fingerprint=loaded.fingerprint)
    size = max((4 * sum(s.parameters for s in stages) for stages in kept.values()), default=0)
    seconds = trained.costs.get("seconds", 0.0)
    told = [
        f"{len(kept)} users' {called} is in {uri}: {size:,} bytes each" if kept else "",
        f"what all share is in {shared}" if shared and trained.shared else "",
        f"{seconds:.0f} s of training",
    ]
    console.print("; ".join(filter(None, told)), soft_wrap=True, highlight=False)


@app.command("list")
def list_users(
    uri: Uri,
    everyone: Annotated[
        bool,
        typer.Option("--all", help="Also users of whom something is kept, but no dictionary."),
    ] = False,
) -> None:
    """List the users, one a line."""
    with _opened(uri) as opened:
        for user in opened.everyone() if everyone else opened.users():
            print(user)


@app.command("put")
def put(
    uri: Uri,
    files: Annotated[list[Path], typer.Argument(help="Dictionaries as safetensors files.")],
) -> None:
    """Put dictionaries in the place of what the store holds of their users."""
    from ..steering.dictionaries.dictionary import SteeringDictionary

    dictionaries = [SteeringDictionary.load(file) for file in files]
    with _opened(uri, existing=False) as opened:
        opened.put(*dictionaries)
    for dictionary in dictionaries:
        print(f"{dictionary.user_id}: {len(dictionary)} entries")


@app.command("export")
def export(
    uri: Uri,
    user: Annotated[str, typer.Argument(help="Whose dictionary.")],
    file: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
) -> None:
    """Write one user's dictionary to a file."""
    with _opened(uri) as opened:
        opened[user].save(file)


class VectorForm(StrEnum):
    """The forms in which other tools read a steering vector."""

    gguf = "gguf"
    lm_eval = "lm-eval"


@app.command("vector")
def vector(
    uri: Uri,
    file: Annotated[Path, typer.Argument(help="The file to write: .gguf, or .pt of lm-eval.")],
    to: Annotated[
        VectorForm,
        typer.Option(
            help="gguf: a control vector for llama.cpp. lm-eval: a steer_path for "
            "lm-evaluation-harness."
        ),
    ] = VectorForm.gguf,
    user: Annotated[
        str | None, typer.Option(help="The mean of this user's entries; default: everybody's.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="A TOML file with a [steering] table: sites, depths and strength."),
    ] = None,
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
) -> None:
    """Write a mean vector for other tools to steer with, at the strength of the settings."""
    from ..eval.shop.opening import load_settings
    from ..steering.dictionaries.population import Population
    from ..steering.store.steering_store import SteeringStore
    from ..steering.vectors.control_vector import save_gguf, save_lm_eval
    from ..steering.vectors.steering_vectors import SteeringVectors, points_of

    chosen = load_settings(settings)
    loaded = load_model(model, Placement(dtype, device, device_map))
    with SteeringStore(uri, model=loaded, audit_reads=False, existing=True) as opened:
        everyone = opened.population() if user is None else Population.of(opened[user])
    kinds = sorted(everyone.kinds) if chosen.contrast == "any" else [chosen.contrast]
    mean = SteeringVectors.mean(everyone.mean(kind) for kind in kinds)
    wanted = points_of(chosen.layers(loaded), chosen.sites)
    missing = [tuple(point) for point in wanted if point not in mean.values]
    if missing:
        raise TrimtabError(
            f"{uri} holds no vectors at {missing}, where the settings' sites and depths are; it "
            f"has {[tuple(point) for point in mean.points]}"
        )
    vectors = SteeringVectors({point: mean.values[point] for point in wanted})
    if to is VectorForm.gguf:
        hint = loaded.hf.config.get_text_config().model_type
        save_gguf(file, vectors, model_type=hint, strength=chosen.strength)
    else:
        save_lm_eval(file, vectors, loaded, strength=chosen.strength)
    print(f"{file}: {', '.join(f'layer {p.layer} {p.site}' for p in wanted)}")


@app.command("copy")
def copy(
    uri: Uri,
    user: Annotated[str, typer.Argument(help="Of whom.")],
    file: Annotated[Path, typer.Argument(help="The JSON file to write.")],
) -> None:
    """Write everything that is kept of one user to a JSON file, for that user."""
    import json

    from ..files import replacing
    from ..steering.store.steering_store import SteeringStore

    with SteeringStore(uri, existing=True) as opened:
        whole = opened.copy_of(user)
    with replacing(file) as temporary:
        text = json.dumps(whole.to_dict(), ensure_ascii=False, indent=1)
        temporary.write_text(f"{text}\n", encoding="utf-8")


@app.command("forget")
def forget(
    uri: Uri,
    users: Annotated[list[str], typer.Argument(help="Whom to forget.")],
) -> None:
    """Erase everything of users, their audit trail too."""
    with _opened(uri) as opened:
        opened.forget(*users)


@app.command("expire")
def expire(
    uri: Uri,
    days: Annotated[float, typer.Option(help="Entries written longer ago than this many days.")],
) -> None:
    """Remove entries by age."""
    if not 0 <= days <= 36_500:
        raise TrimtabError(f"expected between 0 and 36500 days, got {days:g}")
    with _opened(uri) as opened:
        print(f"{opened.expire(timedelta(days=days))} entries expired")


@app.command("audit")
def audit(
    uri: Uri,
    user: Annotated[str | None, typer.Argument(help="Whose events; default: all.")] = None,
) -> None:
    """Show who was built, read, expired and forgotten, and when; users by a keyed hash."""
    with _opened(uri) as opened:
        for event in opened.audit(user):
            until = f" to {event.until:%H:%M:%S}" if event.until != event.at else ""
            when = f"{event.at:%Y-%m-%d %H:%M:%S}{until}"
            print(f"{when}  {event.event:9}  {event.count:6}  {event.owner[:16]}")


def _opened(uri: str, *, existing: bool = True) -> SteeringStore:
    from ..steering.store.steering_store import SteeringStore

    return SteeringStore(uri, audit_reads=False, existing=existing)
