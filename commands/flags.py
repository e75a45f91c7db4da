"""The flags that several commands have: each means the same wherever it stands."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, for a machine.")
]
RunOut = Annotated[
    Path | None, typer.Option(help="The run's folder; an unfinished run in it is resumed.")
]
RunFolder = Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")]
OfMethods = Annotated[list[str] | None, typer.Option(help="Only this method; may be repeated.")]

# The model, and how it is steered.
PlannedModel = Annotated[
    str | None,
    typer.Option(
        help="A name from `trimtab models list`, a hub id, or a folder; default: the plan's, else "
        "the default model."
    ),
]
Settings = Annotated[Path | None, typer.Option(help="A TOML file with a `steering` table.")]
Controls = Annotated[
    bool, typer.Option(help="Show the controls of every steered method beside it.")
]
Dictionaries = Annotated[
    Path | None, typer.Option(help="A folder of USER.safetensors; default: build and keep.")
]
UsersStore = Annotated[
    str | None, typer.Option(help="A steering store that holds the users' dictionaries.")
]
ServedStore = Annotated[
    str | None,
    typer.Option(
        help="sqlite:///FILE, postgresql://..., or a file's path; default: in the cache folder."
    ),
]

# Text tasks.
Data = Annotated[
    str | None,
    typer.Option(help="The benchmark's folder or file, or your own; default: built-in data."),
]
Users = Annotated[int | None, typer.Option(help="At most this many users.", show_default="200")]
History = Annotated[
    int | None, typer.Option(help="Only this many of a user's latest past samples.")
]
Tests = Annotated[int | None, typer.Option(help="Only this many of a user's test samples.")]
Seed = Annotated[
    int | None,
    typer.Option(help="Of users, draws, groups, and who lends to whom.", show_default="0"),
]
Generate = Annotated[
    bool, typer.Option(help="Let the model answer, or only score the users' own texts.")
]
NewTokens = Annotated[int | None, typer.Option(help="The longest answer; default: the task's own.")]
PlanFile = Annotated[
    Path | None, typer.Option(help="A TOML file with these fields; flags go before it.")
]

# The shop.
WorldSource = Annotated[
    str, typer.Option(help="The built-in bazaar, or a folder in PersonalWAB's format.")
]


class Prompting(StrEnum):
    """How the model is asked for a step."""

    call = "call"
    react = "react"


class CallDecoding(StrEnum):
    """How tool calls are decoded."""

    constrained = "constrained"
    free = "free"


Asking = Annotated[
    Prompting, typer.Option(help="Plain function calls, or ReAct's thoughts and actions.")
]
Decoding = Annotated[CallDecoding, typer.Option(help="Calls held to the schemas, or free.")]


def plan_fields(*, settings: Path | None, generate: bool, **others: Any) -> dict[str, Any]:
    """A plan's fields as flags give them; None is what was not said."""
    return {
        **others,
        "settings": None if settings is None else str(settings),
        "generate": None if generate else False,
    }
