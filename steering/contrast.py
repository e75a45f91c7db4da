"""Contrast pairs: one history sample seen twice, with what fits the user and with what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Contrast = Literal["context", "response"]
Keys = Literal["input", "input+answer"]


@dataclass(frozen=True)
class Exchange:
    """A prompt and the answer that is forced after it.

    Attributes:
        messages: The prompt, as dicts with ``role`` and ``content``.
        answer: The text that follows.
        tools: OpenAI tool dicts for the chat template.
    """

    messages: Sequence[Mapping[str, Any]]
    answer: str
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ContrastPair:
    """One sample with a positive and a negative side.

    For ``context`` contrast the answers are equal and the prompts differ; for ``response``
    contrast the prompts are equal and the answers differ. Several pairs of one sample (two
    rejected answers, say) are averaged into one dictionary entry.

    Attributes:
        sample_id: The history sample that this comes from.
        request: The sample's input text.
        positive: With what fits the user.
        negative: With what does not.
        contrast: Which kind of contrast this is.
        timestamp: When the sample happened; it is not used for anything earlier.
    """

    sample_id: str
    request: str
    positive: Exchange
    negative: Exchange
    contrast: Contrast = "response"
    timestamp: int = 0

    def key(self, keys: Keys) -> str:
        """The text that queries are compared with: the input, or input and answer together."""
        return self.request if keys == "input" else f"{self.request}\n{self.positive.answer}"
