"""How something is trained; the defaults are PerFit's numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import TrimtabError


@dataclass(frozen=True)
class TrainingOptions:
    """How something is trained.

    Attributes:
        learning_rate: AdamW's.
        weight_decay: AdamW's.
        clip: The gradient's norm is at most this; each user's own where each has their own numbers.
        batch_size: Samples in a step; of each user where each has their own numbers.
        epochs: At most so many passes over the samples.
        patience: Training ends when the held-back samples have not become likelier for so many
            epochs; 0 keeps the last epoch's numbers, whatever the held-back samples say.
        seed: Of the start and of the order of the samples.
    """

    learning_rate: float = 1e-4
    weight_decay: float = 1e-2
    clip: float = 0.3
    batch_size: int = 16
    epochs: int = 3
    patience: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot train.

        Raises:
            TrimtabError: A value out of its range.
        """
        if not (self.learning_rate > 0 and self.weight_decay >= 0 and self.clip > 0):
            raise TrimtabError(
                "expected a learning rate and a clip above 0 and a weight decay of at least 0, got "
                f"{self.learning_rate}, {self.clip} and {self.weight_decay}"
            )
        if min(self.batch_size, self.epochs) < 1 or self.patience < 0:
            raise TrimtabError(
                "expected batch_size and epochs of at least 1 and patience of at least 0, got "
                f"{self.batch_size}, {self.epochs} and {self.patience}"
            )
