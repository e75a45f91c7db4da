"""A trained collective change: one shift, or one low-rank intervention, for everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from ...steering.vectors.low_rank import Stage
from ..training.trainable import LowRankStack, ShiftStack
from .learning import Learning, costs, with_past

if TYPE_CHECKING:
    from ..training.loop import Trained
    from .method import Method, PreparedUsers, Treat, UsersWithPast


@dataclass(frozen=True)
class Collective(Learning):
    """What is trained on everybody, and steers everybody alike.

    Attributes:
        rank: Of the intervention; 0 is a plain shift.
    """

    name: ClassVar[str] = "collective"

    rank: int = 0

    def __post_init__(self) -> None:
        """Refuse a negative rank, or as ``Learning``.

        Raises:
            TrimtabError: A value out of its range.
        """
        super().__post_init__()
        if self.rank < 0:
            raise TrimtabError(f"{self.name}: expected rank of at least 0, got {self.rank}")

    def prepare(self, users: PreparedUsers) -> Treat:
        """Train it."""
        users = with_past(users, self.name)
        stage, trained = shared_stage(self, users, self.rank)
        return self.treating(users, lambda user: [stage], costs([trained], None, stage))

    def controls(self) -> Mapping[str, Method]:
        """None: nothing of it is the user's own."""
        return {}


def shared_stage(method: Learning, users: UsersWithPast, rank: int) -> tuple[Stage, Trained]:
    """One shift (rank 0) or low-rank intervention, trained on everybody's samples."""
    model = users.model
    layers, width = method.layers_of(model), model.hf.config.get_text_config().hidden_size
    trainable: LowRankStack | ShiftStack
    if rank:
        trainable = LowRankStack(
            layers, width, rank, method.where, seed=method.seed, device=model.device
        )
    else:
        trainable = ShiftStack(layers, width, method.where, device=model.device)
    learned, held = method.together(users)
    trained = method.learned(users, "what all share", trainable, learned, held)
    return trainable.stage(0), trained
