"""What a method is: options as fields, users prepared once, then one treatment a test sample.

A method never generates an answer or scores one: it says what of the user goes in the prompt and
how the model is steered. The task makes the prompt of it, and answers all methods and users
together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ...steering.contrast.pairs import Messages
    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.dictionaries.steer import Steer
    from ...steering.model import SteeredModel
    from ...steering.vectors.steering import Steering
    from ..sample import Progress, Sample
    from ..texts.prompt import Fitted, Show
    from .retrieval import By

Kind = Literal["context", "response", "neutral", "published"]
"""What a dictionary's entries are made from: context or response contrast, what the user wrote
against what the model writes to the same request by itself, or response contrast as the authors of
Fints made it, with other people's samples in front of both sides."""

Decode = Literal["free", "constrained", "auto"]
"""How function calls are decoded: as they come, held to their schemas, or as the model likes."""


@runtime_checkable
class ModelVariant(Protocol):
    """The model with something put on: a value that is compared and hashed by what it is.

    Samples under equal variants share batches. An adapter is one; whatever hooks or patches the
    model for a while can be another.
    """

    @property
    def key(self) -> str:
        """What tells this variant from others, in cache keys."""

    def active(self, model: SteeredModel) -> AbstractContextManager[None]:
        """Put it on inside the context."""


class PastSample(Protocol):
    """Something that a user asked for or wrote earlier, of whatever class."""

    @property
    def id(self) -> str:
        """Unique among the user's."""

    @property
    def input(self) -> str:
        """The request; may be empty."""

    @property
    def output(self) -> str:
        """What came of it: the user's text, or the call that was meant."""


@dataclass(frozen=True)
class PastExchange:
    """A past sample as a prompt with its answer, as the task puts it.

    Attributes:
        id: The past sample's.
        messages: The prompt.
        answer: What the user wrote, or the call that was meant.
        tools: OpenAI tool dicts that the prompt shows.
        whole: Whether the answer ends there; else it is the beginning of one.
    """

    id: str
    messages: Messages
    answer: str
    tools: Sequence[Mapping[str, Any]] = ()
    whole: bool = True


@dataclass(frozen=True)
class Treatment:
    """What a method does for one test sample.

    Attributes:
        shown: Past samples to put in the prompt; the first comes to stand next to the request.
        show: What is shown of them; None leaves it to the task.
        profile: A text about the user to put in the prompt.
        steer: What is added inside the forward pass; None is nothing.
        variant: What the model runs as; None is the model as it is.
        guidance: Context steering's lambda: the answer is decoded from the prompt with and the
            one without what is shown. None is the one prompt alone.
        decode: How calls are decoded, where the method says so.
        detail: What else a person may want to know of it.
    """

    shown: Sequence[PastSample] = ()
    show: Show | None = None
    profile: str = ""
    steer: Steer | None = None
    variant: ModelVariant | None = None
    guidance: float | None = None
    decode: Decode | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


Treat = Callable[["Sample"], Treatment]
"""From a test sample, whose gold is empty, to what is done for it."""


class PreparedUsers(Protocol):
    """A task's users as methods see them: their past, and what is made of it once.

    No gold of a test sample is in it.
    """

    model: SteeredModel
    seed: int

    def samples(self) -> Sequence[Sample]:
        """The test samples without their golds."""

    def nearest(self, sample: Sample, by: By, k: int) -> Sequence[PastSample]:
        """At most ``k`` past samples that come first for a request, the best first."""

    def latest(self, sample: Sample, count: int) -> Sequence[PastSample]:
        """At most ``count`` past samples, the latest first."""

    def describing(self, sample: Sample, count: int, tokens: int) -> Fitted:
        """The prompt that asks for a profile of the user from their latest past samples."""

    def answers(
        self, what: str, prompts: Sequence[Messages], *, max_new_tokens: int
    ) -> list[list[str]]:
        """What the model writes, one text a prompt; kept by content."""

    def entries(
        self,
        settings: SteeringSettings,
        kinds: Sequence[Kind],
        *,
        rejected: int = 2,
        below: float | None = None,
        variant: ModelVariant | None = None,
    ) -> dict[str, SteeringDictionary]:
        """Each user's entries of these kinds, at the settings' own points alone.

        Args:
            settings: Where vectors are read, and what the key texts are made of.
            kinds: What the entries are made from.
            rejected: At most this many rejected answers a sample, for ``response``.
            below: Their score against the user's own is below this; None is the task's bound.
            variant: What the model that is read runs as.

        Raises:
            TrimtabError: The task has no such entries.
        """

    def steering(self, sample: Sample, steer: Steer) -> Steering | None:
        """What a method adds for a sample's first request."""


class UsersWithPast(PreparedUsers, Protocol):
    """Users whose past samples can be learned from: those of a writing task, and of a shop."""

    folder: Path
    """Where what is made is kept."""
    progress: Progress | None
    """Who is told how far a preparation is."""

    def outputs(self, data: str = "", *, latest: int = 0) -> dict[str, dict[str, str]]:
        """What each user wrote earlier, by the past sample's id, oldest first.

        Args:
            data: Other people's data of the same task; empty is the users themselves.
            latest: Of other people, at most so many of their latest samples; 0 is all.

        Raises:
            TrimtabError: The data cannot be read.
        """

    def exchanges(
        self,
        data: str = "",
        *,
        latest: int = 0,
        targets: int = 0,
        shown: int = 0,
        by: By = "encoder",
        people: Collection[str] | None = None,
    ) -> dict[str, list[PastExchange]]:
        """Each user's past samples as prompts with answers, oldest first.

        Args:
            data: As for ``outputs``; the tests of other people are past samples too.
            latest: As for ``outputs``.
            targets: At most so many of each user's, the latest; 0 is all.
            shown: How many earlier samples of the same user stand in the prompt.
            by: Which of them come first.
            people: Of these users alone; None is all.

        Raises:
            TrimtabError: The data cannot be read, or the task has no such past samples.
        """


@runtime_checkable
class Method(Protocol):
    """One way to personalize: a frozen dataclass whose fields are its options."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    def prepare(self, users: PreparedUsers) -> Treat:
        """Make ready for all users; may take long, and resumes where it was broken off.

        What it makes is kept under a digest of all that it depends on, so that a second call, or
        another process, need not make it again. A method that trains does it here, and its
        treatments name what was trained as their ``variant``.

        Raises:
            TrimtabError: The users cannot be prepared.
        """

    def controls(self) -> Mapping[str, Method]:
        """The methods to show beside it, by what is put after its own name; mostly none."""
