"""What of a user's past goes in the prompt: PersonalWAB's memory modes.

A mode is a plain function from the past requests, oldest first, to those that are remembered, in
the order in which the prompt shows them. ``MODES`` names them; adding one is adding a function.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import TrimtabError
from ...tools.quoting import quoted

# An argument's text is cut here: a remembered review would else fill the prompt.
_ARGUMENT_CHARACTERS = 60
_REQUEST_CHARACTERS = 300


@dataclass(frozen=True)
class PastRequest:
    """An earlier request of a user, and the call that answered it well.

    Attributes:
        request: The user's words.
        tool: The tool that was meant.
        arguments: What it was called with, as far as that is known.
        timestamp: When.
    """

    request: str
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timestamp: int = 0


@dataclass(frozen=True)
class Recollection:
    """What a mode gets to decide by.

    Attributes:
        request: The request under way.
        k: How many past requests are wanted.
        seed: Text that fixes the draws of a random mode.
        embed: Texts to a matrix of unit rows, ``(len(texts), dimensions)``.
    """

    request: str
    k: int
    seed: str
    embed: Callable[[Sequence[str]], Any] | None = None


Mode = Callable[[Sequence[PastRequest], Recollection], Sequence[PastRequest]]


def nothing(past: Sequence[PastRequest], wanted: Recollection) -> Sequence[PastRequest]:
    """No past request."""
    return []


def at_random(past: Sequence[PastRequest], wanted: Recollection) -> Sequence[PastRequest]:
    """``k`` past requests drawn at random, in the order of time."""
    drawn = random.Random(wanted.seed).sample(range(len(past)), min(wanted.k, len(past)))
    return [past[index] for index in sorted(drawn)]


def last(past: Sequence[PastRequest], wanted: Recollection) -> Sequence[PastRequest]:
    """The ``k`` latest past requests, in the order of time."""
    return past[max(len(past) - wanted.k, 0) :]


def relevant(past: Sequence[PastRequest], wanted: Recollection) -> Sequence[PastRequest]:
    """The ``k`` past requests nearest in meaning, the nearest last, beside the request.

    Raises:
        TrimtabError: There is no sentence encoder to compare them with.
    """
    if wanted.embed is None:
        raise TrimtabError("memory mode 'relevant' needs a sentence encoder; pass the model's")
    if not past:
        return []
    embedded = wanted.embed([wanted.request, *(item.request for item in past)])
    similarity = (embedded[1:] @ embedded[0]).tolist()
    # Of two equally near ones the later counts as nearer.
    nearest = sorted(range(len(past)), key=lambda index: (similarity[index], index))
    return [past[index] for index in nearest[max(len(past) - wanted.k, 0) :]]


def full(past: Sequence[PastRequest], wanted: Recollection) -> Sequence[PastRequest]:
    """Every past request, in the order of time."""
    return past


MODES: Mapping[str, Mode] = {
    "none": nothing,
    "random": at_random,
    "last": last,
    "relevant": relevant,
    "full": full,
}


@dataclass(frozen=True)
class Memory:
    """A memory mode with the past that it looks back on.

    Attributes:
        past: A user's past requests that strictly precede a time (None: all), oldest first.
        mode: A name in ``MODES``.
        k: How many past requests are remembered (not for ``none`` and ``full``).
        embed: The sentence encoder's ``encode``; ``relevant`` needs it.
        seed: Of the mode ``random``.
    """

    past: Callable[[str, int | None], Sequence[PastRequest]]
    mode: str = "relevant"
    k: int = 3
    embed: Callable[[Sequence[str]], Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an unknown mode.

        Raises:
            TrimtabError: No such mode, or ``k`` below 1.
        """
        if self.mode not in MODES:
            raise TrimtabError(f"expected memory mode {', '.join(MODES)}; got {self.mode!r}")
        if self.k < 1:
            raise TrimtabError(f"expected to remember at least 1 past request, got {self.k}")

    def recall(self, user_id: str, request: str, before: int | None = None) -> list[PastRequest]:
        """The past requests that the prompt for ``request`` shows, in its order.

        Only what strictly precedes ``before`` is seen, whatever ``past`` returns.
        """
        if self.mode == "none":
            return []
        past = [
            item for item in self.past(user_id, before) if before is None or item.timestamp < before
        ]
        wanted = Recollection(request, self.k, f"{self.seed}/{user_id}/{request}", self.embed)
        return list(MODES[self.mode](past, wanted))


def remembered_lines(remembered: Sequence[PastRequest]) -> list[str]:
    """One compact line a past request: its words, and the tool with short arguments.

    What users once wrote stands in the line as data: see ``tools.quoting``.

    Example:
        >>> remembered_lines([PastRequest("mugs?", "search", {"query": "mug"})])
        ['"mugs?" -> search(query="mug")']
    """
    return [
        f'"{quoted(item.request, _REQUEST_CHARACTERS)}" -> {item.tool}({_short(item.arguments)})'
        for item in remembered
    ]


def _short(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_argument(value)}" for name, value in arguments.items())


def _argument(value: Any) -> str:
    if isinstance(value, str):
        return f'"{quoted(value, _ARGUMENT_CHARACTERS)}"'
    return quoted(json.dumps(value, ensure_ascii=False, default=str), _ARGUMENT_CHARACTERS)
