"""What an engine has done, and how long an answer takes it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from ..steering.generation.row import Row

_SECONDS_AT_FIRST = 2.0  # what an answer is taken to need until one has been given


@dataclass(frozen=True)
class EngineStatistics:
    """What an engine has done since it was started, and what it does now.

    Attributes:
        running: Rows under way, those whose prompts are still being run among them.
        waiting: Requests that wait for a row.
        steps: Decode steps.
        step_rows: How many steps had so many rows.
        prompt_tokens: Of the prompts of all requests that have begun.
        kept_tokens: How many of them had run before, in another prompt with the same beginning.
        new_tokens: Of all answers.
        forced_tokens: How many of them a grammar forced.
        finished: Requests that have ended, by how: ``stop``, ``length``, ``deadline``,
            ``cancelled``, ``refused`` (the row's own error), ``failed`` (the engine's).
        turned_away: Requests that found the queue full.
    """

    running: int = 0
    waiting: int = 0
    steps: int = 0
    step_rows: dict[int, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    kept_tokens: int = 0
    new_tokens: int = 0
    forced_tokens: int = 0
    finished: dict[str, int] = field(default_factory=dict)
    turned_away: int = 0


class EngineCounts:
    """Counts as they grow; whoever changes or reads them holds the engine's lock.

    Attributes:
        seconds: Between the ends of two answers, of late.
    """

    def __init__(self) -> None:
        self.seconds = _SECONDS_AT_FIRST
        self._last_end = time.monotonic()
        self._steps: Counter[int] = Counter()
        self._finished: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()

    def turned_away(self) -> None:
        """A request found the queue full."""
        self._sums["turned_away"] += 1

    def woke(self) -> None:
        """There is work again: what the engine waited says nothing of its speed."""
        self._last_end = time.monotonic()

    def began(self, rows: list[Row]) -> None:
        """The prompts of these rows are run."""
        self._sums["prompt_tokens"] += sum(len(row.prompt) for row in rows)

    def kept(self, tokens: int) -> None:
        """So many tokens of prompts had run before."""
        self._sums["kept_tokens"] += tokens

    def stepped(self, rows: int) -> None:
        """A decode step of so many rows."""
        self._steps[rows] += 1
        self._sums["steps"] += 1

    def ended(self, row: Row) -> None:
        """A row has finished."""
        self._finished["refused" if row.error is not None else str(row.finish)] += 1
        self._sums["new_tokens"] += len(row.tokens)
        self._sums["forced_tokens"] += row.forced
        now = time.monotonic()
        self.seconds += 0.2 * (now - self._last_end - self.seconds)
        self._last_end = now

    def broke_off(self, how: str) -> None:
        """A row was ended by an error: it was ``refused``, or the engine ``failed``."""
        self._finished[how] += 1

    def statistics(self, *, running: int, waiting: int) -> EngineStatistics:
        """The counts now."""
        sums = self._sums
        return EngineStatistics(
            running=running,
            waiting=waiting,
            steps=sums["steps"],
            step_rows=dict(self._steps),
            prompt_tokens=sums["prompt_tokens"],
            kept_tokens=sums["kept_tokens"],
            new_tokens=sums["new_tokens"],
            forced_tokens=sums["forced_tokens"],
            finished=dict(self._finished),
            turned_away=sums["turned_away"],
        )
