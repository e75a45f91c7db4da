"""What all entries of one store share, and entries to bytes and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import TrimtabError
from ..contrast.pairs import Contrast, Keys
from ..dictionaries.dictionary import SteeringDictionary
from ..dictionaries.population import Moments, Population
from ..vectors.entries import Entry
from ..vectors.steering_vectors import Point

_LARGEST = float(torch.finfo(torch.float16).max)
_LARGEST_TIME = 2**63
_HALF, _SCALE, _LENGTH = np.dtype("<f2"), np.dtype("<f4"), np.dtype("<u4")
_SUM = np.dtype("<f8")


class EntryContent(NamedTuple):
    """An entry as it is stored.

    Attributes:
        contrast: Its kind.
        timestamp: When its sample happened.
        content: Texts, key embedding and vectors in bytes.
    """

    contrast: Contrast
    timestamp: int
    content: bytes


@dataclass(frozen=True)
class StoreLayout:
    """What all entries of a store share.

    Attributes:
        fingerprint: The model that all vectors were read from.
        points: The layers and sites that every entry has a vector for.
        hidden_size: Of each vector.
        key_size: Dimensions of the key embeddings.
        encoder_name: The sentence encoder of the keys.
        keys_from: What the key texts are made of.
    """

    fingerprint: str
    points: tuple[Point, ...]
    hidden_size: int
    key_size: int
    encoder_name: str
    keys_from: Keys

    @classmethod
    def of(cls, dictionary: SteeringDictionary) -> StoreLayout:
        """The layout of a store whose first dictionary this is.

        Raises:
            TrimtabError: The dictionary is empty.
        """
        if not len(dictionary):
            raise TrimtabError(
                f"the dictionary of {dictionary.user_id!r} is empty and would be the first of its "
                "store; put one with entries first"
            )
        return cls(
            fingerprint=dictionary.fingerprint,
            points=dictionary.points,
            hidden_size=dictionary.vectors.shape[-1],
            key_size=dictionary.keys.shape[-1],
            encoder_name=dictionary.encoder_name,
            keys_from=dictionary.keys_from,
        )

    def check(self, dictionary: SteeringDictionary, store: str) -> None:
        """Refuse a dictionary that does not fit into this store.

        Raises:
            TrimtabError: Another model, other points, keys or sizes, twice the same sample, or
                numbers that are not finite.
        """
        who = f"the dictionary of {dictionary.user_id!r}"
        own = self if not len(dictionary) else StoreLayout.of(dictionary)
        if own.fingerprint != self.fingerprint:
            raise TrimtabError(
                f"{who} was built with another model (fingerprint {own.fingerprint}) than those "
                f"in {store} ({self.fingerprint}); a store holds one model's, so use another store"
            )
        if own != self:
            mine, theirs = _shown(self), _shown(own)
            differences = ", ".join(
                f"its {name.replace('_', ' ')} is {theirs[name]}, the store's {mine[name]}"
                for name in mine
                if mine[name] != theirs[name]
            )
            raise TrimtabError(
                f"{who} does not fit into {store}: {differences}; build it like the store's, or "
                "use another store"
            )
        seen: set[tuple[str, str]] = set()
        for entry in dictionary.entries:
            if (entry.contrast, entry.sample_id) in seen:
                raise TrimtabError(
                    f"{who} has two entries of sample {entry.sample_id!r} with {entry.contrast} "
                    "contrast; give each sample an id of its own"
                )
            seen.add((entry.contrast, entry.sample_id))
        for tensor in (dictionary.keys, dictionary.vectors):
            if not torch.isfinite(tensor).all():
                raise TrimtabError(
                    f"{who} holds NaN or infinity; drop the samples that gave it and put it again"
                )

    def to_json(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> StoreLayout:
        """What ``to_json`` gave."""
        about = json.loads(text)
        points = tuple(Point(layer, site) for layer, site in about.pop("points"))
        return cls(points=points, **about)

    def contents(self, dictionary: SteeringDictionary) -> list[EntryContent]:
        """Each entry in bytes: its texts as JSON, then scale, key and vectors in half precision.

        Raises:
            TrimtabError: A text that is not valid Unicode, or a time beyond 64 bits.
        """
        count = len(dictionary)
        scales = scales_of(dictionary.vectors)
        halves = (dictionary.vectors / scales[:, None, None]).half()
        numbers = (
            scales.numpy().astype(_SCALE),
            dictionary.keys.half().reshape(count, -1).numpy().astype(_HALF),
            halves.reshape(count, -1).numpy().astype(_HALF),
        )
        contents_of_rows = []
        for n, entry in enumerate(dictionary.entries):
            texts = [entry.sample_id, entry.key, entry.answer]
            try:
                if not -_LARGEST_TIME <= entry.timestamp < _LARGEST_TIME:
                    raise OverflowError(f"the timestamp {entry.timestamp}")
                content = with_head(texts, b"".join(each[n].tobytes() for each in numbers))
            except (UnicodeEncodeError, OverflowError, TypeError) as error:
                raise TrimtabError(
                    f"the dictionary of {dictionary.user_id!r} holds an entry that cannot be "
                    f"stored: {error}; expected valid Unicode and 64-bit timestamps"
                ) from error
            contents_of_rows.append(EntryContent(entry.contrast, entry.timestamp, content))
        return contents_of_rows

    def dictionary(self, user_id: str, stored: Sequence[EntryContent]) -> SteeringDictionary:
        """The dictionary that entries make, in their order; vectors in float32 again."""
        count, width = len(stored), len(self.points) * self.hidden_size
        size = _SCALE.itemsize + _HALF.itemsize * (self.key_size + width)
        packed = np.frombuffer(b"".join(each.content[-size:] for each in stored), np.uint8)
        packed = packed.reshape(count, size)
        scales = torch.from_numpy(_part(packed, 0, _SCALE, 1).astype(np.float32))
        keys = _part(packed, _SCALE.itemsize, _HALF, self.key_size)
        start = _SCALE.itemsize + _HALF.itemsize * self.key_size
        vectors = torch.from_numpy(_part(packed, start, _HALF, width).astype(np.float32))
        entries = [
            Entry(sample_id, key, answer, each.contrast, each.timestamp)
            for each, (sample_id, key, answer) in zip(
                stored, _heads_of([each.content for each in stored]), strict=True
            )
        ]
        return SteeringDictionary(
            user_id=user_id,
            fingerprint=self.fingerprint,
            points=self.points,
            encoder_name=self.encoder_name,
            keys_from=self.keys_from,
            entries=entries,
            keys=torch.from_numpy(keys.astype(np.float32)),
            vectors=(vectors * scales).reshape(count, len(self.points), self.hidden_size),
        )

    def sums_to_bytes(self, moments: Moments) -> bytes:
        """Running sums, nothing rounded."""
        parts = (moments.norms, moments.squares, moments.total)
        values = torch.cat([torch.tensor([moments.count]), *(p.flatten() for p in parts)])
        return values.double().numpy().astype(_SUM).tobytes()

    def sums_from_bytes(self, content: bytes) -> Moments:
        """What ``sums_to_bytes`` gave."""
        values = torch.from_numpy(np.frombuffer(content, _SUM).astype(np.float64))
        points = len(self.points)
        count, norms, squares, total = values.split([1, points, points, points * self.hidden_size])
        return Moments(int(count), total.reshape(points, -1), norms, squares)

    def population(self, rows: Sequence[tuple[Contrast, bytes]]) -> Population:
        """The running sums of all kinds."""
        return Population(self.points, {kind: self.sums_from_bytes(b) for kind, b in rows})


def with_head(head: Sequence[Any], rest: bytes = b"") -> bytes:
    """Content that begins with texts, the sample's id first.

    Raises:
        UnicodeEncodeError: A text that is not valid Unicode.
    """
    texts = json.dumps(head, ensure_ascii=False).encode()
    return np.array(len(texts), _LENGTH).tobytes() + texts + rest


def head_of(content: bytes) -> list[Any]:
    """The texts that content begins with."""
    end = _end_of_head(content)
    return list(json.loads(str(content[_LENGTH.itemsize : end], "utf-8")))


def _heads_of(contents: Sequence[bytes]) -> list[list[Any]]:
    """``head_of`` of each, read in one go."""
    start = _LENGTH.itemsize
    heads = (content[start : _end_of_head(content)] for content in contents)
    return list(json.loads(str(b"[" + b",".join(heads) + b"]", "utf-8")))


def rest_of(content: bytes) -> bytes:
    """What follows the texts that content begins with."""
    return content[_end_of_head(content) :]


def _end_of_head(content: bytes) -> int:
    start = _LENGTH.itemsize
    return start + int.from_bytes(content[:start], "little")


def sample_of(content: bytes) -> str:
    """The id of the sample that content is of."""
    return str(head_of(content)[0])


def scales_of(vectors: Tensor) -> Tensor:
    """What each entry is divided by to fit half precision, whose largest number is 65504.

    A power of two, so that nothing but the rounding to half precision is lost, and 1 for nearly
    all; activations beyond 65504 occur after the last layers of some families.
    """
    if not vectors.numel():
        return torch.ones(len(vectors))
    over = vectors.abs().flatten(1).amax(dim=1).float() / _LARGEST
    return torch.exp2(over.log2().ceil().clamp(min=0))


def _part(packed: Any, start: int, kind: np.dtype[Any], count: int) -> Any:
    """Some numbers of every row of bytes."""
    part = packed[:, start : start + kind.itemsize * count]
    return np.ascontiguousarray(part).view(kind)


def _shown(layout: StoreLayout) -> dict[str, Any]:
    points = [f"layer {layer} {site}" for layer, site in layout.points]
    return asdict(layout) | {"points": ", ".join(points)}
