"""The ways to personalize a choice of apps: those of all tasks, and two of the persona's text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from ....steering.vectors.entries import Contrast
from ...methods.fints import Fints
from ...methods.method import Treatment
from ...methods.rag import Rag
from ...methods.registry import Named
from ...methods.zero_shot import ZeroShot

if TYPE_CHECKING:
    from ...methods.method import Method, PreparedUsers, Treat
    from ...methods.registry import Known
    from .users import SpectrumUsers

DEFAULT_METHODS = "zero-shot,persona,rag,fints,persona-vector,fints(contrast=any)"


@dataclass(frozen=True)
class PersonaPrompt:
    """The persona's text in the prompt."""

    name: ClassVar[str] = "persona"

    def prepare(self, users: PreparedUsers) -> Treat:
        """Nothing to prepare."""
        own = cast("SpectrumUsers", users)
        return lambda sample: Treatment(profile=own.persona(sample))

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}


@dataclass(frozen=True)
class PersonaVector(Fints):
    """What the persona's text does to the start of a call, added without the text."""

    name: ClassVar[str] = "persona-vector"

    contrast: Contrast | Literal["any"] = "context"


SPECTRUM_METHODS: Known = {
    made.name: made for made in (ZeroShot, PersonaPrompt, Rag, Fints, PersonaVector)
}
"""The ways by name."""


def spectrum_methods(
    text: str = DEFAULT_METHODS, settings: Path | None = None, *, controls: bool = True
) -> tuple[Named, ...]:
    """Methods from a line; steered ones start from the shop's settings for choosing a tool.

    Args:
        text: As ``parse_methods`` reads it.
        settings: A TOML file with a ``[steering]`` table; None is the shop's default.
        controls: Whether steered methods bring their controls.

    Raises:
        TrimtabError: As for ``parse_methods``.
    """
    from ...shop.plan import shop_methods

    return shop_methods(text, settings, controls=controls, known=SPECTRUM_METHODS)
