"""Built-in worlds written to folders, in the benchmarks' own formats."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ...errors import TrimtabError
from ..shop.personalwab import save_world
from ..worlds.bazaar import generate_bazaar
from ..worlds.gazette import GazetteSize, save_gazette

BuiltIn = Literal["bazaar", "gazette"]


def make_world(
    kind: BuiltIn, folder: Path | str, *, seed: int = 0, sizes: Mapping[str, int | None]
) -> str:
    """Generate a built-in world and write it.

    Args:
        kind: Which.
        folder: Made if absent.
        seed: Any integer; the same arguments write the same files.
        sizes: ``users`` for both, ``products`` for the bazaar, ``history`` and ``tests`` for the
            gazette; None keeps the world's own.

    Returns:
        A line on what was written.

    Raises:
        TrimtabError: A size that this world does not have, or that is out of range.
    """
    given: dict[str, Any] = {name: size for name, size in sizes.items() if size is not None}
    known = {"bazaar": ("users", "products"), "gazette": ("users", "history", "tests")}[kind]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TrimtabError(f"the {kind} has no {unknown[0]}; its sizes are {', '.join(known)}")
    try:
        if kind == "bazaar":
            world = generate_bazaar(**given, seed=seed)
            save_world(world, folder)
            return f"wrote {len(world.users)} users and {len(world.products)} products to {folder}"
        authors = given.pop("users", GazetteSize.authors)
        size = replace(GazetteSize(authors=authors), **given)
        save_gazette(folder, size, seed=seed)
    except OSError as error:
        raise TrimtabError(f"cannot write {folder}: {error.strerror}") from error
    return (
        f"wrote {size.authors} authors of headlines and {size.authors} of abstracts, each with "
        f"{size.history} past samples and {size.tests} tests, to {folder}"
    )
