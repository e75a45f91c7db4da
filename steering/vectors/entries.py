"""What is known of a dictionary's entries besides their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Contrast = Literal["context", "response"]
"""What the two sides of a pair differ in: the prompt's context, or the response."""


@dataclass(frozen=True)
class Entry:
    """What a dictionary knows of one entry besides its vectors.

    Attributes:
        sample_id: The history sample that it was made from.
        key: The text whose embedding queries are compared with.
        answer: The user's own answer, the chosen side.
        contrast: Which kind of contrast made it.
        timestamp: When the sample happened.
    """

    sample_id: str
    key: str
    answer: str
    contrast: Contrast
    timestamp: int


@dataclass(frozen=True)
class Picked:
    """An entry that was picked for a query.

    Attributes:
        entry: What is known of it.
        similarity: The cosine of its key and the query.
        weight: Its share in the combined vector.
        norms: The Euclidean norm of its own vector at each of the dictionary's points.
    """

    entry: Entry
    similarity: float
    weight: float
    norms: tuple[float, ...] = ()
