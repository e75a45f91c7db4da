"""The methods by name, and how they are asked for: ``rag(k=3,by=bm25)``, or a table in TOML.

To add a method: write a module like ``rag`` and name its class here.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import TrimtabError
from ...steering.dictionaries.settings import SteeringSettings
from .amortized import AmortizedShift
from .collective import Collective
from .cos import Cos
from .fints import Fints
from .fints_published import FintsPublished
from .lora import LoraC, LoraP, Oppu
from .method import Method
from .pag import Pag
from .per_pcs import PerPcs
from .perfit import PerFit
from .rag import Rag
from .stylevector import StyleVector
from .two_part import TwoPart
from .zero_shot import ZeroShot

Known = Mapping[str, type[Method]]
"""Methods by name: all that a kind of task has."""

Settings = Path | str | SteeringSettings
"""A TOML file with a ``[steering]`` table, or what one holds."""

METHODS: Known = {
    made.name: made
    for made in (
        *(ZeroShot, Rag, Pag, Cos, StyleVector, Fints, FintsPublished, TwoPart),
        *(Collective, PerFit, LoraC, LoraP, Oppu, PerPcs, AmortizedShift),
    )
}

_CONTROLS = ("other", "population")


@dataclass(frozen=True)
class Named:
    """A method with the name that it has in a run.

    Attributes:
        label: In tables and records.
        method: The method.
        control_of: The label of the method that it is a control of; empty for others.
    """

    label: str
    method: Method
    control_of: str = ""

    def to_json(self) -> dict[str, Any]:
        """The method's name and options as plain data."""
        options = {f.name: getattr(self.method, f.name) for f in _fields(type(self.method))}
        plain = {"method": self.method.name, **options}
        return plain | ({"control_of": self.control_of} if self.control_of else {})


def get_method(
    name: str,
    options: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    known: Known = METHODS,
) -> Method:
    """A method with options; those that are not named keep their defaults.

    Args:
        name: One of ``METHODS``, or of a steered one's controls (``fints-other``).
        options: As TOML, JSON or the command line hold them: a list may be written ``mid+mlp``.
            ``settings`` names a TOML file with a ``[steering]`` table to start from.
        settings: The same for a method that steers and names none.
        known: The methods that there are.

    Raises:
        TrimtabError: An unknown name or option, with the nearest that there is; or a value of
            another type or range.
    """
    base, control = _split(name)
    if base not in known:
        names = [*known, *(f"{m}-{c}" for m in known for c in _CONTROLS if _has_controls(known[m]))]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise TrimtabError(f"no method {name!r}; {hint}methods: {', '.join(known)}")
    made = known[base]
    given = dict(options or {})
    if settings is not None and _steers(made):
        given.setdefault("settings", settings)
    given = _with_settings(given, made)
    if control:
        if not _has_controls(made):
            raise TrimtabError(f"no method {name!r}: nothing of {base} is a user's own to replace")
        given["whose"] = control
    return _made(made, given)


def parse_methods(
    text: str, settings: Settings | None = None, known: Known = METHODS
) -> list[Named]:
    """Methods from a line: ``zero-shot,rag(k=3,by=bm25),fints(sites=mid+mlp,strength=2)``.

    Args:
        text: The line.
        settings: As for ``get_method``.
        known: The methods that there are.

    Raises:
        TrimtabError: The line cannot be read, a method is named twice, or as ``get_method``.
    """
    methods = []
    for item in _items(text):
        match = re.fullmatch(r"([^()\s]+)\s*(?:\((.*)\))?", item, re.DOTALL)
        if match is None:
            raise TrimtabError(
                f"cannot read {item!r} as a method: expected NAME or NAME(OPTION=VALUE,...)"
            )
        name, inside = match[1], match[2] or ""
        options = {}
        for pair in _items(inside):
            option, equals, value = pair.partition("=")
            if not equals:
                raise TrimtabError(f"{name}: expected OPTION=VALUE, got {pair!r}")
            options[option.strip()] = _value(value.strip())
        label = name + (f"({','.join(_items(inside))})" if inside.strip() else "")
        methods.append(Named(label, get_method(name, options, settings, known)))
    return _distinct(methods, known)


def methods_of(
    table: Mapping[str, Any], settings: Settings | None = None, known: Known = METHODS
) -> list[Named]:
    """Methods from a TOML or JSON table: by label, options and, unless it is the label, ``method``.

    Args:
        table: The table.
        settings: As for ``get_method``.
        known: The methods that there are.

    Raises:
        TrimtabError: An entry that is no table, or as ``get_method``.
    """
    methods = []
    for label, entry in table.items():
        if not isinstance(entry, Mapping):
            raise TrimtabError(f"method {label!r}: expected a table of options, got {entry!r}")
        options = {k: v for k, v in entry.items() if k not in ("method", "control_of")}
        method = get_method(str(entry.get("method", label)), options, settings, known)
        methods.append(Named(label, method, str(entry.get("control_of", ""))))
    return _distinct(methods, known)


