"""Episodes: what happened from the first message to the last result, and playing many at once."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError
from ...steering.generation.batching import BatchedModel, Finished, run_together
from ...tools.toolkit import ToolError
from ..calling.calls import ToolCall
from ..users.user_goal import UserGoal

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class PickedEntry:
    """A dictionary entry that steered a step.

    Attributes:
        sample_id: The history sample that the entry was made from.
        key: The text that the request was compared with.
        similarity: Their cosine.
        weight: The entry's share in the vector.
    """

    sample_id: str
    key: str
    similarity: float
    weight: float


@dataclass(frozen=True)
class Step:
    """One model call and what came of it.

    Attributes:
        call: The tool call; None where the answer was none.
        text: The answer as it was, where it was no call.
        content: What the model was shown as the result.
        value: What the tool returned.
        error: Why the call failed; None where it did not.
        picked: The entries that steered it; empty is unsteered.
        prompt_tokens: In the request.
        completion_tokens: In the answer.
        forced_tokens: Those of the answer that the grammar left no choice about.
        seconds: From the request to its answer; in a batch its share, as ``Completion`` has it.
        thought: What the model wrote before the call.
        reply: What the user answered, where the step said something to them.
    """

    call: ToolCall | None
    text: str
    content: str
    value: Any
    error: ToolError | None
    picked: tuple[PickedEntry, ...]
    prompt_tokens: int
    completion_tokens: int
    forced_tokens: int
    seconds: float
    thought: str = ""
    reply: str | None = None


@dataclass(frozen=True)
class Episode:
    """One played task.

    Attributes:
        task_id: Which task.
        user_id: Whose.
        request: The user's own words.
        purchases: The lines on recent purchases that the prompt showed.
        remembered: The memory lines that the prompt showed.
        steps: In order.
        outcome: ``done``, ``gave up``, ``step limit`` or ``user left``.
    """

    task_id: str
    user_id: str
    request: str
    purchases: tuple[str, ...]
    remembered: tuple[str, ...]
    steps: tuple[Step, ...]
    outcome: str

    @property
    def retries(self) -> int:
        """How many failed calls were answered with their error and tried again."""
        failed = sum(step.error is not None for step in self.steps)
        return failed - (1 if self.steps and self.steps[-1].error is not None else 0)

    @property
    def prompt_tokens(self) -> int:
        """Over all steps."""
        return sum(step.prompt_tokens for step in self.steps)

    @property
    def completion_tokens(self) -> int:
        """Over all steps."""
        return sum(step.completion_tokens for step in self.steps)

    @property
    def seconds(self) -> float:
        """Spent on model calls, over all steps."""
        return sum(step.seconds for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """Plain data that JSON can hold; a number that it cannot is None."""
        from pydantic_core import to_jsonable_python

        return to_jsonable_python(self, inf_nan_mode="null")

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Episode:
        """What ``to_json`` made.

        Raises:
            TrimtabError: It is not an episode's record.
        """
        try:
            return _adapter().validate_python(plain)
        except ValueError as error:
            detail = str(error).splitlines()[:3]
            raise TrimtabError(f"not the record of an episode: {' '.join(detail)}") from error


@dataclass(frozen=True)
class Play:
    """An episode to be played: an agent and what it is given.

    Attributes:
        agent: A graph from ``build_agent``.
        task_id: Names the episode.
        user_id: Whose task it is.
        request: The user's words.
        before: The task's time; only what precedes it is seen.
        purchases: Lines on what the user bought before.
        profile: A text about the user, for the prompt.
        draws: Names its draws, where tokens are drawn.
        user_goal: What a simulated user goes by.
    """

    agent: Any
    task_id: str
    user_id: str
    request: str
    before: int | None = None
    purchases: tuple[str, ...] = ()
    profile: str = ""
    draws: str = ""
    user_goal: UserGoal | None = None

    def start(self) -> dict[str, Any]:
        """What the agent is given."""
        given: dict[str, Any] = {
            "messages": [("user", self.request)],
            "user_id": self.user_id,
            "purchases": list(self.purchases),
        }
        if self.profile:
            given["profile"] = self.profile
        if self.draws:
            given["draws"] = self.draws
        if self.before is not None:
            given["before"] = self.before
        if self.user_goal is not None:
            given["user_goal"] = self.user_goal.to_json()
        return given

    def ended(self, state: Mapping[str, Any]) -> Episode:
        """The record of what happened up to a state of the agent's."""
        return Episode.from_json(
            {
                "task_id": self.task_id,
                "user_id": self.user_id,
                "request": state.get("request", self.request),
                "purchases": self.purchases,
                "remembered": state.get("remembered", ()),
                "steps": state.get("steps", ()),
                # Only LangGraph's own limit ends an episode without an outcome.
                "outcome": state.get("outcome") or "step limit",
            }
        )


def play(episode: Play, *, recursion_limit: int | None = None) -> Episode:
    """Play one episode to its end.

    Args:
        episode: What to play.
        recursion_limit: LangGraph's, as a bound on top of the agent's step limit: an episode that
            reaches it ends there, with the steps that it has.
    """
    from langgraph.errors import GraphRecursionError

    config: dict[str, Any] = {"configurable": {"user_id": episode.user_id}}
    if recursion_limit is not None:
        config["recursion_limit"] = recursion_limit
    last: dict[str, Any] = {}
    try:
        for state in episode.agent.stream(episode.start(), config, stream_mode="values"):
            last = state
    except GraphRecursionError:
        pass  # the last state is what happened
    return episode.ended(last)


def play_episodes(
    model: BatchedModel, plays: Iterable[Play], *, max_live: int = 48
) -> Generator[Finished[Episode]]:
    """Play many episodes at once, their model calls in common batches.

    Args:
        model: The one that all the agents were built with.
        plays: The episodes, read as there is room for them.
        max_live: How many are played at once.

    Yields:
        Each episode's end as it comes, by its index in ``plays``: the ``Episode``, or the error
        of the machinery that broke it off.
    """
    return run_together(model, (partial(play, item) for item in plays), max_live=max_live)


@cache
def _adapter() -> TypeAdapter[Episode]:
    from pydantic import TypeAdapter

    return TypeAdapter(Episode)
