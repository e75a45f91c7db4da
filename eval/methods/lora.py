"""LoRA: trained on everybody, on each person, or on each person on top of everybody's (OPPU)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from ...steering.dictionaries.steer import Whose
from ..training.trainable import LoraStack, lora_shapes
from .learning import Learning, costs, whose, with_past

if TYPE_CHECKING:
    from ...steering.vectors.low_rank import Stage
    from ..training.loop import Trained
    from .method import Method, PreparedUsers, Treat, UsersWithPast


@dataclass(frozen=True)
class LoraC(Learning):
    """One LoRA for everybody: PEFT's choice of modules, terms and start.

    Attributes:
        rank: Of each term.
        alpha: The scale is alpha over the rank.
        modules: Last parts of the modules' names; empty is PEFT's choice for the family.
    """

    name: ClassVar[str] = "lora-c"
    # LoRA goes beside the modules of all layers, at all tokens.
    unused: ClassVar[frozenset[str]] = frozenset({"depths", "layers", "positions"})

    rank: int = 8
    alpha: float = 8.0
    modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            TrimtabError: A value out of its range.
        """
        super().__post_init__()
        if self.rank < 1 or self.alpha <= 0:
            raise TrimtabError(
                f"{self.name}: expected rank of at least 1 and alpha above 0, got {self.rank} and "
                f"{self.alpha}"
            )

    def prepare(self, users: PreparedUsers) -> Treat:
        """Train it."""
        users = with_past(users, self.name)
        stage, trained = self.shared(users)
        return self.treating(users, lambda user: [stage], costs([trained], None, stage))

    def controls(self) -> Mapping[str, Method]:
        """None: nothing of it is the user's own."""
        return {}

    def stack(self, users: UsersWithPast, owners: int, seed: int) -> LoraStack:
        """Terms for so many owners."""
        shapes = lora_shapes(users.model, self.modules)
        if not shapes:
            raise TrimtabError(
                f"{self.name}: the model has no linear modules named {', '.join(self.modules)}"
            )
        return LoraStack(
            shapes, self.rank, self.alpha, owners=owners, seed=seed, device=users.model.device
        )

    def shared(self, users: UsersWithPast) -> tuple[Stage, Trained]:
        """One for everybody."""
        stack = self.stack(users, 1, self.seed)
        learned, held = self.together(users)
        trained = self.learned(users, "a LoRA for all", stack, learned, held)
        return stack.stage(0), trained


@dataclass(frozen=True)
class LoraP(LoraC):
    """One LoRA for each person, trained side by side on their own past.

    Attributes:
        epochs_p: Passes of a person's own training, at most.
        rate_p: Its learning rate; 0 is ``learning_rate``.
        batch_p: Its samples in a step; 0 is ``batch_size``.
        whose: Whose: the user's own, another user's, or nobody's (``population``).
    """

    name: ClassVar[str] = "lora-p"
    on_top: ClassVar[bool] = False

    epochs_p: int = 3
    rate_p: float = 0.0
    batch_p: int = 0
    whose: Whose = "own"

    def prepare(self, users: PreparedUsers) -> Treat:
        """Train them."""
        users = with_past(users, self.name)
        first: list[Stage] = []
        trained: list[Trained] = []
        if self.on_top:
            stage, done = self.shared(users)
            first, trained = [stage], [done]
        people, learned, held = self.apart(users)
        own = self.stack(users, len(people), self.seed + 1)
        before = [first] * len(people) if first else []
        options = replace(
            self.options,
            epochs=self.epochs_p,
            learning_rate=self.rate_p or self.learning_rate,
            batch_size=self.batch_p or self.batch_size,
        )
        trained.append(self.learned(users, "each user's LoRA", own, learned, held, before, options))
        place = {user: number for number, user in enumerate(people)}
        steering = whose(self.whose, people, users.seed)

        def of(user: str) -> list[Stage]:
            lender = steering(user)
            return first if lender is None else [*first, own.stage(place[lender])]

        detail = costs(trained, own.stage(0), first[0] if first else None, len(people))
        return self.treating(users, of, detail)

    def controls(self) -> Mapping[str, Method]:
        """Another user's, and, on top of everybody's, none."""
        if self.whose != "own":
            return {}
        both: dict[str, Method] = {"other": replace(self, whose="other")}
        return both | ({"population": replace(self, whose="population")} if self.on_top else {})


@dataclass(frozen=True)
class Oppu(LoraP):
    """A person's LoRA on top of everybody's (Tan et al., OPPU, arXiv 2402.04401)."""

    name: ClassVar[str] = "oppu"
    on_top: ClassVar[bool] = True
