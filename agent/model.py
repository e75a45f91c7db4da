"""What the agent and the chat model need of a model; a ``SteeredModel`` has it all."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..steering.dictionaries.steer import ReadsAndEmbeds
from ..steering.generation.batching import Batchable
from ..steering.generation.requests import Completion, Generates, Request

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class AgentModel(Generates, ReadsAndEmbeds, Protocol):
    """What the agent's loop needs; a ``BatchedModel`` has it too."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its template says in which form the model is taught to call tools."""
        ...


class ChatSource(Batchable, Protocol):
    """What the chat model needs besides."""

    @property
    def name(self) -> str:
        """What messages call the model."""
        ...

    def prompt_tokens(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[int, ...]:
        """The chat prompt as token ids, up to where the answer starts."""
        ...

    def stream(self, request: Request, **options: Any) -> Generator[str, None, Completion]:
        """Answer one request piece by piece."""
        ...
