"""How dictionaries lie in a store's table: the columns, and entries to rows and back."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import TrimtabError
from ..contrast.pairs import Keys
from ..dictionaries.dictionary import SteeringDictionary
from ..vectors.entries import Entry
from ..vectors.steering_vectors import Point

FORMAT = "trimtab-store-1"
STATE = ""
"""The owner of the row that holds the store's own state."""

_METADATA = b"trimtab"
_TEXTS = ("sample_id", "key", "answer", "contrast")
_LARGEST = float(torch.finfo(torch.float16).max)


@dataclass(frozen=True)
class Layout:
    """What all rows of one table share, kept in the table's own metadata.

    A table has one row an entry, and one *head* row a user, which names the user and lists the
    entry rows that count. A user's newest head is the only one that counts; without a name in it,
    the user is gone. So whatever a write does to a user, it takes effect with one appended row.

    Rows are found by their owner, a keyed hash of the user's id: no id can break a filter, and
    none ends up in transaction logs or indices.

    Attributes:
        fingerprint: The model that all vectors were read from.
        points: The layers and sites that every entry has a vector for.
        hidden_size: Of each vector.
        key_size: Dimensions of the key embeddings.
        encoder_name: The sentence encoder of the keys.
        keys_from: What the key texts are made of.
        salt: The hash's key, random for each store, in hexadecimal.
    """

    fingerprint: str
    points: tuple[Point, ...]
    hidden_size: int
    key_size: int
    encoder_name: str
    keys_from: Keys
    salt: str

    @classmethod
    def of(cls, dictionary: SteeringDictionary, salt: str | None = None) -> Layout:
        """The layout of a table whose first dictionary this is.

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
            salt=salt or secrets.token_hex(16),
        )

    def check(self, dictionary: SteeringDictionary, store: str) -> None:
        """Refuse a dictionary that does not fit into this table.

        Raises:
            TrimtabError: Another model, other points, keys or sizes, twice the same sample, or
                numbers that are not finite.
        """
        who = f"the dictionary of {dictionary.user_id!r}"
        own = self if not len(dictionary) else Layout.of(dictionary, self.salt)
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

    def owner(self, user_id: str) -> str:
        """The keyed hash that a user's rows are found by.

        Raises:
            TrimtabError: The id is empty or not a text.
        """
        name = checked_id(user_id).encode()
        return hmac.new(bytes.fromhex(self.salt), name, hashlib.sha256).hexdigest()[:32]

    def schema(self) -> pa.Schema:
        """The columns, with this layout in the metadata."""
        return pa.schema(
            [
                pa.field("owner", pa.string(), nullable=False),
                pa.field("row", pa.int64(), nullable=False),
                pa.field("user_id", pa.string()),  # in heads only
                pa.field("head", pa.large_binary()),  # in heads and the state only
                *(pa.field(name, pa.string()) for name in _TEXTS),
                pa.field("timestamp", pa.int64()),
                pa.field("built", pa.int64()),  # milliseconds since 1970
                pa.field("scale", pa.float32()),
                pa.field("embedding", pa.list_(pa.float16(), self.key_size)),
                pa.field("vectors", pa.list_(pa.float16(), len(self.points) * self.hidden_size)),
            ],
            metadata={_METADATA: json.dumps({"format": FORMAT, **asdict(self)}).encode()},
        )

    @classmethod
    def read(cls, schema: pa.Schema, store: str) -> Layout:
        """The layout of a table that is there.

        Raises:
            TrimtabError: The table is no store's, or one of another version.
        """
        about = json.loads((schema.metadata or {}).get(_METADATA, b"{}"))
        if about.pop("format", None) != FORMAT:
            raise TrimtabError(
                f"{store} is not a steering store of this version ({FORMAT}); use another folder "
                "and put the dictionaries again"
            )
        points = tuple(Point(layer, site) for layer, site in about.pop("points"))
        return cls(points=points, **about)

    def entry_rows(self, dictionary: SteeringDictionary, built: int) -> pa.Table:
        """One row an entry, with no numbers yet.

        Raises:
            TrimtabError: A text that is not valid Unicode.
        """
        entries = dictionary.entries
        count = len(entries)
        scales = scales_of(dictionary.vectors)
        halves = (dictionary.vectors / scales[:, None, None]).half()
        try:
            return self._table(
                owner=[self.owner(dictionary.user_id)] * count,
                row=np.zeros(count, dtype=np.int64),
                **{name: [getattr(entry, name) for entry in entries] for name in _TEXTS},
                timestamp=[entry.timestamp for entry in entries],
                built=np.full(count, built),
                scale=scales.numpy(),
                embedding=_lists(dictionary.keys.half(), self.key_size),
                vectors=_lists(halves, len(self.points) * self.hidden_size),
            )
        except (UnicodeEncodeError, OverflowError, pa.ArrowException) as error:
            raise TrimtabError(
                f"the dictionary of {dictionary.user_id!r} holds an entry that cannot be stored: "
                f"{error}; expected valid Unicode and 64-bit timestamps"
            ) from error

    def head_row(self, user_id: str, row: int, live: NDArray[np.int64] | None) -> pa.Table:
        """The row that says which entry rows of a user count, in order; None: the user is gone."""
        return self._table(
            owner=[self.owner(user_id)],
            row=[row],
            user_id=[None if live is None else user_id],
            head=[b"" if live is None else live.astype("<i8").tobytes()],
        )

    def state_row(self, row: int, state: Mapping[str, Any]) -> pa.Table:
        """The row that holds the store's own state."""
        return self._table(owner=[STATE], row=[row], head=[json.dumps(state).encode()])

    def _table(self, **columns: Any) -> pa.Table:
        schema = self.schema()
        count = len(columns["row"])
        return pa.table(
            [columns.get(field.name, pa.nulls(count, field.type)) for field in schema],
            schema=schema,
        )

    def dictionary(self, user_id: str, rows: pa.Table) -> SteeringDictionary:
        """The dictionary that entry rows make, in their order; vectors in float32 again."""
        count = len(rows)
        vectors = _tensor(rows["vectors"]).reshape(count, len(self.points), self.hidden_size)
        scales = torch.from_numpy(rows["scale"].to_numpy().copy())
        texts = [rows[name].to_pylist() for name in _TEXTS]
        return SteeringDictionary(
            user_id=user_id,
            fingerprint=self.fingerprint,
            points=self.points,
            encoder_name=self.encoder_name,
            keys_from=self.keys_from,
            entries=[
                Entry(sample_id=sample_id, key=key, answer=answer, contrast=kind, timestamp=when)
                for sample_id, key, answer, kind, when in zip(
                    *texts, rows["timestamp"].to_pylist(), strict=True
                )
            ],
            keys=_tensor(rows["embedding"]).reshape(count, self.key_size),
            vectors=vectors * scales[:, None, None],
        )


