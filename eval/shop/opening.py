"""What a run and a play start from: the shop, the settings, the users' dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TrimtabError
from ...files import home
from .dictionaries import (
    given_dictionaries,
    shop_dictionaries,
    stored_dictionaries,
    wants_context,
)

if TYPE_CHECKING:
    from ...envs.shop.environment import ShopEnvironment
    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.model import SteeredModel

BUILT_IN_WORLD = "bazaar"


def open_shop(world: str) -> ShopEnvironment:
    """The built-in bazaar, or the shop of a folder in PersonalWAB's format."""
    from ...envs.shop.environment import ShopEnvironment, load_shop
    from ...envs.worlds.bazaar import generate_bazaar

    return ShopEnvironment(generate_bazaar()) if world == BUILT_IN_WORLD else load_shop(world)


@contextmanager
def added_tools(shop: ShopEnvironment, path: Path | None) -> Iterator[None]:
    """Give the shop the tools of a file as well, each in the place of one that has its name.

    Sessions with MCP servers that the file names end with the context.

    Raises:
        TrimtabError: As ``open_tool_file``.
    """
    if path is None:
        yield
        return
    from ...tools.files.tool_file import open_tool_file

    with open_tool_file(path) as file:
        shop.toolkit = file.added_to(shop.toolkit)
        yield


def load_settings(path: Path | None) -> SteeringSettings:
    """The settings of a TOML file with a ``[steering]`` table; None is the shop's default."""
    from ...agent.shop.settings import TOOL_CHOICE
    from ...steering.dictionaries.settings import SteeringSettings

    return TOOL_CHOICE if path is None else SteeringSettings.load(path)


def given_by(
    model: SteeredModel,
    shop: ShopEnvironment,
    users: Sequence[str],
    folder: str = "",
    store: str = "",
) -> dict[str, SteeringDictionary] | None:
    """The users' dictionaries from a store or a folder; None where neither is named.

    Args:
        model: The model.
        shop: Whose users a folder's files may be of.
        users: Whose are wanted from a store.
        folder: Of files ``<user id>.safetensors``; empty is none.
        store: A ``SteeringStore``'s folder or URI; empty is none.

    Raises:
        TrimtabError: Both a folder and a store, or as their readers.
    """
    if folder and store:
        raise TrimtabError("expected a folder of dictionaries or a store, got both")
    if store:
        return stored_dictionaries(store, model, users)
    if folder:
        return given_dictionaries(Path(folder), model, shop.world.users)
    return None


def users_dictionaries(
    model: SteeredModel,
    shop: ShopEnvironment,
    users: Sequence[str],
    settings: SteeringSettings,
    *,
    folder: str = "",
    store: str = "",
    progress: Callable[[int], None] | None = None,
) -> dict[str, SteeringDictionary]:
    """The users' dictionaries: from a store, from a folder, or built here and kept.

    Args:
        model: The model.
        shop: Whose training tasks they are built from.
        users: Whose are wanted.
        settings: What is read, where they are built.
        folder: Of files ``<user id>.safetensors``; empty is none.
        store: A ``SteeringStore``'s URL or file; empty is none.
        progress: Told how many users more are done.

    Raises:
        TrimtabError: Both a folder and a store, or as their readers.
    """
    dictionaries = given_by(model, shop, users, folder, store)
    if dictionaries is not None:
        return dictionaries
    return shop_dictionaries(
        model,
        shop,
        users,
        settings,
        with_context=wants_context(settings),
        folder=home() / "dictionaries",
        progress=progress,
    )
