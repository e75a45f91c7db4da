"""What a history says of a person, in a few numbers.

Mean activations, in the directions in which people differ most for how much one person varies. The
more people differ in a direction, the longer it is; and each is drawn to the mean person by how
little so many samples tell of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import TrimtabError

_RIDGE = 0.1  # of the mean variance, added to every direction's own


@dataclass(frozen=True)
class Directions:
    """In which directions people differ, and how much one person varies in them.

    Attributes:
        centre: ``(features,)``.
        basis: ``(features, directions)``; within a person each direction has variance 1.
        between: How much people differ in each, ``(directions,)``.
    """

    centre: Tensor
    basis: Tensor
    between: Tensor

    @classmethod
    def of(cls, people: Sequence[Tensor], count: int) -> Directions:
        """From people's samples, ``(samples, features)`` each.

        Args:
            people: At least two, one of them with two samples or more.
            count: How many directions, at most.

        Raises:
            TrimtabError: Too few people or samples.
        """
        several = [each for each in people if len(each) > 1]
        if len(people) < 2 or not several:
            raise TrimtabError(
                f"expected at least 2 people to learn on, one of them with 2 samples, got "
                f"{len(people)} and {len(several)} with so many"
            )
        means = torch.stack([each.float().mean(dim=0) for each in people])
        centre = means.mean(dim=0)
        within = torch.cat([each.float() - each.float().mean(dim=0) for each in several])
        freedom = sum(len(each) - 1 for each in several)
        covariance = within.T @ within / freedom
        ridge = _RIDGE * covariance.diagonal().mean()
        values, vectors = torch.linalg.eigh(covariance + ridge * torch.eye(len(centre)))
        white = vectors / values.sqrt()
        # A mean of n samples varies by 1/n within the person: those who say more count more.
        weights = torch.tensor([len(each) / (len(each) + 8.0) for each in people])
        spread = (means - centre) @ white * weights.sqrt()[:, None]
        _, sizes, rotation = torch.linalg.svd(spread, full_matrices=False)
        count = min(count, len(rotation), len(people) - 1)
        basis = white @ rotation[:count].T
        inside = ((within @ basis).square().sum(dim=0) / freedom).clamp(min=1e-6)
        noise = (torch.tensor([1 / len(each) for each in people]) * weights).sum() / weights.sum()
        total = sizes[:count].square() / weights.sum()
        between = (total - noise * inside).clamp(min=1e-3 * inside)
        basis = basis / inside.sqrt()
        return cls(centre, basis, between / inside)

    def z(self, samples: Tensor) -> Tensor:
        """What a history says of a person, ``(directions,)``; without samples 0, the mean person's.

        Args:
            samples: ``(samples, features)``.
        """
        if not len(samples):
            return torch.zeros(len(self.between))
        mean = (samples.float().mean(dim=0) - self.centre) @ self.basis
        trust = self.between / (self.between + 1 / len(samples))
        return mean * trust * self.between.sqrt()

    def recognised(self, people: Sequence[Tensor]) -> float:
        """How many of the people one half of a history recognises among the other halves.

        Args:
            people: Their samples, ``(samples, features)`` each; those with fewer than 2 are left
                out.

        Returns:
            A share; NaN where nobody has two samples.
        """
        several = [each for each in people if len(each) > 1]
        if not several:
            return float("nan")
        halves = [torch.stack([self.z(each[n::2]) for each in several]) for n in (0, 1)]
        one, other = (torch.nn.functional.normalize(half, dim=1) for half in halves)
        nearest = (one @ other.T).argmax(dim=1)
        return (nearest == torch.arange(len(several))).float().mean().item()
