"""Which tokens of a row are changed: positions, as windows over the row's real tokens."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ...errors import TrimtabError

Positions = Literal["all", "answer", "prompt"] | int | tuple[int, int]


@dataclass(frozen=True)
class PromptEdges:
    """The first and the last tokens of the prompt, each once (ReFT's ``f7+l7``).

    Attributes:
        first: How many at its beginning.
        last: How many at its end; the last prompt token is the one that the answer's first
            token follows.
    """

    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        """Refuse what names no tokens.

        Raises:
            TrimtabError: A negative number, or two zeros.
        """
        if min(self.first, self.last) < 0 or not self.first + self.last:
            raise TrimtabError(
                "expected first and last of at least 0, and not both 0; got "
                f"{self.first} and {self.last}"
            )

    def __str__(self) -> str:
        return f"f{self.first}+l{self.last}"


Where = Positions | PromptEdges


class Window(NamedTuple):
    """Positions from ``start`` to before ``end``."""

    start: float
    end: float


NOWHERE = Window(0, 0)


def windows(positions: Where, prompt_length: int) -> tuple[Window, Window]:
    """The tokens that positions name in a row with this prompt: two windows that do not overlap.

    The second one is empty, but for the two edges of a long prompt.
    """
    if positions == "all":
        return Window(0, math.inf), NOWHERE
    if positions == "prompt":
        return Window(0, prompt_length), NOWHERE
    if isinstance(positions, PromptEdges):
        first = min(positions.first, prompt_length)
        rest = Window(max(prompt_length - positions.last, first), prompt_length)
        return (Window(0, first), rest) if first else (rest, NOWHERE)
    if isinstance(positions, tuple):
        return Window(*positions), NOWHERE
    start = max(prompt_length - 1, 0)
    end = math.inf if isinstance(positions, str) else start + positions
    return Window(start, end), NOWHERE


def start_of(positions: Where, prompt_length: int) -> int:
    """The first position named; the cache of all before it is the unchanged one."""
    return int(windows(positions, prompt_length)[0].start)


def asks_for_the_prompt(positions: Where) -> bool:
    """Whether the tokens depend on where the prompt ends."""
    return positions != "all" and not isinstance(positions, tuple)


def check_positions(positions: object) -> None:
    """Refuse what names no tokens; True is a number to Python, and no count of tokens.

    Raises:
        TrimtabError: It is none of ``Where``.
    """
    if isinstance(positions, PromptEdges):
        return
    if isinstance(positions, tuple):
        fine = len(positions) == 2 and all(type(side) is int for side in positions)
        fine = fine and 0 <= positions[0] < positions[1]
    elif isinstance(positions, str):
        fine = positions in ("all", "answer", "prompt")
    else:
        fine = type(positions) is int and positions >= 1
    if not fine:
        raise TrimtabError(
            "expected positions all, answer, prompt, a whole number of at least 1, or a window "
            f"(start, end) with 0 <= start < end; got {positions!r}"
        )


def parse_positions(text: str | int) -> Where:
    """Positions as an option holds them: ``all``, ``answer``, ``prompt``, ``4``, ``f4+l4``, ``l4``.

    Raises:
        TrimtabError: It is none of these.
    """
    edges = re.fullmatch(r"(?:f(\d+))?\+?(?:l(\d+))?", str(text))
    if edges and (edges[1] or edges[2]):
        return PromptEdges(int(edges[1] or 0), int(edges[2] or 0))
    number = int(text) if str(text).isdigit() else text
    try:
        check_positions(number)
    except TrimtabError:
        raise TrimtabError(
            "expected positions all, answer, prompt, a whole number of at least 1, or the prompt's "
            f"first and last tokens as in f4+l4 or l4; got {text!r}"
        ) from None
    return number  # type: ignore[return-value]  # checked
