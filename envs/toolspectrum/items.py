"""ToolSpectrum's persona part, read and checked: requests of people, and the calls that suit them.

A folder holds ``dataset_persona.json``, a list of ``{instruction, persona, toolCall: {APP, API,
params}}``, and ``API_description_persona.json``, the apps in words. Items of one persona are one
person's; their order carries no time.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ...errors import TrimtabError
from ...tools.toolkit import Toolkit
from ..files.lamp_files import file_looks_like, folder_looks_like
from ..files.reading import read_json
from .descriptions import AppFunction, competing, functions_of

ITEMS_FILE = "dataset_persona.json"
APPS_FILE = "API_description_persona.json"

Part = Literal["test", "tune", "all"]
"""Whose items: those of two thirds of the personas, those of the other third, or all."""


@dataclass(frozen=True)
class SpectrumItem:
    """One request, and the call that suits the person.

    Attributes:
        id: The item's place in the file.
        persona: Whose it is; personas are numbered in the order of the file.
        request: What the person asks for.
        app: The right app.
        function: Its right function.
        arguments: The right arguments, without those that the function does not have.
    """

    id: str
    persona: str
    request: str
    app: str
    function: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ToolSpectrum:
    """The benchmark's persona part.

    Attributes:
        items: In the order of the file.
        personas: Who they are, in words, by id.
        functions: All functions of all apps.
        left_out: Arguments of right calls that their function does not have, by name, counted.
        fingerprint: Of both files.
    """

    items: tuple[SpectrumItem, ...]
    personas: Mapping[str, str]
    functions: tuple[AppFunction, ...]
    left_out: Mapping[str, int]
    fingerprint: str

    @cached_property
    def competing(self) -> dict[str, tuple[str, ...]]:
        """The apps that each app competes with, itself among them."""
        return competing(list(self.functions))

    def group(self, app: str) -> str:
        """A name of the competing apps that this app is one of."""
        return " / ".join(self.competing[app])

    def function(self, app: str, name: str) -> AppFunction:
        """The function of that name of an app."""
        return self._by_name[app, name]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], AppFunction]:
        return {(each.app, each.name): each for each in self.functions}

    def toolkit(self, apps: Sequence[str] | None = None) -> Toolkit:
        """The functions of some apps as tools; None is all."""
        return Toolkit([f.tool for f in self.functions if apps is None or f.app in apps])

    def part(self, part: Part, *, users: int | None = None, seed: int = 0) -> ToolSpectrum:
        """Only the items of some personas.

        Args:
            part: Which third, or two thirds, of the personas.
            users: At most so many of them, drawn; None is all.
            seed: Of the split and the draw.

        Raises:
            TrimtabError: Fewer than one persona asked for.
        """
        if users is not None and users < 1:
            raise TrimtabError(f"expected users of at least 1, got {users}")
        order = sorted(self.personas, key=int)
        random.Random(seed).shuffle(order)
        third = len(order) // 3
        chosen = {"tune": order[:third], "test": order[third:], "all": order}[part][:users]
        items = tuple(item for item in self.items if item.persona in chosen)
        return replace(self, items=items, personas={p: self.personas[p] for p in sorted(chosen)})


def load_toolspectrum(folder: Path | str) -> ToolSpectrum:
    """Read the benchmark's persona part.

    Args:
        folder: With ``dataset_persona.json`` and ``API_description_persona.json``.

    Raises:
        TrimtabError: A file that is not there or is another, or an item that is not whole; the
            message names the item.
    """
    folder = Path(folder).expanduser()
    items, apps = (_read(folder, name) for name in (ITEMS_FILE, APPS_FILE))
    if not isinstance(items, list) or not items or not isinstance(apps, dict) or not apps:
        raise TrimtabError(
            f"{folder}: expected a list of items in {ITEMS_FILE} and an object of apps in "
            f"{APPS_FILE}, got {type(items).__name__} and {type(apps).__name__}"
        )
    functions = tuple(functions_of(apps))
    known = {(each.app, each.name): each for each in functions}
    personas: dict[str, str] = {}
    of_text: dict[str, str] = {}
    left_out: dict[str, int] = {}
    found = []
    for place, item in enumerate(items):
        try:
            text = persona_text(item["persona"])
            call, request = item["toolCall"], item["instruction"]
            function = known[call["APP"], call["API"]]
            arguments = dict(call["params"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrimtabError(
                f"{ITEMS_FILE}, item {place}: expected instruction, persona and toolCall with APP, "
                f"API (of {APPS_FILE}) and params; {error!r}"
            ) from error
        if not isinstance(request, str) or not request.strip():
            raise TrimtabError(f"{ITEMS_FILE}, item {place}: expected an instruction, got none")
        persona = of_text.setdefault(text, str(len(of_text)))
        personas[persona] = text
        for name in set(arguments) - {*function.required, *function.personal}:
            left_out[name] = left_out.get(name, 0) + 1
            del arguments[name]
        found.append(
            SpectrumItem(str(place), persona, request, function.app, function.name, arguments)
        )
    digest = hashlib.sha256(json.dumps([items, apps], sort_keys=True).encode()).hexdigest()
    return ToolSpectrum(tuple(found), personas, functions, left_out, digest[:16])


def persona_text(persona: Mapping[str, Any]) -> str:
    """Who a person is, a line a fact.

    Example:
        >>> print(persona_text({"Age": 31, "Preferences": ["Likes tea.", "Walks."]}))
        Age: 31
        Preferences:
        - Likes tea.
        - Walks.
    """
    lines = []
    for name, value in persona.items():
        if isinstance(value, list):
            lines += [f"{name}:", *(f"- {each}" for each in value)]
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


def _read(folder: Path, name: str) -> Any:
    path = folder / name
    if not path.is_file():
        looks = folder_looks_like(folder) if folder.is_dir() else ""
        raise TrimtabError(
            f"there is no {path}; give the folder with ToolSpectrum's {ITEMS_FILE} and "
            f"{APPS_FILE}{looks}"
        )
    try:
        return json.loads(read_json(path))
    except ValueError as error:
        looks = file_looks_like(path)
        raise TrimtabError(f"{path} is no JSON that can be read ({error}){looks}") from error
