"""``trimtab serve``: one model and every user's dictionary behind OpenAI's API."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .flags import Quiet, ServedStore, Settings
from .loading import Device, DeviceMap, Dtype, ModelName, Placement, load_model

if TYPE_CHECKING:
    import socket

    from rich.console import Console

    from ..serve.page.episodes import Episodes
    from ..serve.replicas import ReplicaPlan
    from ..serve.service import Service

_BUILT_AT_ONCE = 2  # of a demonstration's users, those that the page shows; others when chosen

app = typer.Typer()


@app.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    model: ModelName = "qwen2.5-coder-0.5b-instruct",
    store: ServedStore = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen.")] = 8000,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="With the bazaar's users; their dictionaries are built on it."),
    ] = False,
    settings: Settings = None,
    holdout: Annotated[
        float, typer.Option(min=0, max=1, help="The share of users who are never steered.")
    ] = 0.0,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="So many servers on Ray Serve, on a PostgreSQL store."),
    ] = None,
    max_rows: Annotated[int, typer.Option(min=1, help="Answers decoded together.")] = 16,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait.")] = 64,
    name: Annotated[
        str | None, typer.Option(help="What callers name the model; default: its own name.")
    ] = None,
    new_tokens: Annotated[
        int, typer.Option(min=1, help="Of an answer, where a request does not say.")
    ] = 256,
    temperature: Annotated[
        float, typer.Option(min=0, max=2, help="Where a request does not say.")
    ] = 0.0,
    expire_days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="Drop entries written before.")
    ] = None,
    log_words: Annotated[
        bool, typer.Option("--log-words", help="Write what users and the model say into the log.")
    ] = False,
    disk_prefixes: Annotated[
        bool,
        typer.Option(
            "--disk-prefixes",
            help="Keep callers' system prompts and tools on disk, run, for the next start; only "
            "where system prompts say nothing of users.",
        ),
    ] = False,
    trained: Annotated[
        str | None,
        typer.Option(help="Apply what the store keeps under this name, such as perfit."),
    ] = None,
    shared: Annotated[
        Path | None, typer.Option(help="Trained interventions (safetensors) that every user gets.")
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    quiet: Quiet = False,
) -> None:
    """Serve a model behind OpenAI's API, steered by each user's own history."""
    if context.invoked_subcommand is not None:
        return
    import signal

    import uvicorn
    from rich.console import Console

    from ..eval.shop.opening import load_settings
    from ..files import home
    from ..serve.app import create_app
    from ..serve.logs import log_as_json
    from ..serve.opening import is_loopback, open_service
    from ..serve.service import RequestLimits
    from .console.progress import progress

    console = Console(stderr=True)
    placement = Placement(dtype, device, device_map, disk_prefixes)
    place = store or str(home() / ("demo.db" if demo else "users.db"))
    _check_keys(place, host)
    limits = RequestLimits(new_tokens=new_tokens, temperature=temperature)
    chosen = load_settings(settings)
    options: dict[str, Any] = {
        "name": name,
        "holdout": holdout,
        "max_rows": max_rows,
        "max_waiting": max_waiting,
        "loopback": is_loopback(host),
        "log_words": log_words,
        "trained": trained,
        "shared": shared,
    }
    if replicas is not None:
        _check_replicas(place, port, demo, placement)
        from ..serve.replicas import ReplicaPlan

        plan = ReplicaPlan(
            model=model,
            store=place,
            settings=chosen,
            dtype=placement.dtype,
            device=placement.device,
            disk_prefixes=bool(placement.disk_prefixes),
            options=options,
            limits=limits,
            expire_days=expire_days,
        )
        _serve_replicas(plan, replicas, host, port, console)
        return
    with progress(console, quiet=quiet) as display:
        display.doing(f"loading {model}")
        placement = replace(placement, disk_prefixes=bool(placement.disk_prefixes))
        loaded = load_model(model, placement)
        service = open_service(
            loaded,
            place,
            settings=chosen,
            limits=limits,
            expire_after=None if expire_days is None else timedelta(days=expire_days),
            **options,
        )
    episodes = _demonstration(service) if demo else None
    log_as_json()
    config = uvicorn.Config(
        create_app(service, episodes=episodes),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=30,
    )
    with _listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        console.print(f"serving {service.name} at {url}", highlight=False, soft_wrap=True)
        server = uvicorn.Server(config)

        def end(*_: Any) -> None:
            server.should_exit = True

        # uvicorn takes the signal's place while it runs; once it has shut down, it raises it again,
        # which would end the process by it.
        signal.signal(signal.SIGTERM, end)
        server.run(sockets=[listener])


def _check_keys(store: str, host: str) -> None:
    """Refuse to listen to other machines without keys, before a model is loaded.

    Raises:
        TrimtabError: There is no key.
    """
    from ..errors import TrimtabError
    from ..serve.opening import is_loopback
    from ..steering.store.steering_store import SteeringStore

    if is_loopback(host):
        return
    with SteeringStore(store, audit_reads=False) as opened:
        if not opened.access_keys.any():
            raise TrimtabError(
                f"expected a key in the store before other machines are listened to at {host}; "
                f"make one: trimtab keys make --store {store}, or leave --host out"
            )


def _check_replicas(store: str, port: int, demo: bool, placement: Placement) -> None:
    """Refuse what several machines cannot share.

    Raises:
        TrimtabError: No Ray, a store that is no PostgreSQL or cannot be reached, or an option that
            needs one process.
    """
    import importlib.util

    from ..errors import TrimtabError
    from ..steering.store.place import place_of
    from ..steering.store.steering_store import SteeringStore

    if importlib.util.find_spec("ray") is None:
        raise TrimtabError("--replicas needs Ray; run: pip install 'trimtab[ray]'")
    if place_of(store).file is not None:
        raise TrimtabError(
            f"replicas share a PostgreSQL store, got {store}; give --store postgresql://..., or "
            "leave --replicas out"
        )
    if demo or placement.device_map is not None:
        raise TrimtabError("--demo and --device-map are for one server; leave --replicas out")
    if port == 0:
        raise TrimtabError("replicas on several machines listen on one port; give --port")
    with SteeringStore(store, audit_reads=False) as opened:
        opened.access_keys.any()  # whoever cannot reach it is told so before models are loaded


def _serve_replicas(plan: ReplicaPlan, count: int, host: str, port: int, console: Console) -> None:
    """Serve on Ray until the process is told to end."""
    import signal
    import threading

    from ..serve.replicas import replicas
    from ..steering.weights.machine import default_device

    over = threading.Event()
    device = plan.device or str(default_device())
    gpus = float(device.startswith("cuda"))
    with replicas(plan, count, host=host, port=port, gpus=gpus):
        for wanted in (signal.SIGTERM, signal.SIGINT):
            signal.signal(wanted, lambda *_: over.set())
        console.print(
            f"serving {count} replicas at http://{host}:{port}", highlight=False, soft_wrap=True
        )
        over.wait()


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        TrimtabError: Another program does already, or the host is no address of this machine.
    """
    import socket

    from ..errors import TrimtabError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise TrimtabError(
            f"cannot listen at {host} on port {port}: {error}; give another --host or --port"
        ) from error


@app.command("report")
def report(store: ServedStore = None) -> None:
    """Say whether steering helps: the users who are steered against those held out."""
    from rich.console import Console

    from ..files import home
    from ..serve.report import compared
    from ..steering.store.steering_store import SteeringStore
    from .console.arms_table import print_arms

    place = store or str(home() / "users.db")
    with SteeringStore(place, audit_reads=False, existing=True) as opened:
        print_arms(Console(), compared(opened.outcomes.all()))


def _demonstration(service: Service) -> Episodes:
    """The bazaar's episodes for the page, whose users' dictionaries are built behind it."""
    from ..eval.shop.opening import BUILT_IN_WORLD, open_shop
    from ..serve.page.building import Building
    from ..serve.page.episodes import Episodes

    shop = open_shop(BUILT_IN_WORLD)
    users = list(dict.fromkeys(task.user_id for task in shop.world.test))
    building = Building(service, shop, users[:_BUILT_AT_ONCE])
    return Episodes(shop, service.model.encoder.similarity, building)