def checked_id(user_id: str) -> str:
    """The id as it is.

    Raises:
        TrimtabError: It is empty, not a text, or not valid Unicode.
    """
    try:
        if user_id and user_id.encode():
            return user_id
    except (AttributeError, UnicodeEncodeError):
        pass
    raise TrimtabError(f"expected a user id, a text that is not empty; got {user_id!r}")


def scales_of(vectors: Tensor) -> Tensor:
    """What each entry is divided by to fit half precision, whose largest number is 65504.

    A power of two, so that nothing but the rounding to half precision is lost, and 1 for nearly
    all; activations beyond 65504 occur after the last layers of some families.
    """
    if not vectors.numel():
        return torch.ones(len(vectors))
    over = vectors.abs().flatten(1).amax(dim=1).float() / _LARGEST
    return torch.exp2(over.log2().ceil().clamp(min=0))


def numbered(rows: pa.Table, numbers: NDArray[np.int64]) -> pa.Table:
    """The rows with their numbers."""
    place = rows.schema.get_field_index("row")
    return rows.set_column(place, rows.schema.field(place), pa.array(numbers))


def unchanged(old: pa.Table, new: pa.Table) -> dict[int, int]:
    """Positions in ``new`` whose entry is also in ``old`` bit for bit: to its position there."""
    where = {key: n for n, key in enumerate(_identities(old))}
    pairs = [(n, where[key]) for n, key in enumerate(_identities(new)) if key in where]
    if not pairs:
        return {}
    mine, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    same = np.ones(len(pairs), dtype=bool)
    for name in ("embedding", "vectors"):
        same &= (_bits(new[name])[mine] == _bits(old[name])[theirs]).all(axis=1)
    return {int(n): int(m) for n, m, equal in zip(mine, theirs, same, strict=True) if equal}


def _identities(rows: pa.Table) -> list[tuple[Any, ...]]:
    columns = [rows[name].to_pylist() for name in (*_TEXTS, "timestamp", "scale")]
    return list(zip(*columns, strict=True))


def live_rows(head: bytes) -> NDArray[np.int64]:
    """The entry rows that a head lists."""
    return np.frombuffer(head, dtype="<i8")


def _lists(values: Tensor, size: int) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.flatten().numpy()), size)


def _halves(column: pa.ChunkedArray) -> NDArray[np.float16]:
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([np.empty(0, np.float16), *flat])


def _bits(column: pa.ChunkedArray) -> NDArray[np.uint16]:
    return _halves(column).view(np.uint16).reshape(len(column), -1)


def _tensor(column: pa.ChunkedArray) -> Tensor:
    return torch.from_numpy(_halves(column)).float()


def _shown(layout: Layout) -> dict[str, Any]:
    points = [f"layer {layer} {site}" for layer, site in layout.points]
    return asdict(replace(layout, salt="")) | {"points": ", ".join(points)}
