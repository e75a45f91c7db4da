"""What all trained methods share: what they learn from, how, and whose numbers steer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import TrimtabError
from ...steering.decoder.forward import context_of
from ...steering.dictionaries.derangement import derangement
from ...steering.dictionaries.steer import Whose
from ...steering.vectors.low_rank import Stage
from ...steering.vectors.positions import Where, parse_positions
from ...steering.vectors.steering import Steering
from ..training.examples import Example
from ..training.loop import Trained, train
from ..training.options import TrainingOptions
from .method import PastExchange, Treatment
from .retrieval import By

if TYPE_CHECKING:
    from ...steering.model import SteeredModel
    from ..sample import Sample
    from ..training.lower_layers import LastLower
    from ..training.passes import Before
    from ..training.trainable import Trainable
    from .method import PreparedUsers, Treat, UsersWithPast

_log = logging.getLogger(__name__)

_FEW = 4  # past samples; with fewer, none is held back
_HELD_SHARE = 5  # one of so many of a user's past samples is held back
_HELD_USERS = 10  # one of so many users is held back


@dataclass(frozen=True)
class Learning(TrainingOptions):
    """What all trained methods can be told besides how they are trained.

    Attributes:
        name: The method's name.
        data: A folder or file of other people, in the task's own format, to learn on what all
            share; empty learns it on the tested people's own past.
        latest: At most so many of each other person's latest samples count; 0 is all.
        targets: At most so many of these are learned on, the latest; 0 is all.
        depths: Relative depths of the layers after which something is changed, 0 to 1.
        layers: The layers themselves, counted from 0, in the place of depths.
        positions: Which tokens are changed: ``answer``, ``all``, ``prompt``, a number, or the
            prompt's first and last tokens as in ``f4+l4``.
        context: How many relevant past samples stand in the prompt as well, in training too.
        by: What of the past is relevant to it.
    """

    name: ClassVar[str] = "learning"

    data: str = ""
    latest: int = 0
    targets: int = 0
    depths: tuple[float, ...] = (0.72,)
    layers: tuple[int, ...] = ()
    positions: str | int = "answer"
    context: int = 0
    by: By = "encoder"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            TrimtabError: A value out of its range.
        """
        super().__post_init__()
        parse_positions(self.positions)
        counts = (self.context, self.latest, self.targets)
        if min(counts) < 0:
            raise TrimtabError(
                f"{self.name}: expected context, latest and targets of at least 0, got {counts}"
            )
        if not all(0 <= depth <= 1 for depth in self.depths) or not (self.depths or self.layers):
            raise TrimtabError(f"expected depths from 0 to 1, got {self.depths}")

    @property
    def options(self) -> TrainingOptions:
        """How it is trained, alone."""
        return TrainingOptions(**{f.name: getattr(self, f.name) for f in fields(TrainingOptions)})

    @property
    def where(self) -> Where:
        """The positions."""
        return parse_positions(self.positions)

    def layers_of(self, model: SteeredModel) -> tuple[int, ...]:
        """The layers of this model.

        Raises:
            TrimtabError: One that the model has not.
        """
        chosen = self.layers or tuple(model.layer_at(depth) for depth in self.depths)
        wrong = [layer for layer in chosen if not 0 <= layer < model.layer_count]
        if wrong:
            raise TrimtabError(
                f"{self.name}: layer {wrong[0]} was asked for, but the model has layers 0 to "
                f"{model.layer_count - 1}"
            )
        return tuple(sorted(set(chosen)))

    def learned(
        self,
        users: UsersWithPast,
        what: str,
        trainable: Trainable,
        examples: Sequence[Example],
        held: Sequence[Example],
        before: Before = (),
        options: TrainingOptions | None = None,
        last_lower: LastLower | None = None,
    ) -> Trained:
        """Train, kept in the users' folder; tells how far it is."""
        return train(
            users.model,
            trainable,
            examples,
            options or self.options,
            held=held,
            before=before,
            folder=users.folder / "trained",
            last_lower=last_lower,
            **told(users, f"training {what}"),
        )

    def together(self, users: UsersWithPast) -> tuple[list[Example], list[Example]]:
        """What everybody learns on, and what is held back: all samples of one person in ten."""
        exchanges = users.exchanges(
            self.data, latest=self.latest, targets=self.targets, shown=self.context, by=self.by
        )
        people = [user for user, own in sorted(exchanges.items()) if own]
        if not people:
            raise TrimtabError(f"{self.name}: nobody has a past sample to learn on")
        back = set(people[::_HELD_USERS]) if len(people) >= _HELD_USERS else set()
        learned = [e for user in people if user not in back for e in exchanges[user]]
        held_back = [e for user in people if user in back for e in exchanges[user]]
        model = users.model
        return [example(model, 0, e) for e in learned], [example(model, 0, e) for e in held_back]

    def apart(self, users: UsersWithPast) -> tuple[list[str], list[Example], list[Example]]:
        """The tested people, what each learns on, and their latest samples that are held back."""
        exchanges = users.exchanges("", shown=self.context, by=self.by)
        people = [user for user, own in exchanges.items() if own]
        few = sum(len(exchanges[user]) < _FEW for user in people)
        if few:
            _log.warning(
                "%d of %d users have fewer than %d past samples: all are trained on, and none is "
                "held back to tell when to stop",
                few, len(people), _FEW,
            )  # fmt: skip
        learned: list[Example] = []
        held: list[Example] = []
        for owner, user in enumerate(people):
            own = [example(users.model, owner, e) for e in exchanges[user]]
            back = max(len(own) // _HELD_SHARE, 1) if len(own) >= _FEW else 0
            learned += own[: len(own) - back]
            held += own[len(own) - back :]
        if not people:
            raise TrimtabError(f"{self.name}: nobody has a past sample to learn on")
        return people, learned, held

    def treating(
        self,
        users: UsersWithPast,
        stages: Callable[[str], Sequence[Stage]],
        detail: Mapping[str, Any],
    ) -> Treat:
        """Treatments that steer a user by these stages, with this method's prompt."""
        fingerprint = users.model.fingerprint
        known: dict[str, Steering] = {}

        def steer(user: str, query: Any, before: int | None = None) -> Steering | None:
            if user not in known:
                known[user] = Steering.by_stages(stages(user), fingerprint)
            return known[user] if known[user].stages else None

        def treat(sample: Sample) -> Treatment:
            shown = users.nearest(sample, self.by, self.context) if self.context else ()
            return Treatment(shown=shown, steer=steer, detail=detail)

        return treat


def told(users: UsersWithPast, what: str) -> dict[str, Any]:
    """How training tells how far it is; nothing where nobody listens."""
    if users.progress is None:
        return {}
    lower = f"{what}: what stays as it is"
    return {
        "progress": partial(users.progress, what),
        "on_lower": partial(users.progress, lower),
    }


def with_past(users: PreparedUsers, name: str) -> UsersWithPast:
    """Users whose past samples can be learned from.

    Raises:
        TrimtabError: The task has none.
    """
    if not hasattr(users, "exchanges"):
        raise TrimtabError(
            f"{name}: nothing is trained on this task; expected a task of texts, or the shop"
        )
    return users  # type: ignore[return-value]  # just looked


def example(model: SteeredModel, owner: int, exchange: PastExchange) -> Example:
    """An exchange as token ids; a whole answer has the token that ends it; too long is cut."""
    prompt = model.prompt_tokens(exchange.messages, exchange.tools)
    end = model.tokenizer.eos_token_id if exchange.whole else None
    answer = [*model.tokens_of(exchange.answer)]
    limit = context_of(model.hf.config)
    room = len(answer) + 1 if limit is None else max(limit - len(prompt), 1)
    whole = [*answer, end] if end is not None else answer
    return Example(owner, prompt, tuple(whole[:room]))


def whose(chosen: Whose, people: Sequence[str], seed: int) -> Callable[[str], str | None]:
    """Whose numbers steer a user; None is nobody's own.

    Raises:
        TrimtabError: Another user's are wanted, and there is none.
    """
    if chosen == "population":
        return lambda user: None
    if chosen == "other":
        lender = derangement(people, seed)
        return lambda user: lender.get(user)
    known = set(people)
    return lambda user: user if user in known else None


def costs(
    trained: Sequence[Trained], stage: Stage | None, shared: Stage | None = None, users: int = 1
) -> dict[str, Any]:
    """What training took: seconds, of each user too, and numbers, for a person to read."""
    own = stage.parameters if stage else 0
    seconds = [each.seconds for each in trained]
    return {
        "trained": {
            "seconds": round(sum(seconds), 2),
            "seconds_a_user": round(seconds[-1] / users, 3) if own else 0.0,
            "shared_parameters": shared.parameters if shared else 0,
            "parameters_a_user": own,
            "bytes_a_user": 4 * own,
            "held_back": [round(each, 4) for each in trained[-1].held],
        }
    }
