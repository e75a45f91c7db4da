"""A user's steering dictionary: entries to pick from, and how the picked become one vector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...errors import TrimtabError
from ...files import replacing
from ..contrast.pairs import ContrastPair, Keys
from ..vectors.entries import Contrast, Entry, Picked
from ..vectors.steering import Steering
from ..vectors.steering_vectors import Point, Site, SteeringVectors, points_of
from .encoder import load_encoder
from .outliers import Limits, Outlier, find_outliers
from .reading import read_entries
from .selection import Aggregation, check_selection, fading_of, visible_rows, weighted

if TYPE_CHECKING:
    from ..model import SteeredModel
    from .population import Population
    from .two_parts import TwoParts

Guard = Literal["keep", "drop", "cap"]
"""What becomes of outliers: nothing, left out, or scaled down to the largest expected norm."""

_FORMAT = "trimtab-dictionary-1"


class SteeringDictionary:
    """All entries of one user.

    Attributes:
        user_id: Whose dictionary this is.
        fingerprint: The model that the vectors were read from; no other may be steered by them.
        points: The layers and sites that every entry has a vector for.
        keys_from: What the key texts are made of.
        encoder_name: The sentence encoder of the keys.
        entries: What is known of each entry.
        keys: Key embeddings, shape ``(entries, dimensions)``, rows of norm 1.
        vectors: Shape ``(entries, points, hidden_size)``, float32.

    Example:
        >>> dictionary = SteeringDictionary.build(
        ...     model, pairs, user_id="u1", sites=("mid", "mlp"), layers=[17]
        ... )  # doctest: +SKIP
        >>> steering = dictionary.select("a light rain jacket", k=5)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        user_id: str,
        fingerprint: str,
        points: Sequence[Point],
        encoder_name: str,
        keys_from: Keys = "input",
        entries: Iterable[Entry] = (),
        keys: Tensor | None = None,
        vectors: Tensor | None = None,
    ) -> None:
        self.user_id = user_id
        self.fingerprint = fingerprint
        self.points = tuple(points)
        self.encoder_name = encoder_name
        self.keys_from = keys_from
        self.entries = list(entries)
        self.keys = keys if keys is not None else torch.empty(0, 0)
        self.vectors = vectors if vectors is not None else torch.empty(0, len(self.points), 0)

    def __len__(self) -> int:
        return len(self.entries)

    @classmethod
    def build(
        cls,
        model: SteeredModel,
        pairs: Sequence[ContrastPair],
        *,
        user_id: str,
        layers: Iterable[int],
        sites: Iterable[Site] = ("mid", "mlp"),
        keys: Keys = "input",
        progress: Callable[[int], None] | None = None,
    ) -> SteeringDictionary:
        """Read one vector a point from each sample's pairs: positive minus negative.

        Args:
            model: The model to read, and later to steer.
            pairs: The user's contrast pairs; those of one sample and kind become one entry.
            user_id: Whose they are.
            layers: Layers, counted from 0.
            sites: Sites in each layer.
            keys: What the key texts are made of.
            progress: Told after each batch how many answers it held.

        Raises:
            TrimtabError: No pairs, a layer out of range, or activations that are not finite.
        """
        points = points_of(layers, sites)
        read = read_entries(model, {user_id: pairs}, points, keys, progress)
        entries, embedded, vectors = read[user_id]
        return cls(
            user_id=user_id,
            fingerprint=model.fingerprint,
            points=points,
            encoder_name=model.encoder.name,
            keys_from=keys,
            entries=entries,
            keys=embedded,
            vectors=vectors,
        )

    def add(self, model: SteeredModel, pairs: Sequence[ContrastPair]) -> None:
        """Take in new samples, or new versions of samples that are there.

        Raises:
            TrimtabError: The dictionary belongs to another model, or as for ``build``.
        """
        model.check_fingerprint(self.fingerprint, f"the dictionary of {self.user_id!r}")
        fresh = read_entries(model, {self.user_id: pairs}, self.points, self.keys_from)
        self._extend(*fresh[self.user_id])

    def _extend(self, entries: Sequence[Entry], keys: Tensor, vectors: Tensor) -> None:
        replaced = {(entry.sample_id, entry.contrast) for entry in entries}
        self._keep(
            n for n, e in enumerate(self.entries) if (e.sample_id, e.contrast) not in replaced
        )
        self.keys = torch.cat([self.keys, keys]) if self.entries else keys
        self.vectors = torch.cat([self.vectors, vectors]) if self.entries else vectors
        self.entries.extend(entries)

    def drop(self, sample_ids: Iterable[str]) -> int:
        """Remove the entries made from these samples; how many there were."""
        gone = set(sample_ids)
        before = len(self.entries)
        self._keep(n for n, entry in enumerate(self.entries) if entry.sample_id not in gone)
        return before - len(self.entries)

    def _keep(self, rows: Iterable[int]) -> None:
        kept = list(rows)
        if len(kept) < len(self.entries):
            self.keys, self.vectors = self.keys[kept], self.vectors[kept]
            self.entries = [self.entries[n] for n in kept]

    def outliers(
        self, population: Population | None = None, *, limits: Limits | None = None
    ) -> list[Outlier]:
        """Entries whose vectors are too long, or point where no other does, and why.

        Args:
            population: Everybody's entries, with the same points, to compare with as well.
            limits: How far is too far.

        See ``trimtab.steering.dictionaries.outliers.find_outliers``.
        """
        return find_outliers(self.entries, self.vectors, self.points, population, limits)

    def guarded(
        self,
        how: Guard,
        population: Population | None = None,
        *,
        limits: Limits | None = None,
    ) -> SteeringDictionary:
        """The same dictionary with its outliers left out or capped.

        Args:
            how: ``drop`` leaves out every entry that has an outlier at any point. ``cap`` scales
                vectors that are too long down to the largest expected norm and leaves those of
                another direction as they are. ``keep`` changes nothing.
            population: As for ``outliers``.
            limits: As for ``outliers``.

        Raises:
            TrimtabError: ``how`` is none of these.
        """
        if how not in get_args(Guard):
            raise TrimtabError(f"expected outliers {', '.join(get_args(Guard))}, got {how!r}")
        guarded = self.restricted(self.points)
        if how == "keep":
            return guarded
        row_of = {(e.sample_id, e.contrast): row for row, e in enumerate(self.entries)}
        gone = set()
        for outlier in self.outliers(population, limits=limits):
            row = row_of[outlier.entry.sample_id, outlier.entry.contrast]
            gone.add(row)
            if how == "cap" and outlier.what == "norm":
                vector = guarded.vectors[row, self.points.index(outlier.point)]
                vector *= (outlier.limit / vector.norm()).clamp(max=1)
        if how == "drop":
            guarded._keep(row for row in range(len(self.entries)) if row not in gone)
        return guarded

    @property
    def digest(self) -> str:
        """What the dictionary holds, as 16 hexadecimal digits: equal contents, equal digests.

        Points, keys, vectors and all that is known of the entries count; whose it is does not.
        """
        about = [
            self.fingerprint,
            self.encoder_name,
            self.keys_from,
            [list(point) for point in self.points],
            [asdict(entry) for entry in self.entries],
        ]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for tensor in (self.keys, self.vectors):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def replaced(self, **changes: Any) -> SteeringDictionary:
        """A dictionary of its own, with some of the attributes changed.

        What is added to it, or dropped, leaves this one as it is.
        """
        return SteeringDictionary(**{**vars(self), **changes})

    def restricted(self, points: Iterable[Point]) -> SteeringDictionary:
        """The same entries with the vectors of some points only.

        Raises:
            TrimtabError: A point that the entries have no vector for.
        """
        wanted = tuple(points)
        missing = [tuple(point) for point in wanted if point not in self.points]
        if missing:
            raise TrimtabError(
                f"the dictionary of {self.user_id!r} holds no vectors at {missing}; it has "
                f"{[tuple(point) for point in self.points]}"
            )
        rows = [self.points.index(point) for point in wanted]
        return self.replaced(points=wanted, vectors=self.vectors[:, rows])

    def select(
        self,
        query: str | Tensor,
        *,
        k: int = 5,
        aggregate: Aggregation = "attentive",
        temperature: float = 0.1,
        half_life: float = 0.0,
        before: int | None = None,
        without: Collection[str] = (),
        contrast: Contrast | None = None,
        outliers: Guard = "keep",
        population: Population | None = None,
        two_parts: TwoParts | None = None,
        **how: Any,
    ) -> Steering | None:
        """Pick the entries that resemble a request and make one steering of them.

        Fints' input-aware aggregation: the ``k`` entries with the highest cosine to the query,
        averaged (``mean``) or weighted by ``softmax(cosine / temperature)`` (``attentive``).
        ``naive`` averages the whole dictionary.

        Args:
            query: The request, or its embedding of shape ``(dimensions,)``.
            k: How many entries.
            aggregate: How they become one vector.
            temperature: Of the softmax.
            half_life: After so many later times an entry's weight has halved, and an older one
                needs a higher cosine to be picked; 0 is never.
            before: Only entries of samples strictly earlier than this.
            without: Samples whose entries are left out, to try a setting on them.
            contrast: Only entries of this kind; None takes all.
            outliers: What becomes of outliers among the entries that may be picked; see
                ``guarded``.
            population: What outliers are compared with besides these entries.
            two_parts: Add the others' mean, and of the picked entries what sets them apart from
                it. Only entries of its ``personal_from`` are picked, unless ``contrast`` says
                otherwise; where there are none, the others' mean is left.
            **how: Passed to ``Steering``: strength, positions, relative, cap, decay, max_norm.

        Returns:
            None where there is no entry to pick, and no other part.

        Raises:
            TrimtabError: An unknown aggregation, ``k`` or temperature not positive, a negative
                half life, or a population without entries of a kind that ``two_parts`` names.
        """
        check_selection(k, aggregate, temperature, half_life)
        if two_parts is not None:
            contrast = contrast or two_parts.personal_from
        entries = self
        rows = visible_rows(self.entries, before=before, without=without, contrast=contrast)
        if outliers != "keep":
            # Of the visible ones alone: what is unusual must not be learned from later entries.
            entries, rows = self._with_rows(rows).guarded(outliers, population), None
        own: SteeringVectors | None = None
        picked: tuple[Picked, ...] = ()
        wanted = two_parts is None or two_parts.personal != 0
        if wanted and (len(entries) if rows is None else rows):
            own, picked = entries._picked(query, rows, k, aggregate, temperature, half_life)
        elif two_parts is None:
            return None
        if two_parts is not None:
            own = two_parts.vectors(self.points, own)
        assert own is not None
        return Steering(own, picked=picked, fingerprint=self.fingerprint, **how)

    def _with_rows(self, rows: Sequence[int] | None) -> SteeringDictionary:
        """A dictionary of some of the entries; None is all."""
        chosen = self.restricted(self.points)
        if rows is not None:
            chosen._keep(rows)
        return chosen

    def _picked(
        self,
        query: str | Tensor,
        rows: Sequence[int] | None,
        k: int,
        aggregate: Aggregation,
        temperature: float,
        half_life: float,
    ) -> tuple[SteeringVectors, tuple[Picked, ...]]:
        """The nearest entries, and the vectors that they make together."""
        if isinstance(query, str):
            query = load_encoder(self.encoder_name).encode([query])[0]
        best = weighted(
            self.keys,
            query,
            rows,
            k=k,
            aggregate=aggregate,
            temperature=temperature,
            fading=fading_of(self.entries, rows, half_life),
        )
        chosen = self.vectors[best.rows]
        combined = torch.einsum("n,nph->ph", best.weights, chosen)
        picked = tuple(
            Picked(self.entries[row], cosine, weight, tuple(norms))
            for row, cosine, weight, norms in zip(
                best.rows.tolist(),
                best.similarities.tolist(),
                best.weights.tolist(),
                chosen.norm(dim=-1).tolist(),
                strict=True,
            )
        )
        return SteeringVectors(dict(zip(self.points, combined, strict=True))), picked

    def save(self, path: Path | str) -> None:
        """Write the dictionary as one safetensors file, whole or not at all.

        Raises:
            TrimtabError: The disk is full or cannot be written to.
        """
        about = {
            "format": _FORMAT,
            "user_id": self.user_id,
            "fingerprint": self.fingerprint,
            "encoder": self.encoder_name,
            "keys_from": self.keys_from,
            "points": [list(point) for point in self.points],
            "entries": [asdict(entry) for entry in self.entries],
        }
        tensors = {"keys": self.keys.contiguous(), "vectors": self.vectors.contiguous()}
        try:
            with replacing(Path(path)) as temporary:
                save_file(tensors, temporary, metadata={"trimtab": json.dumps(about)})
        except (SafetensorError, OSError) as error:
            raise TrimtabError(
                f"cannot write {path}: {error}; make room, or let it be written to, and try again"
            ) from error

    @classmethod
    def load(cls, path: Path | str) -> SteeringDictionary:
        """Read a dictionary that ``save`` wrote.

        Raises:
            TrimtabError: No such file, or not a steering dictionary.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["trimtab"])
                keys, vectors = file.get_tensor("keys"), file.get_tensor("vectors")
            if about["format"] != _FORMAT:
                raise ValueError(f"its format is {about['format']!r}")
        except FileNotFoundError:
            raise TrimtabError(f"there is no steering dictionary at {path}") from None
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise TrimtabError(
                f"{path} is not a steering dictionary of this version ({_FORMAT}): {error}; "
                "build it again"
            ) from error
        return cls(
            user_id=about["user_id"],
            fingerprint=about["fingerprint"],
            points=[Point(layer, site) for layer, site in about["points"]],
            encoder_name=about["encoder"],
            keys_from=about["keys_from"],
            entries=[Entry(**entry) for entry in about["entries"]],
            keys=keys,
            vectors=vectors,
        )
