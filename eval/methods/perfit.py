"""PerFit: a low-rank intervention for everybody, and one for each person on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ...errors import TrimtabError
from ...steering.dictionaries.steer import Whose
from ..training.trainable import LowRankStack
from .collective import shared_stage
from .learning import Learning, costs, whose, with_past

if TYPE_CHECKING:
    from ...steering.vectors.low_rank import Stage
    from ..training.loop import Trained
    from .method import Method, PreparedUsers, Treat


@dataclass(frozen=True)
class PerFit(Learning):
    """``phi_2(phi_1(x))``: phi_1 trained on everybody, phi_2 on the person's own past.

    Attributes:
        stage: 1 is phi_1 alone.
        rank_c: Of phi_1; 0 leaves it out (the ablation with the personal stage alone).
        rank_p: Of phi_2.
        epochs_p: Passes of the second stage, at most.
        rate_p: Its learning rate; 0 is that of the first.
        batch_p: Its samples in a step; 0 is ``batch_size``.
        whose: Whose phi_2: the user's own, another user's, or nobody's (``population``).
    """

    name: ClassVar[str] = "perfit"

    stage: Literal[1, 2] = 2
    rank_c: int = 8
    rank_p: int = 8
    epochs_p: int = 2
    rate_p: float = 0.0
    batch_p: int = 0
    whose: Whose = "own"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            TrimtabError: A value out of its range.
        """
        super().__post_init__()
        fine = (
            min(self.rank_c, self.batch_p) >= 0
            and self.rank_p >= 1
            and self.epochs_p >= 1
            and self.rate_p >= 0
        )
        if not fine or (self.stage == 1 and not self.rank_c):
            raise TrimtabError(
                "perfit: expected rank_c of at least 0 (1 in stage 1), rank_p and epochs_p of at "
                f"least 1 and rate_p of at least 0; got {self.rank_c}, {self.rank_p}, "
                f"{self.epochs_p} and {self.rate_p}"
            )

    def prepare(self, users: PreparedUsers) -> Treat:
        """Train both stages; the second for all users side by side."""
        users = with_past(users, self.name)
        first: list[Stage] = []
        trained: list[Trained] = []
        if self.rank_c:
            stage, done = shared_stage(self, users, self.rank_c)
            first, trained = [stage], [done]
        if self.stage == 1:
            return self.treating(users, lambda user: first, costs(trained, None, first[0]))
        people, learned, held = self.apart(users)
        model = users.model
        own = LowRankStack(
            self.layers_of(model),
            model.hf.config.get_text_config().hidden_size,
            self.rank_p,
            self.where,
            owners=len(people),
            seed=self.seed + 1,
            device=model.device,
        )
        options = replace(
            self.options,
            epochs=self.epochs_p,
            learning_rate=self.rate_p or self.learning_rate,
            batch_size=self.batch_p or self.batch_size,
        )
        before = [first] * len(people) if first else []
        trained.append(
            self.learned(users, "what is each user's own", own, learned, held, before, options)
        )
        place = {user: number for number, user in enumerate(people)}
        steering = whose(self.whose, people, users.seed)
        stages = {user: own.stage(number) for user, number in place.items()}

        def of(user: str) -> list[Stage]:
            lender = steering(user)
            return first if lender is None else [*first, stages[lender]]

        detail = costs(trained, own.stage(0), first[0] if first else None, len(people))
        return self.treating(users, of, detail)

    def controls(self) -> Mapping[str, Method]:
        """Another user's second stage, and none; of the first stage alone there are none."""
        if self.stage == 1 or self.whose != "own":
            return {}
        both: dict[str, Method] = {"other": replace(self, whose="other")}
        return both | ({"population": replace(self, whose="population")} if self.rank_c else {})
