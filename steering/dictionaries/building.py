"""From contrast pairs to dictionaries, for many users in the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..contrast.pairs import ContrastPair, Keys
from ..vectors.steering_vectors import Site, points_of
from .dictionary import SteeringDictionary
from .reading import Rejected, read_entries

if TYPE_CHECKING:
    from ..model import SteeredModel


def build_dictionaries(
    model: SteeredModel,
    pairs: Mapping[str, Sequence[ContrastPair]],
    *,
    layers: Iterable[int],
    sites: Iterable[Site] = ("mid", "mlp"),
    keys: Keys = "input",
    rejected: Rejected = "mean",
    progress: Callable[[int], None] | None = None,
) -> dict[str, SteeringDictionary]:
    """Build many users' dictionaries in the same batches; see ``SteeringDictionary.build``.

    Args:
        model: The model to read.
        pairs: Contrast pairs by user.
        layers: Where to read.
        sites: Where in these layers.
        keys: What the key texts are made of.
        rejected: What becomes of several pairs of one sample and kind: ``mean`` averages them,
            ``likeliest`` takes the one whose negative answer the model finds likeliest, and its
            own wrong choice is read in the pass that finds it.
        progress: Told after each batch how many answers it held.

    Raises:
        TrimtabError: A user without pairs, or as for ``build``.
    """
    points = points_of(layers, sites)
    read = read_entries(model, pairs, points, keys, progress, rejected=rejected)
    return {
        user_id: SteeringDictionary(
            user_id=user_id,
            fingerprint=model.fingerprint,
            points=points,
            encoder_name=model.encoder.name,
            keys_from=keys,
            entries=entries,
            keys=embedded,
            vectors=vectors,
        )
        for user_id, (entries, embedded, vectors) in read.items()
    }
