"""A recommender that was published trained: PersonalWAB's SASRec checkpoint with its item index.

It does what the benchmark's own tool does, because scores depend on it. What differs from
`SequentialRecommender`: items of the sequence are recommended again, a sequence without a known
item gets nothing, and one of fewer than four known items is led by three more copies of its first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TrimtabError
from .item_numbers import check_numbers

if TYPE_CHECKING:
    from .sasrec import SASRec

CHECKPOINT_NAME = "pwab.pth"
INDEX_NAME = "1000_ids.json"
HEADS = 2
"""Attention heads, which a state dict does not tell."""
# Sequences with fewer known items than this are led by `_COPIES` more of their first.
_SHORT = 4
_COPIES = 3
# Where the two files lie, seen from the data folder: beside the data, in a folder of their own, or
# where a checkout of the benchmark has them.
_PLACES = (("", ""), ("recommender/checkpoint", "recommender/data"), ("recommender", "recommender"))
_CHECKOUT = (
    "../functions/recommender/checkpoint",
    "../functions/recommender/data",
)


@dataclass(frozen=True)
class PublishedFiles:
    """Where a published recommender lies: a state dict and a JSON object ``{item id: number}``."""

    checkpoint: Path
    index: Path


def find_published(folder: Path) -> PublishedFiles | None:
    """The recommender's two files in a data folder; None where there are none.

    They are looked for beside the data, in its sub-folder ``recommender`` (there also in
    ``checkpoint`` and ``data``), and, for the data folder of a checkout of the benchmark, in
    ``../functions/recommender``.

    Raises:
        TrimtabError: One of the two is there without the other.
    """
    for where, index_where in (*_PLACES, _CHECKOUT):
        files = PublishedFiles(folder / where / CHECKPOINT_NAME, folder / index_where / INDEX_NAME)
        there = files.checkpoint.is_file(), files.index.is_file()
        if all(there):
            return files
        if any(there):
            found, missing = files.checkpoint, files.index
            if there[1]:
                found, missing = missing, found
            raise TrimtabError(
                f"found {found} but no {missing}; a published recommender is both files: add the "
                "missing one, or remove the other to have one trained"
            )
    return None


class PretrainedRecommender:
    """Recommends as PersonalWAB's ``get_recommendations_by_history`` does.

    Args:
        network: The published network.
        numbers: Its number, from 1, of each item that may be recommended.

    Raises:
        TrimtabError: A number is not one of the network's items, or there are none.
    """

    def __init__(self, network: SASRec, numbers: dict[str, int]) -> None:
        import torch

        check_numbers(numbers, network.item_emb.num_embeddings - 1)
        self.network = network.eval()
        self.numbers = dict(numbers)
        # Of ids that share a number, the benchmark names the last; of equal scores, it takes the
        # smaller number first.
        self._ids = {number: id for id, number in sorted(numbers.items(), key=lambda pair: pair[1])}
        self._rows = torch.tensor(list(self._ids)) - 1

    @classmethod
    def load(cls, files: PublishedFiles) -> PretrainedRecommender:
        """Read the published files. Nothing in them is executed: no pickled objects are loaded.

        Raises:
            TrimtabError: A file cannot be read, or is not what it should be.
        """
        numbers = _read_index(files.index)
        try:
            return cls(_read_network(files.checkpoint), numbers)
        except TrimtabError as error:
            if str(files.checkpoint) in str(error):
                raise
            raise TrimtabError(f"{files.index} does not fit {files.checkpoint}: {error}") from None

    def recommend(self, sequence: Sequence[str], k: int = 10) -> list[str]:
        """The ids of the ``k`` items that fit best after the sequence, best first.

        Args:
            sequence: Item ids, oldest first; unknown ones are skipped, and the last ``max_length``
                known ones count.
            k: How many.

        Returns:
            Item ids, those of the sequence among them; empty without a known item.

        Raises:
            TrimtabError: ``k`` is below 1.
        """
        import torch

        if k < 1:
            raise TrimtabError(f"expected to recommend k >= 1 items, got {k}")
        known = [self.numbers[id] for id in sequence if id in self.numbers]
        if not known:
            return []
        if len(known) < _SHORT:
            known = [known[0]] * _COPIES + known
        length = self.network.max_length
        known = known[-length:]
        padded = torch.tensor([[0] * (length - len(known)) + known])
        with torch.inference_mode():
            scores = self.network.scores(padded)[0, self._rows]
        best = torch.sort(scores, descending=True, stable=True).indices[:k].tolist()
        return [self._ids[int(self._rows[row]) + 1] for row in best]


def _read_index(path: Path) -> dict[str, int]:
    try:
        numbers = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrimtabError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(numbers, dict) or not all(type(n) is int for n in numbers.values()):
        raise TrimtabError(f"{path}: expected a JSON object of item id to integer")
    return numbers


def _read_network(path: Path) -> SASRec:
    import pickle

    import torch

    from .sasrec import SASRec

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(weights, dict):
            raise TypeError(f"it holds a {type(weights).__name__}")
        return SASRec.of_weights(weights, heads=HEADS).float()
    except (
        OSError,
        EOFError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrimtabError(
            f"{path} is no SASRec state dict of tensors alone ({reason}); fetch it anew, or "
            "remove it and its index to have a recommender trained"
        ) from error
