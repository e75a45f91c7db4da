"""What is trained on: prompts with the answers that users gave, in batches by length."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...steering.decoder.forward import padded


@dataclass(frozen=True)
class Example:
    """A prompt and the answer that is forced after it, as token ids.

    Attributes:
        owner: Whose it is: the place of their numbers among those that are trained.
        prompt: At least two tokens.
        answer: At least one, the token that ends it included.
    """

    owner: int
    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """Prompt and answer."""
        return self.prompt + self.answer


def content_of(examples: Sequence[Example]) -> bytes:
    """What tells these examples from any others, for a digest."""
    rows = [[each.owner, list(each.prompt), list(each.answer)] for each in examples]
    return json.dumps(rows).encode()


@dataclass(frozen=True)
class TrainingBatch:
    """Rows that go through the model together, padded on the right.

    Attributes:
        rows: Their places among the examples.
        owners: ``(rows,)``.
        tokens: ``(rows, longest)``.
        mask: 1 for real tokens, ``(rows, longest)``.
        answers: Whether the *next* token is one of the answer, ``(rows, longest)``.
        prompt_lengths: Of each row.
        offsets: How many of a row's first tokens are left out, ``(rows, 1)``.
    """

    rows: tuple[int, ...]
    owners: Tensor
    tokens: Tensor
    mask: Tensor
    answers: Tensor
    prompt_lengths: tuple[int, ...]
    offsets: Tensor

    @property
    def positions(self) -> Tensor:
        """Of each token in its whole row, ``(rows, longest)``; -1 or more."""
        return self.offsets + self.mask.cumsum(dim=1) - 1

    def after(self, starts: Sequence[int]) -> TrainingBatch:
        """The same rows without so many of their first tokens each."""
        offsets = torch.tensor([[start] for start in starts], device=self.tokens.device)
        lengths = self.mask.sum(dim=1, keepdim=True) - offsets
        places = offsets + torch.arange(int(lengths.max()), device=self.tokens.device)
        there = places < self.tokens.shape[1]
        places = places.clamp(max=self.tokens.shape[1] - 1)
        return replace(
            self,
            tokens=self.tokens.gather(1, places),
            mask=self.mask.gather(1, places) * there,
            answers=self.answers.gather(1, places) & there,
            offsets=self.offsets + offsets,
        )

    @classmethod
    def of(
        cls, examples: Sequence[Example], rows: Sequence[int], device: torch.device
    ) -> TrainingBatch:
        """These rows of the examples, on the device."""
        some = [examples[row] for row in rows]
        tokens, mask = padded([each.tokens for each in some], left=False)
        places = torch.arange(tokens.shape[1])
        starts = torch.tensor([[len(each.prompt) - 1] for each in some])
        ends = torch.tensor([[len(each.tokens) - 1] for each in some])
        return cls(
            tuple(rows),
            torch.tensor([each.owner for each in some], device=device),
            tokens.to(device),
            mask.to(device),
            ((places >= starts) & (places < ends)).to(device),
            tuple(len(each.prompt) for each in some),
            torch.zeros(len(some), 1, dtype=torch.long, device=device),
        )


def steps(
    examples: Sequence[Example],
    size: int,
    *,
    apart: bool,
    seed: int,
    epoch: int,
    answers_alone: bool = False,
) -> list[list[int]]:
    """The steps of one epoch: each holds the places of its examples.

    Args:
        examples: All of them.
        size: At most so many examples in a step.
        apart: Every owner has batches of their own, and a step holds one of each: what an owner
            gets does not depend on who is trained beside them.
        seed: Of the order.
        epoch: Which pass this is.
        answers_alone: Whether passes hold the answers alone: then their lengths make a batch alike.
    """
    lengths = [len(each.answer if answers_alone else each.tokens) for each in examples]
    own: dict[int, list[int]] = {}
    for place, example in enumerate(examples):
        own.setdefault(example.owner if apart else 0, []).append(place)
    batches = [_shuffled(lengths, places, size, f"{seed}/{epoch}") for places in own.values()]
    most = max(map(len, batches), default=0)
    return [
        [place for each in batches if number < len(each) for place in each[number]]
        for number in range(most)
    ]


def _shuffled(
    lengths: Sequence[int], places: Sequence[int], size: int, seed: str
) -> list[list[int]]:
    """Batches of examples of similar length, in an order that is drawn."""
    drawn = random.Random(seed)
    order = list(places)
    drawn.shuffle(order)
    batches: list[list[int]] = []
    window = 16 * size  # wide enough for batches of alike lengths, which still differ by epoch
    for start in range(0, len(order), window):
        some = sorted(order[start : start + window], key=lambda place: lengths[place])
        batches += [some[n : n + size] for n in range(0, len(some), size)]
    drawn.shuffle(batches)
    return batches


def narrow(
    examples: Sequence[Example], rows: Sequence[int], token_budget: int
) -> Iterator[list[int]]:
    """The rows by length, in parts of at most so many tokens, padding included."""
    part: list[int] = []
    for row in sorted(rows, key=lambda row: (len(examples[row].tokens), row)):
        if part and len(examples[row].tokens) * (len(part) + 1) > token_budget:
            yield part
            part = []
        part.append(row)
    if part:
        yield part
