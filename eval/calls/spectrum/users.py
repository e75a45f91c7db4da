"""ToolSpectrum's personas made ready for methods: other requests, texts, dictionaries.

One item is left out at a time: of an item's own call, nothing is shown to it or steers it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ....agent.calling.calls import format_call
from ....envs.toolspectrum.items import SpectrumItem, ToolSpectrum
from ....errors import TrimtabError
from ....steering.dictionaries.steer import SteerBy
from ...methods.entries import check_call_entries, kept_dictionaries, one_after_another
from ...methods.retrieval import By, RememberedEncoder, nearest
from ...sample import counted
from .pairs import Schemas, choice_pairs, persona_pairs
from .scoring import right_call

if TYPE_CHECKING:
    from ....steering.contrast.pairs import ContrastPair, Messages
    from ....steering.dictionaries.dictionary import SteeringDictionary
    from ....steering.dictionaries.settings import SteeringSettings
    from ....steering.dictionaries.steer import Steer
    from ....steering.model import SteeredModel
    from ....steering.vectors.steering import Steering
    from ...methods.method import Kind, ModelVariant
    from ...sample import Progress, Sample
    from ...texts.prompt import Fitted


@dataclass(frozen=True)
class OtherRequest:
    """Another request of the same person, with the call that suited.

    Attributes:
        id: The item's.
        input: The request.
        output: The call, as the model would write it.
    """

    id: str
    input: str
    output: str


class SpectrumUsers:
    """The personas of a benchmark, ready for methods.

    Args:
        model: The model.
        data: Their items.
        samples: The test samples without golds.
        references: Requests of other people, for the personas' vectors.
        schemas: The tools that a request's prompt shows.
        folder: Where what is made is kept.
        seed: Of what is drawn.
        progress: Told how far a preparation is.
    """

    def __init__(
        self,
        model: SteeredModel,
        data: ToolSpectrum,
        samples: Sequence[Sample],
        references: Sequence[SpectrumItem],
        schemas: Schemas,
        *,
        folder: Path,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.model = model
        self.data = data
        self.seed = seed
        self._samples = tuple(samples)
        self._references = tuple(references)
        self._schemas = schemas
        self._folder = folder
        self._progress = progress
        self._encoder = RememberedEncoder(model.encoder)
        self._made: dict[tuple[Kind, str], Mapping[str, Sequence[ContrastPair]]] = {}

    def samples(self) -> Sequence[Sample]:
        """The test samples without their golds."""
        return self._samples

    def persona(self, sample: Sample) -> str:
        """Who the user is, in words."""
        return self.data.personas[sample.user_id]

    @cached_property
    def _items(self) -> dict[str, list[SpectrumItem]]:
        items: dict[str, list[SpectrumItem]] = {}
        for item in self.data.items:
            items.setdefault(item.persona, []).append(item)
        return items

    def _others(self, sample: Sample) -> list[OtherRequest]:
        """The user's other requests."""
        return [
            OtherRequest(item.id, item.request, _written(item, self.data))
            for item in self._items[sample.user_id]
            if item.id != sample.id
        ]

    def nearest(self, sample: Sample, by: By, k: int) -> list[OtherRequest]:
        """The user's other requests that come first for a request."""
        others = self._others(sample)
        seed = f"{self.seed}/{sample.key}"
        texts = [other.input for other in others]
        order = nearest(texts, sample.request, by, self._encoder, seed=seed)
        return [others[place] for place in order[:k]]

    def latest(self, sample: Sample, count: int) -> list[OtherRequest]:
        """The last of the user's other requests in the file, which has no times."""
        return self._others(sample)[::-1][:count]

    def entries(
        self,
        settings: SteeringSettings,
        kinds: Sequence[Kind],
        *,
        rejected: int = 2,
        below: float | None = None,
        variant: ModelVariant | None = None,
    ) -> dict[str, SteeringDictionary]:
        """Each persona's entries: of their requests (response), of their text (context).

        Raises:
            TrimtabError: Entries of another kind, or on top of a model variant.
        """
        check_call_entries("a choice of apps", kinds, variant)
        parts: dict[str, list[SteeringDictionary]] = {}
        for kind in kinds:
            for persona, own in self._read(kind, settings).items():
                parts.setdefault(persona, []).extend(own)
        return {persona: one_after_another(own) for persona, own in parts.items()}

    def _read(self, kind: Kind, settings: SteeringSettings) -> dict[str, list[SteeringDictionary]]:
        """Entries by persona, read group by group: prompts of one group begin alike."""
        what = "vectors of other requests" if kind == "response" else "vectors of persona texts"
        groups = self._groups(self.data.items if kind == "response" else self._references)
        total = len(self.data.items) if kind == "response" else len(groups) * len(self._items)
        tell = counted(self._progress, what, total)
        dictionaries: dict[str, list[SteeringDictionary]] = {}
        for group, items in groups.items():
            read = kept_dictionaries(
                self.model,
                self._pairs(kind, group, items),
                layers=settings.layers(self.model),
                keys=settings.keys,
                folder=self._folder / "eval" / "entries",
            )
            for persona, dictionary in read.items():
                dictionaries.setdefault(persona, []).append(dictionary)
            tell(len(items) if kind == "response" else len(self._items))
        return dictionaries

    def _pairs(
        self, kind: Kind, group: str, items: Sequence[SpectrumItem]
    ) -> Mapping[str, Sequence[ContrastPair]]:
        """A group's pairs, made once: which wrong call the model likes best takes minutes to ask.

        A method and its controls are steered by the same ones.
        """
        if (kind, group) not in self._made:
            self._made[kind, group] = (
                choice_pairs(self.model, self.data, items, self._schemas)
                if kind == "response"
                else persona_pairs(self.data.personas, items, self._schemas)
            )
        return self._made[kind, group]

    def _groups(self, items: Sequence[SpectrumItem]) -> dict[str, list[SpectrumItem]]:
        groups: dict[str, list[SpectrumItem]] = {}
        for item in items:
            groups.setdefault(self.data.group(item.app), []).append(item)
        return groups

    def steering(self, sample: Sample, steer: Steer) -> Steering | None:
        """What a method adds for a request, the request's own entry left out."""
        assert isinstance(steer, SteerBy)  # what every steered method steers by
        return steer(sample.user_id, sample.request, without=(sample.id,))

    def describing(self, sample: Sample, count: int, tokens: int) -> Fitted:
        """Refused: the benchmark has its own texts about people."""
        return _no_profiles()

    def answers(
        self, what: str, prompts: Sequence[Messages], *, max_new_tokens: int
    ) -> list[list[str]]:
        """Refused, as ``describing``."""
        return _no_profiles()


def _no_profiles() -> NoReturn:
    raise TrimtabError(
        "no profile is written of ToolSpectrum's people: their own text is the method persona"
    )


def _written(item: SpectrumItem, data: ToolSpectrum) -> str:
    return format_call(right_call(item, data.function(item.app, item.function)))
