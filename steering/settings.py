"""How to steer, as one value: what tuning chooses, and what `run` and `eval` take from a TOML."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import TrimtabError
from ..files import replacing
from .contrast import Keys
from .dictionary import Aggregation, SteeringDictionary
from .injection import Positions, Steering
from .vectors import Site

if TYPE_CHECKING:
    from .model import SteeredModel


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
        strength: The multiplier at every site.
        positions: Which tokens are steered.
        relative: Scale to the activation's own norm.
        cap: Bound on what is added, as a share of the activation's norm; 0 for none.
    """

    sites: tuple[Site, ...] = ("mid", "mlp")
    depths: tuple[float, ...] = (0.6,)
    keys: Keys = "input"
    k: int = 5
    aggregate: Aggregation = "attentive"
    temperature: float = 0.1
    strength: float = 1.0
    positions: Positions = "answer"
    relative: bool = False
    cap: float = 0.0

    def layers(self, model: SteeredModel) -> list[int]:
        """The layers of this model at the chosen depths."""
        return sorted({model.layer_at(depth) for depth in self.depths})

    def select(
        self,
        dictionary: SteeringDictionary,
        query: str | Tensor,
        *,
        before: int | None = None,
        without: Collection[str] = (),
    ) -> Steering | None:
        """Pick from a dictionary and set strength and positions; see its ``select``."""
        return dictionary.select(
            query,
            k=self.k,
            aggregate=self.aggregate,
            temperature=self.temperature,
            before=before,
            without=without,
            strength=self.strength,
            positions=self.positions,
            relative=self.relative,
            cap=self.cap or None,
        )

    def save(self, path: Path | str) -> None:
        """Write a ``[steering]`` table."""
        lines = ["[steering]"]
        for name, value in dataclasses.asdict(self).items():
            lines.append(f"{name} = {_toml(value)}")
        with replacing(Path(path)) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> SteeringSettings:
        """Read a ``[steering]`` table; what it does not name keeps its default.

        Raises:
            TrimtabError: No such file, no such table, or a name that is not a setting.
        """
        try:
            with Path(path).open("rb") as file:
                table: dict[str, Any] = tomllib.load(file)["steering"]
        except FileNotFoundError:
            raise TrimtabError(f"there is no settings file at {path}") from None
        except (KeyError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TrimtabError(
                f"{path} is not a settings file: expected a [steering] table; {error}"
            ) from error
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(table) - known)
        if unknown:
            raise TrimtabError(
                f"{path}: unknown setting {unknown[0]!r}; expected {', '.join(sorted(known))}"
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)
