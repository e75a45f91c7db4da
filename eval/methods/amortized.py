"""A personal shift that costs a pass over the history: the map to it is learned on other people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ...errors import TrimtabError
from ...steering.dictionaries.steer import Whose
from ...steering.vectors.steering_vectors import Point
from ..sample import counted
from ..training.directions import Directions
from ..training.lower_layers import LastLower
from ..training.shift_map import learn_map
from ..training.trainable import ShiftStack
from .activations import KeptActivations
from .learning import Learning, costs, example, told, whose, with_past

if TYPE_CHECKING:
    from ...steering.vectors.low_rank import Stage
    from ..training.examples import Example
    from .method import Method, PreparedUsers, Treat, UsersWithPast

# Nothing of a task is in it: the same for every text of everybody.
_PROMPT = ({"role": "user", "content": "Write a text of your own."},)


@dataclass(frozen=True)
class AmortizedShift(Learning):
    """``v_u = c + z_u B``: c and B learned on people, z_u read from the user's history.

    Attributes:
        directions: Numbers in ``z``, and so the most that B's rank can be.
        read: Relative depths of the layers whose mean activations ``z`` is made of.
        targets: As in ``Learning``; each sample that is learned on is left out of the history that
            its ``z`` is read from.
        passes: Over the samples that B is learned on, at most; each is one step.
        ridge: Of the regression of a step on ``z``, in parts of ``z``'s mean variance.
        whose: Whose ``z``: the user's own, another user's, or the mean person's (``population``).
    """

    name: ClassVar[str] = "amortized"

    depths: tuple[float, ...] = (0.4, 0.6, 0.8, 0.9)
    directions: int = 96
    read: tuple[float, ...] = (0.1, 0.3, 0.5)
    targets: int = 1
    passes: int = 2
    ridge: float = 10.0
    whose: Whose = "own"

    def __post_init__(self) -> None:
        """Refuse what cannot be learned.

        Raises:
            TrimtabError: A value out of its range.
        """
        super().__post_init__()
        counts = (self.directions, self.targets, self.passes)
        readable = bool(self.read) and all(0 <= depth <= 1 for depth in self.read)
        if min(counts) < 1 or not readable or not self.ridge > 0:
            raise TrimtabError(
                "amortized: expected directions, targets and passes of at least 1, at least one "
                "depth to read, each from 0 to 1, and a ridge above 0; got "
                f"{counts}, {self.read} and {self.ridge}"
            )

    def prepare(self, users: PreparedUsers) -> Treat:
        """Read everybody's history, learn the map on other people, and apply it."""
        users = with_past(users, self.name)
        model = users.model
        features = self._features(users, self.data)
        directions = Directions.of([torch.stack([*own.values()]) for own in features.values()],
                                   self.directions)  # fmt: skip
        learned, held, z = self._examples(users, features, directions)
        layers = self.layers_of(model)
        width = model.hf.config.get_text_config().hidden_size
        shift = ShiftStack(layers, width, self.where, device=model.device)
        pooled = [replace(e, owner=0) for e in learned], [replace(e, owner=0) for e in held]
        lower = LastLower()  # both trainings' samples are the same
        first = self.learned(users, "a collective shift", shift, *pooled, last_lower=lower)
        centre = torch.stack([shift.numbers[str(layer)][0].detach().cpu() for layer in layers])
        found, second = learn_map(
            model,
            z,
            centre,
            layers,
            self.where,
            learned,
            held,
            passes=self.passes,
            ridge=self.ridge,
            folder=users.folder / "trained",
            last_lower=lower,
            **told(users, "learning the map"),
        )
        own = features if not self.data else self._features(users, "")
        people = [user for user, there in own.items() if there]
        of_user = {user: directions.z(torch.stack([*own[user].values()])) for user in people}
        steering = whose(self.whose, people, users.seed)
        nobody = torch.zeros(z.shape[1])

        def of(user: str) -> Sequence[Stage]:
            lender = steering(user)
            return [found.stage(nobody if lender is None else of_user[lender])]

        detail = costs([first, second], None, found.stage(nobody))
        detail["trained"] |= {
            "map_parameters": found.centre.numel() + found.matrix.numel(),
            "bytes_a_user": 4 * z.shape[1],
            "people": len(features),
            "recognised": _rounded(
                directions.recognised([torch.stack([*own[user].values()]) for user in people])
            ),
        }
        return self.treating(users, of, detail)

    def controls(self) -> Mapping[str, Method]:
        """The same with another user's ``z``, and with the mean person's."""
        if self.whose != "own":
            return {}
        return {
            "other": replace(self, whose="other"),
            "population": replace(self, whose="population"),
        }

    def _features(self, users: UsersWithPast, data: str) -> dict[str, dict[str, Tensor]]:
        """Each past text's mean activations, ``(features,)``, by user and sample."""
        outputs = users.outputs(data, latest=self.latest)
        model = users.model
        points = sorted({Point(model.layer_at(depth), "block") for depth in self.read})
        flat = [(user, place, text) for user, own in outputs.items() for place, text in own.items()]
        done = counted(users.progress, "reading histories", len(flat))
        kept = KeptActivations(users.folder / "activations.sqlite")
        read = kept.means(model, _PROMPT, [text for *_, text in flat], points, progress=done)
        features: dict[str, dict[str, Tensor]] = {user: {} for user in outputs}
        for (user, place, _), activation in zip(flat, read, strict=True):
            features[user][place] = activation.flatten()
        return {user: own for user, own in features.items() if own}

    def _examples(
        self,
        users: UsersWithPast,
        features: Mapping[str, Mapping[str, Tensor]],
        directions: Directions,
    ) -> tuple[list[Example], list[Example], Tensor]:
        """What the map learns on, what is held back, and the ``z`` of each."""
        exchanges = users.exchanges(
            self.data, latest=self.latest, targets=self.targets, shown=self.context, by=self.by
        )
        people = sorted(user for user in exchanges if exchanges[user] and len(features[user]) > 1)
        back = set(people[::10]) if len(people) >= 10 else set()
        z: list[Tensor] = []
        learned: list[Example] = []
        held: list[Example] = []
        for user in people:
            for exchange in exchanges[user]:
                rest = [f for place, f in features[user].items() if place != exchange.id]
                made = example(users.model, len(z), exchange)
                z.append(directions.z(torch.stack(rest)))
                (held if user in back else learned).append(made)
        if not learned:
            raise TrimtabError(
                "amortized: nobody has two past samples, one to learn on and one to be read; take "
                "people with a longer history"
            )
        return learned, held, torch.stack(z)


def _rounded(share: float) -> float | None:
    return None if math.isnan(share) else round(share, 3)
