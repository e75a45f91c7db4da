"""``trimtab keys``: who may call the server, for which users, and what for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .flags import ServedStore

if TYPE_CHECKING:
    from ..steering.store.steering_store import SteeringStore

app = typer.Typer(no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make, list and revoke the keys of a server's callers."""


@app.command("make")
def make(
    store: ServedStore = None,
    label: Annotated[str, typer.Option(help="What you call it.")] = "",
    users: Annotated[
        str, typer.Option(help="For whom it may act: all, prefix:BEGINNING or one:ID.")
    ] = "all",
    right: Annotated[
        list[str] | None,
        typer.Option(help="What it may do: chat, learn, manage, metrics; may be repeated."),
    ] = None,
) -> None:
    """Make a key and print it, once: the store keeps a hash alone."""
    from ..errors import TrimtabError
    from ..serve.access import RIGHTS, Users, make_key

    wanted = right or ["chat"]
    unknown = sorted(set(wanted) - set(RIGHTS))
    if unknown:
        raise TrimtabError(f"expected the rights {', '.join(RIGHTS)}, got {unknown[0]!r}")
    rights = frozenset(known for known in RIGHTS if known in wanted)
    with _opened(store) as opened:
        print(make_key(opened, label, Users.read(users), rights))


@app.command("list")
def list_keys(store: ServedStore = None) -> None:
    """List the keys: id, when it was made, users, rights, label."""
    with _opened(store) as opened:
        for key in opened.access_keys.list():
            made = f"{key.made:%Y-%m-%d %H:%M}"
            print(f"{key.id}  {made}  {key.users}  {key.rights}  {key.label}".rstrip())


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, as `trimtab keys list` shows it.")],
    store: ServedStore = None,
) -> None:
    """Revoke a key, for all servers at once."""
    from ..errors import TrimtabError

    with _opened(store) as opened:
        if not opened.access_keys.drop(key):
            raise TrimtabError(f"there is no key {key!r}; `trimtab keys list` shows them")


def _opened(store: str | None) -> SteeringStore:
    from ..files import home
    from ..steering.store.steering_store import SteeringStore

    return SteeringStore(store or str(home() / "users.db"), audit_reads=False)
