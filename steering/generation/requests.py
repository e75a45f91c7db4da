"""What is asked of a model, how answers are decoded, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ...errors import TrimtabError

if TYPE_CHECKING:
    from ..vectors.steering import Steering


@dataclass(frozen=True)
class Request:
    """A conversation to answer.

    Attributes:
        messages: OpenAI-style dicts: ``role``, ``content``, ``tool_calls``, ``tool_call_id``.
        tools: OpenAI tool dicts that the prompt shows.
        steering: What is added inside the forward pass; None is nothing.
        grammar: An llguidance grammar that the answer fits; None is free-form.
        draws: Names what is drawn for it at a temperature above 0, whatever else is answered with
            it; empty: its place in the list does.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    steering: Steering | None = None
    grammar: str | None = None
    draws: str = ""


Finish = Literal["stop", "length", "deadline", "cancelled"]


@dataclass(frozen=True)
class TokenLogprob:
    """How likely a token of an answer was, before its grammar and its temperature had a say.

    Attributes:
        token: Its id.
        logprob: Natural logarithm of its probability; 0 where a grammar forced it without a pass.
        top: The likeliest tokens in its place with theirs, the likeliest first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
        text: Without special tokens, save the marks of tool calls.
        tokens: Token ids, without the token that ended the answer.
        prompt_tokens: Length of the prompt.
        forced_tokens: How many of ``tokens`` the grammar forced, without a pass of their own.
        finish: ``stop``: the model, the grammar or a stop text ended it. ``length``: there was no
            room for more; a constrained answer was closed early, and fits its grammar if it could
            still be closed. ``deadline``, ``cancelled``: an engine ended it before its end.
        logprobs: One a token; None where they were not asked for.
        seconds: That the model spent on it: of a pass its share, one over the rows that the pass
            ran, or of their prompts' tokens. 0 where it was not measured. Answers are equal that
            differ in it alone.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    forced_tokens: int
    finish: Finish
    logprobs: tuple[TokenLogprob, ...] | None = None
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Options:
    """How an answer is decoded.

    Attributes:
        max_new_tokens: At most this many tokens an answer.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        top_p: Draw from the most likely tokens that together have this probability.
        seed: Of the draws. Each request has its own, by its place in the list or by its ``draws``,
            so that batching changes none.
        stop: Texts that end an answer; they are not part of it.
        share_prefix: Run what all prompts of a batch begin with once, and keep it for later.
        fast_forward: Let tokens that a grammar forces pass without a forward pass of their own.
        lookup: Propose what the answer may copy from the prompt, and check several tokens in one
            forward pass; the tokens are the same, but for rounding, with fewer passes.
        logprobs: Give the log-probability of every token, and of so many likeliest ones in its
            place, 0 to 20; None for none.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    share_prefix: bool = True
    fast_forward: bool = True
    lookup: bool = True
    logprobs: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be decoded with.

        Raises:
            TrimtabError: A value out of its range.
        """
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise TrimtabError(
                "expected max_new_tokens of at least 1, temperature of at least 0 and top_p above "
                f"0 and up to 1; got {self.max_new_tokens}, {self.temperature} and {self.top_p}"
            )
        if "" in self.stop:
            raise TrimtabError("expected stop texts of at least one character, got an empty one")
        if self.logprobs is not None and not 0 <= self.logprobs <= 20:
            raise TrimtabError(
                f"expected logprobs of None or from 0 to 20, got {self.logprobs}; ask for fewer "
                "alternatives a token"
            )

    @property
    def reserve(self) -> int:
        """With this many tokens left, a constrained answer starts to close what is open."""
        return min(32, self.max_new_tokens // 4)


class Generates(Protocol):
    """What answers requests: a ``SteeredModel``, or a ``BatchedModel`` around one."""

    def generate(
        self,
        requests: Sequence[Request],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        batch_size: int = 48,
    ) -> list[Completion]:
        """Answer requests, in their order; the options are those of ``Options``."""
        ...
