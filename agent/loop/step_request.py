"""What the model is asked for one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage

if TYPE_CHECKING:
    from ...steering.generation.requests import Completion, Request
    from ...steering.vectors.steering import Steering
    from ..calling.formats.call_format import CallFormat
    from ..model import AgentModel

Wanted = Literal["call", "either", "words"]
"""What a step may be: a call, a call or words as the model chooses, or words alone."""


@dataclass(frozen=True)
class StepRequest:
    """What the model is asked for a step.

    Attributes:
        model: A ``SteeredModel``.
        system: The system prompt; None is none.
        messages: The conversation so far.
        tools: OpenAI dicts of the tools that it may call.
        steering: What is added inside the forward pass.
        constrained: Whether a call is held to the tools' schemas.
        wanted: What the step may be.
        talks: Whether an answer that is no call is something said to the user.
        max_new_tokens: At most this many tokens a step.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        draws: Names the draws.
        call_format: The form of calls, or its name; None is that of the model's template.
        seconds: That the model spent on each answer that it has given for this step.
    """

    model: AgentModel
    system: str | None
    messages: Sequence[BaseMessage]
    tools: Sequence[Mapping[str, Any]]
    steering: Steering | None
    constrained: bool
    wanted: Wanted
    talks: bool
    max_new_tokens: int
    temperature: float = 0.0
    draws: str = ""
    call_format: CallFormat | str | None = None
    seconds: list[float] = field(default_factory=list)

    def generate(self, request: Request, **options: Any) -> list[Completion]:
        """What the model answers to one request, drawn where the step is."""
        if self.temperature:
            request = replace(request, draws=self.draws)
            options["temperature"] = self.temperature
        made = self.model.generate([request], **options)
        self.seconds.extend(completion.seconds for completion in made)
        return made

    @property
    def conversation(self) -> list[BaseMessage]:
        """The messages after the system prompt, if there is one."""
        start = [] if self.system is None else [SystemMessage(self.system)]
        return [*start, *self.messages]


Prompting = Callable[[StepRequest], AIMessage]
"""A way to ask: from what is asked to the model's message."""
