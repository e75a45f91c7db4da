"""The prompt of a writing task: the request, with what the method shows of the person before it.

What does not fit the model's context is cut and counted, the person's history first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from ...errors import TrimtabError

if TYPE_CHECKING:
    from ...steering.model import SteeredModel

Show = Literal["outputs", "both"]
"""What is shown of a past sample: what the person wrote, or the request before it as well."""

Message = dict[str, str]


class Past(Protocol):
    """A past sample, of whatever class."""

    @property
    def input(self) -> str:
        """The request; may be empty."""

    @property
    def output(self) -> str:
        """What the person wrote."""


@dataclass(frozen=True)
class Fitted:
    """A prompt that leaves room for its answer.

    Attributes:
        messages: The prompt.
        shown: How many past samples are in it.
        cut: What was cut to fit: ``samples``, ``profile``, ``input_tokens``; only what was.
    """

    messages: tuple[Message, ...]
    shown: int
    cut: Mapping[str, int] = field(default_factory=dict)


def text_messages(
    system: str,
    request: str,
    *,
    shown: Sequence[Past] = (),
    profile: str = "",
    show: Show = "both",
    instruction: str = "",
) -> tuple[Message, ...]:
    """The messages of a writing task.

    Args:
        system: The task's system message.
        request: The whole user message, instruction included.
        shown: Past samples, the most relevant first; it comes to stand next to the request.
        profile: A text about the person.
        show: What is shown of them; a sample without an input shows its output alone.
        instruction: What every request begins with; of those shown it is left out.
    """
    parts = []
    if profile:
        parts.append(f"About the person whose text this is to be:\n{profile}")
    if shown:
        lines = "\n".join(_shown(sample, show, instruction) for sample in reversed(shown))
        parts.append(f"From the same person, earlier:\n{lines}")
    return (
        {"role": "system", "content": system},
        {"role": "user", "content": "\n\n".join([*parts, request])},
    )


def _shown(sample: Past, show: Show, instruction: str) -> str:
    output = " ".join(sample.output.split())
    if show == "outputs" or not sample.input:
        return f"- {output}"
    return f"- {' '.join(sample.input.removeprefix(instruction).split())}\n  {output}"


@dataclass(frozen=True)
class TextPrompt:
    """Makes the prompts of one task for one model.

    Attributes:
        model: Who will answer.
        system: The task's system message.
        room: Tokens to leave for the answer.
        context: Tokens of prompt and answer together; None is the model's own limit.
        show: What is shown of past samples unless a method says otherwise.
        instruction: What every request of the task begins with.
    """

    model: SteeredModel
    system: str
    room: int
    context: int | None = None
    show: Show = "outputs"
    instruction: str = ""

    @property
    def limit(self) -> int | None:
        """The longest prompt, in tokens; None where the model names no limit."""
        config = self.model.hf.config.get_text_config()
        own = getattr(config, "max_position_embeddings", None)
        bounds = [bound for bound in (own, self.context) if bound is not None]
        return min(bounds) - self.room if bounds else None

    def fit(
        self,
        request: str,
        *,
        shown: Sequence[Past] = (),
        profile: str = "",
        show: Show | None = None,
    ) -> Fitted:
        """A prompt within the limit: past samples go first, the least relevant before others.

        Then the profile goes, and last the end of the request.

        Raises:
            TrimtabError: Not even an empty request fits.
        """
        show = show or self.show

        def made(request: str, count: int, profile: str) -> tuple[Message, ...]:
            return text_messages(
                self.system,
                request,
                shown=shown[:count],
                profile=profile,
                show=show,
                instruction=self.instruction,
            )

        limit = self.limit
        count = len(shown)
        cut: dict[str, int] = {}
        messages = made(request, count, profile)
        if limit is None or self._length(messages) <= limit:
            return Fitted(messages, count)
        while count and self._length(messages) > limit:
            count -= 1
            cut["samples"] = len(shown) - count
            messages = made(request, count, profile)
        if profile and self._length(messages) > limit:
            profile, cut["profile"] = "", 1
            messages = made(request, count, profile)
        if self._length(messages) > limit:
            messages, cut["input_tokens"] = self._shortened(request, limit)
        return Fitted(messages, count, cut)

    def _shortened(self, request: str, limit: int) -> tuple[tuple[Message, ...], int]:
        """The request alone, without as many of its last tokens as it takes."""
        tokens: list[int] = self.model.tokenizer(request, add_special_tokens=False)["input_ids"]
        kept = len(tokens)
        while True:
            text = self.model.tokenizer.decode(tokens[:kept], skip_special_tokens=True)
            assert isinstance(text, str)
            messages = text_messages(self.system, text)
            over = self._length(messages) - limit
            if over <= 0:
                return messages, len(tokens) - kept
            if not kept:
                raise TrimtabError(
                    f"the context leaves {max(limit, 0)} tokens for a prompt, too few for an empty "
                    "one; allow a longer context or a shorter answer"
                )
            kept = max(kept - over, 0)

    def _length(self, messages: Sequence[Message]) -> int:
        return len(self.model.prompt_tokens(messages))