def with_controls(methods: Sequence[Named]) -> list[Named]:
    """Every method followed by its controls, save those that are there already."""
    expanded: list[Named] = []
    there = {named.label for named in methods}
    for named in methods:
        expanded.append(named)
        for suffix, control in named.method.controls().items():
            label = f"{named.label}-{suffix}"
            if label not in there:
                expanded.append(Named(label, control, named.label))
    # One that was asked for by its own name is a control all the same.
    return [
        dataclasses.replace(named, control_of=of)
        if not named.control_of and (of := _split(named.label)[0]) != named.label and of in there
        else named
        for named in expanded
    ]


def _split(name: str) -> tuple[str, str]:
    """A control's name as the method's and which control it is."""
    base, dash, last = name.rpartition("-")
    return (base, last) if dash and last in _CONTROLS else (name, "")


def _steers(made: type[Method]) -> bool:
    """Whether it takes steering settings."""
    return issubclass(made, SteeringSettings)


def _has_controls(made: type[Method]) -> bool:
    return any(field.name == "whose" for field in _fields(made))


def _fields(made: type[Method]) -> tuple[dataclasses.Field[Any], ...]:
    """A method's options; every method is a dataclass."""
    unused: frozenset[str] = getattr(made, "unused", frozenset())
    every = dataclasses.fields(made)  # type: ignore[arg-type]
    return tuple(field for field in every if field.name not in unused)


def _made(made: type[Method], options: Mapping[str, Any]) -> Method:
    from pydantic import TypeAdapter, ValidationError

    known = [field.name for field in _fields(made)]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            has = f"options: {', '.join(known)}" if known else "it has no options"
            raise TrimtabError(f"{made.name}: no option {option!r}; {hint}{has}")
    lists = {f.name for f in _fields(made) if str(f.type).startswith("tuple[")}
    plain = {name: _listed(v) if name in lists else v for name, v in options.items()}
    try:
        # As JSON: there, strictness still takes a list for a tuple and a whole number for a float.
        return TypeAdapter(made).validate_json(json.dumps(plain, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else ""
        reason = (
            f" {where!r}: {first['msg']}; got {options.get(where)!r}" if where else first["msg"]
        )
        raise TrimtabError(f"{made.name}:{reason}") from error


def _listed(value: Any) -> Any:
    """A list from ``a+b`` or from a single value."""
    if isinstance(value, str):
        return [_value(part) for part in value.split("+")]
    return value if isinstance(value, list | tuple) else [value]


def _with_settings(options: dict[str, Any], made: type[Method]) -> dict[str, Any]:
    """The options with those of settings under them, if some are named."""
    given = options.pop("settings", None)
    if given is None:
        return options
    if not _steers(made):
        raise TrimtabError(f"{made.name}: takes no steering settings")
    if not isinstance(given, SteeringSettings):
        given = SteeringSettings.load(Path(str(given)).expanduser())
    options_given = dataclasses.asdict(given)
    # Which kinds of entries there are, and whether in two parts, is what tells the methods apart:
    # a file that leaves it open changes neither.
    if options_given["contrast"] == "any":
        del options_given["contrast"]
    if not (options_given["collective"] or options_given["personal"]):
        del options_given["collective"], options_given["personal"]
    unused = getattr(made, "unused", ())
    return {
        **{option: value for option, value in options_given.items() if option not in unused},
        **options,
    }


def _distinct(methods: list[Named], known: Known) -> list[Named]:
    labels = [named.label for named in methods]
    if not labels:
        raise TrimtabError(f"expected at least one method of {', '.join(known)}, got none")
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise TrimtabError(f"the method {twice!r} is asked for twice; give one another option")
    return methods


def _items(text: str) -> list[str]:
    """What stands between the commas that are in no brackets, stripped, none empty.

    Raises:
        TrimtabError: Brackets that do not match.
    """
    items, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(letter, 0)
        if depth < 0:
            break
        if letter == "," and depth == 0:
            items.append(text[start:place])
            start = place + 1
    if depth != 0:
        raise TrimtabError(f"brackets do not match in {text!r}")
    items.append(text[start:])
    return [item.strip() for item in items if item.strip()]


def _value(text: str) -> Any:
    """A number, truth value or list as JSON reads it; anything else is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip("'\"")
