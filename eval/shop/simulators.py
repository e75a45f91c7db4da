"""Which user the agent of the multi-turn track talks with. Another kind is another function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...errors import TrimtabError
from ...steering.generation.batching import BatchedModel

if TYPE_CHECKING:
    from ...agent.users.conversation import User
    from ...steering.generation.batching import Batchable


@dataclass(frozen=True)
class Simulator:
    """A kind of simulated user, and what it needs.

    Attributes:
        kind: A name in ``SIMULATORS``.
        model: The name of the model that plays the user; empty is the agent's own.
        url: The endpoint, where a model behind one plays the user.
        loaded: The local model of that name, where it is not the agent's own.

    Raises:
        TrimtabError: An unknown kind, an endpoint without its address or its model's name, or what
            the kind has no use for.
    """

    kind: str = "scripted"
    model: str = ""
    url: str = ""
    loaded: Batchable | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot play a user."""
        if self.kind not in SIMULATORS:
            raise TrimtabError(
                f"expected a user simulator {', '.join(SIMULATORS)}; got {self.kind!r}"
            )
        if self.kind == "endpoint" and not (self.url and self.model):
            raise TrimtabError(
                "a user behind an endpoint needs its address and its model's name; pass "
                "--user-url http://.../v1 --user-model NAME"
            )
        if (self.kind == "scripted" and self.model) or (self.kind != "endpoint" and self.url):
            raise TrimtabError(
                f"the user simulator {self.kind!r} has no use for "
                f"{'an endpoint' if self.url else 'a model'}; leave it out, or choose another"
            )

    def user(self, agents: BatchedModel) -> User:
        """The user; a local model's answers share batches with the agents' model calls."""
        return SIMULATORS[self.kind](self, agents)

    def configuration(self) -> dict[str, str]:
        """Plain data that tells this user from another one."""
        return {"kind": self.kind, "model": self.model, "url": self.url}


def _scripted(simulator: Simulator, agents: BatchedModel) -> User:
    from ...agent.users.scripted import ScriptedUser

    return ScriptedUser()


def _local(simulator: Simulator, agents: BatchedModel) -> User:
    from ...agent.users.simulated import SimulatedUser

    other = simulator.loaded
    return SimulatedUser(agents if other is None else BatchedModel(other, beside=agents))


def _endpoint(simulator: Simulator, agents: BatchedModel) -> User:
    from ...agent.users.endpoint import EndpointUser

    return EndpointUser(simulator.url, simulator.model)


SIMULATORS: Mapping[str, Callable[[Simulator, BatchedModel], User]] = {
    "scripted": _scripted,
    "model": _local,
    "endpoint": _endpoint,
}
