"""PER-PCS: a person's LoRA put together from other people's pieces, without training the person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from ...steering.dictionaries.steer import Whose
from ..training.examples import Example
from ..training.passes import mean_inputs
from ..training.pieces import GateStack
from .learning import costs, example, whose, with_past
from .lora import LoraC

if TYPE_CHECKING:
    from ...steering.vectors.low_rank import Stage
    from .method import Method, PreparedUsers, Treat


@dataclass(frozen=True)
class PerPcs(LoraC):
    """Sharers' LoRAs on top of everybody's, in pieces with gates (Tan et al., arXiv 2406.10471).

    Attributes:
        sharers: How many people share theirs, those with the longest histories.
        pieces: How many are put together beside each module.
        epochs_p: Passes of a sharer's own training, at most.
        epochs_gate: Passes of the gates' training, at most.
        rate_p: The sharers' learning rate; 0 is ``learning_rate``.
        batch_p: The sharers' samples in a step; 0 is ``batch_size``.
        rate_gate: The gates' learning rate.
        whose: Whose past the pieces are chosen by: the user's own, another user's, or none
            (``population``: everybody's LoRA alone).
    """

    name: ClassVar[str] = "per-pcs"

    sharers: int = 50
    pieces: int = 3
    epochs_p: int = 3
    epochs_gate: int = 2
    rate_p: float = 0.0
    batch_p: int = 0
    rate_gate: float = 1e-2
    whose: Whose = "own"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            TrimtabError: A value out of its range.
        """
        super().__post_init__()
        counts = (self.sharers, self.pieces, self.epochs_p, self.epochs_gate)
        if min(counts) < 1 or self.rate_p < 0 or self.rate_gate <= 0:
            raise TrimtabError(
                "per-pcs: expected sharers, pieces, epochs_p and epochs_gate of at least 1, rate_p "
                f"of at least 0 and rate_gate above 0; got {counts}, {self.rate_p} and "
                f"{self.rate_gate}"
            )

    def prepare(self, users: PreparedUsers) -> Treat:
        """Train everybody's, the sharers' and their gates; choose each user's pieces."""
        users = with_past(users, self.name)
        first, done = self.shared(users)
        past_texts = users.outputs(self.data, latest=self.latest)
        ranked = sorted(past_texts, key=lambda user: (-len(past_texts[user]), user))
        # Without other people's data the tested users share; nobody is then built from their own.
        exchanges = users.exchanges(
            self.data,
            latest=self.latest,
            shown=self.context,
            by=self.by,
            people=ranked[: self.sharers],
        )
        sharing = [user for user in ranked[: self.sharers] if exchanges[user]]
        examples = [
            example(users.model, owner, e) for owner, u in enumerate(sharing) for e in exchanges[u]
        ]
        before = [[first]] * len(sharing)
        stack = self.stack(users, len(sharing), self.seed + 1)
        options = replace(
            self.options,
            epochs=self.epochs_p,
            learning_rate=self.rate_p or self.learning_rate,
            batch_size=self.batch_p or self.batch_size,
            patience=0,
        )
        second = self.learned(users, "the sharers' LoRAs", stack, examples, [], before, options)
        gates = GateStack(stack)
        options = replace(options, epochs=self.epochs_gate, learning_rate=self.rate_gate)
        third = self.learned(users, "their gates", gates, examples, [], before, options)
        own = users.exchanges("", shown=self.context, by=self.by)
        people = [user for user in own if own[user]]
        past: list[Example] = [
            example(users.model, owner, e) for owner, u in enumerate(people) for e in own[u]
        ]
        means = mean_inputs(
            users.model, past, list(stack.shapes), len(people), [[first]] * len(people)
        )
        places = {user: number for number, user in enumerate(people)}
        steering = whose(self.whose, people, users.seed)

        def of(user: str) -> list[Stage]:
            lender = steering(user)
            if lender is None:
                return [first]
            return [first, gates.put_together(means[places[lender]], self.pieces)]

        detail = costs([done, second, third], None, first)
        chosen = self.pieces * len(stack.shapes)
        detail["trained"] |= {"sharers": len(sharing), "bytes_a_user": 8 * chosen}
        return self.treating(users, of, detail)

    def controls(self) -> Mapping[str, Method]:
        """Pieces chosen by another user's past, and none."""
        if self.whose != "own":
            return {}
        return {
            "other": replace(self, whose="other"),
            "population": replace(self, whose="population"),
        }
