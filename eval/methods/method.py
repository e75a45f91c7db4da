"""What a method is: options as fields, users prepared once, then one asked request a test sample.

A method never generates or scores: it says what the model is to be asked and how it is to be
steered, and whoever runs it batches the requests of all methods and users together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ...envs.texts.dataset import TextSample
    from ...steering.model import SteeredModel
    from ...steering.vectors.steering import Steering
    from ..texts.prompt import Fitted
    from .prepared_users import Workbench


@runtime_checkable
class Weights(Protocol):
    """Other weights that the model runs under: a value that is compared and hashed by what it is.

    Requests under equal weights share batches. An adapter is one; whatever hooks or patches the
    model for a while can be another.
    """

    @property
    def key(self) -> str:
        """What tells these weights from others, in cache keys."""

    def active(self, model: SteeredModel) -> AbstractContextManager[None]:
        """Put them on inside the context."""


@dataclass(frozen=True)
class Asked:
    """What the model is to be asked for one test sample.

    Attributes:
        prompt: The messages, and what was cut from them.
        steering: What is added inside the forward pass; None is nothing.
        plain: The same request without the user's context, for context steering; None without it.
        guidance: Context steering's lambda.
        under: Weights to run under; None is the model as it is.
        detail: What else a person may want to know of it.
    """

    prompt: Fitted
    steering: Steering | None = None
    plain: Fitted | None = None
    guidance: float = 0.0
    under: Weights | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


Ask = Callable[[str, "TextSample"], Asked]
"""From a user's id and a test sample, whose output is empty, to what the model is asked."""


@runtime_checkable
class Method(Protocol):
    """One way to personalize: a frozen dataclass whose fields are its options."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    def prepare(self, bench: Workbench) -> Ask:
        """Make ready for all users of the bench; may take long, and goes on where it was.

        What it makes is kept under a digest of all that it depends on, so that a second call, or
        another process, need not make it again. A method that trains does it here, and its asked
        requests name what was trained as ``under``.

        Raises:
            TrimtabError: The bench's users cannot be prepared.
        """

    def controls(self) -> Mapping[str, Method]:
        """The methods to show beside it, by what is put after its own name; mostly none."""
