"""How to steer, as one value: what tuning chooses, and what `run` and `eval` take from a TOML."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import tomli_w
from torch import Tensor

from ...errors import TrimtabError
from ...files import replacing
from ..contrast.pairs import Keys
from ..vectors.entries import Contrast
from ..vectors.positions import Positions
from ..vectors.steering import Steering
from ..vectors.steering_vectors import Site
from .dictionary import Guard, SteeringDictionary
from .population import Population
from .selection import Aggregation
from .two_parts import TwoParts


class HasDepths(Protocol):
    """What knows which layer a relative depth is: a ``SteeredModel``."""

    def layer_at(self, depth: float) -> int:
        """The layer at a relative depth from 0 to 1."""
        ...


@dataclass(frozen=True)
class SteeringSettings:
    """What is read, what is picked, and how it is added.

    Attributes:
        sites: Where vectors are read.
        depths: Relative depths of the layers, 0 to 1; the paper's layer 23 of 32 is 0.72.
        keys: What the key texts are made of.
        k: How many entries are picked.
        aggregate: How they become one vector.
        temperature: Of the attentive softmax.
        half_life: After so many later times an entry's weight has halved, for users who change;
            0 is never.
        strength: The multiplier at every site.
        positions: Which tokens are steered.
        relative: Scale to the activation's own norm.
        cap: Bound on what is added, as a share of the activation's norm; 0 for none.
        max_norm: Bound on the norm of what is added at all places together; 0 for none.
        outliers: What becomes of entries with unusual vectors: ``keep``, ``drop`` or ``cap``.
        contrast: Only entries of this kind are picked; ``any`` takes all, in two parts those of
            ``context``.
        collective: Weight of the other users' mean ``response`` vector. With this or ``personal``
            above 0, steering is in two parts; see ``TwoParts``.
        personal: Weight of the user's picked entries minus the others' mean of the same kind.
    """

    sites: tuple[Site, ...] = ("mid", "mlp")
    depths: tuple[float, ...] = (0.72,)
    keys: Keys = "input"
    k: int = 5
    aggregate: Aggregation = "attentive"
    temperature: float = 0.1
    half_life: float = 0.0
    strength: float = 1.0
    positions: Positions = "answer"
    relative: bool = False
    cap: float = 0.0
    max_norm: float = 0.0
    outliers: Guard = "keep"
    contrast: Contrast | Literal["any"] = "any"
    collective: float = 0.0
    personal: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot steer.

        Raises:
            TrimtabError: A value out of its range.
        """
        faults = {
            "at least one of each of sites and depths": self.sites and self.depths,
            "depths from 0 to 1": all(0 <= depth <= 1 for depth in self.depths),
            "k of at least 1": self.k >= 1,
            "a temperature above 0": self.temperature > 0,
            "a finite half_life of at least 0": 0 <= self.half_life < math.inf,
            "finite strength, collective and personal": all(
                map(math.isfinite, (self.strength, self.collective, self.personal))
            ),
            "cap and max_norm of at least 0": self.cap >= 0 and self.max_norm >= 0,
            "relative or max_norm, not both": not (self.relative and self.max_norm),
        }
        for expected, fine in faults.items():
            if not fine:
                raise TrimtabError(f"steering settings: expected {expected}, got {self}")

    @property
    def in_two_parts(self) -> bool:
        """Whether the others' mean is added, or taken off; see ``TwoParts``."""
        return bool(self.collective or self.personal)

    @property
    def picks(self) -> bool:
        """Whether the user's own entries have a part in it."""
        return bool(self.personal) or not self.collective

    @property
    def personal_from(self) -> Contrast:
        """The kind of entries that the personal part of two is made of."""
        return "context" if self.contrast == "any" else self.contrast

    def layers(self, model: HasDepths) -> list[int]:
        """The layers of this model at the chosen depths."""
        return sorted({model.layer_at(depth) for depth in self.depths})

    def select(
        self,
        dictionary: SteeringDictionary,
        query: str | Tensor,
        *,
        before: int | None = None,
        without: Collection[str] = (),
        others: Population | None = None,
    ) -> Steering | None:
        """Pick from a dictionary and set strength and positions; see its ``select``.

        Args:
            dictionary: The user's.
            query: The request, or its embedding.
            before: Only entries of samples strictly earlier than this.
            without: Samples whose entries are left out.
            others: Everybody else's entries, which steering in two parts needs, and which
                outliers are compared with.

        Raises:
            TrimtabError: Two parts are wanted without ``others``, or as for ``select``.
        """
        two_parts = None
        if self.in_two_parts:
            if others is None:
                raise TrimtabError(
                    "steering in two parts (collective, personal) needs the other users' entries; "
                    "pass others=population_of(store, without=user_id)"
                )
            two_parts = TwoParts(
                others, self.collective, self.personal, personal_from=self.personal_from
            )
        return dictionary.select(
            query,
            k=self.k,
            aggregate=self.aggregate,
            temperature=self.temperature,
            half_life=self.half_life,
            before=before,
            without=without,
            contrast=None if self.contrast == "any" else self.contrast,
            outliers=self.outliers,
            population=others,
            two_parts=two_parts,
            strength=self.strength,
            positions=self.positions,
            relative=self.relative,
            cap=self.cap or None,
            max_norm=self.max_norm or None,
        )

    def save(self, path: Path | str) -> None:
        """Write a ``[steering]`` table."""
        text = tomli_w.dumps({"steering": dataclasses.asdict(self)})
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> SteeringSettings:
        """Read a ``[steering]`` table; what it does not name keeps its default.

        Raises:
            TrimtabError: No such file, no such table, or as ``of``.
        """
        try:
            with Path(path).open("rb") as file:
                table = tomllib.load(file)["steering"]
            if not isinstance(table, dict):
                raise KeyError("steering")
        except FileNotFoundError:
            raise TrimtabError(f"there is no settings file at {path}") from None
        except (KeyError, OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TrimtabError(
                f"{path} is not a settings file: expected a [steering] table; {error!r}"
            ) from error
        try:
            return cls.of(table)
        except TrimtabError as error:
            raise TrimtabError(f"{path}: {error}") from error

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SteeringSettings:
        """Settings from plain values, as TOML or JSON holds them; the rest keep their defaults.

        Raises:
            TrimtabError: A name that is not a setting, or a value of another type or range.
        """
        from pydantic import TypeAdapter, ValidationError

        known = sorted(field.name for field in dataclasses.fields(cls))
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise TrimtabError(f"unknown setting {unknown[0]!r}; expected {', '.join(known)}")
        # As JSON: there, strictness still takes a list for a tuple and a whole number for a float.
        text = json.dumps(values, default=str)
        try:
            return TypeAdapter(cls).validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            raise TrimtabError(f"setting {name!r}: {first['msg']}; got {values[name]!r}") from error
