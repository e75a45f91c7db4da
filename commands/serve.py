"""``trimtab serve``: one model and every user's dictionary behind OpenAI's API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .loading import BY_HARDWARE, Device, DeviceMap, Dtype, ModelName, Placement, load_model
from .run import Quiet

if TYPE_CHECKING:
    from rich.console import Console

    from ..serve.service import Service

app = typer.Typer()

Store = Annotated[
    str | None,
    typer.Option(
        help="sqlite:///FILE, postgresql://..., or a file's path; default: in the cache folder."
    ),
]


@app.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    store: Store = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen.")] = 8000,
    demo: Annotated[
        bool, typer.Option("--demo", help="With the bazaar's users, their dictionaries built.")
    ] = False,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file with a [steering] table.")
    ] = None,
    holdout: Annotated[
        float, typer.Option(min=0, max=1, help="The share of users who are never steered.")
    ] = 0.0,
    max_rows: Annotated[int, typer.Option(min=1, help="Answers decoded together.")] = 16,
    max_waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait.")] = 64,
    name: Annotated[
        str | None, typer.Option(help="What callers name the model; default: its own name.")
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    quiet: Quiet = False,
) -> None:
    """Serve a model behind OpenAI's API, steered by each user's own history."""
    if context.invoked_subcommand is None:
        serve_command(
            model=model,
            placement=Placement(dtype, device, device_map),
            store=store,
            host=host,
            port=port,
            demo=demo,
            settings=settings,
            holdout=holdout,
            max_rows=max_rows,
            max_waiting=max_waiting,
            name=name,
            quiet=quiet,
        )


def serve_command(
    *,
    model: str,
    placement: Placement = BY_HARDWARE,
    store: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    demo: bool = False,
    settings: Path | None = None,
    holdout: float = 0.0,
    max_rows: int = 16,
    max_waiting: int = 64,
    name: str | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> None:
    """Serve until the process is told to end; what is under way is finished first.

    Args:
        model: A model's name, hub id or folder.
        placement: In which data type and on which devices it is loaded.
        store: The store's; None is one in the cache folder.
        host: Where to listen.
        port: Where to listen; 0 is any that is free.
        demo: Build the dictionaries of the bazaar's users, and put them in the store.
        settings: A TOML file with a ``[steering]`` table; None is the default.
        holdout: The share of users who are never steered.
        max_rows: So many answers are decoded together.
        max_waiting: So many more may wait.
        name: What callers name the model; None is its own name.
        quiet: Show no progress.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
    """
    import uvicorn
    from rich.console import Console

    from ..eval.shop.opening import load_settings
    from ..files import home
    from ..serve.app import create_app
    from ..serve.opening import open_service
    from .console.progress import progress

    console = console or Console(stderr=True)
    place = store or str(home() / ("demo.db" if demo else "users.db"))
    with progress(console, quiet=quiet) as told:
        told.doing(f"loading {model}")
        loaded = load_model(model, placement)
        chosen = load_settings(settings)
        service = open_service(
            loaded,
            place,
            settings=chosen,
            name=name,
            holdout=holdout,
            max_rows=max_rows,
            max_waiting=max_waiting,
        )
    if demo:
        _fill(service, console, quiet)
    config = uvicorn.Config(
        create_app(service), host=host, port=port, log_config=None, timeout_graceful_shutdown=30
    )
    server = uvicorn.Server(config)
    console.print(f"serving {service.name} at http://{host}:{port}", highlight=False)
    try:
        server.run()
    finally:
        service.close()


def _fill(service: Service, console: Console, quiet: bool) -> None:
    """Put the dictionaries of the bazaar's users into the store, where they are not yet."""
    from ..eval.shop.opening import BUILT_IN_WORLD, open_shop, users_dictionaries
    from .console.progress import counting, progress

    shop = open_shop(BUILT_IN_WORLD)
    known = set(service.store)
    wanted = sorted({task.user_id for task in shop.world.train} - known)
    if not wanted:
        return
    with progress(console, quiet=quiet) as told:
        done = counting(told, "steering dictionaries", len(wanted))
        found = users_dictionaries(service.model, shop, wanted, service.settings, progress=done)
        service.store.put(*found.values())
