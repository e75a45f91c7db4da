"""A personal shift without training the person: ``v_u = c + z_u B``, learned on other people.

``z_u`` says in a few numbers what a history is like. A pass over people's samples tells how each
one's loss changes with a shift of its own there, and how much of that ``z`` tells: a regression,
and so a step of the whole of ``B`` at once, which is taken as far as the answers of people who
are held back become likelier. There is no learning rate, and nothing is drawn.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import TrimtabError
from ...steering.vectors.low_rank import Shift, Stage
from ...steering.vectors.positions import Where
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .examples import Example, TrainingBatch, content_of, narrow
from .loop import Trained
from .loss import answer_nats
from .lower_layers import LastLower, changes_answers_alone, lowest_unchanged
from .memory import TokenBudget
from .trainable import ShiftStack

if TYPE_CHECKING:
    from ...steering.decoder.language_model import LanguageModel

# Changes whenever the same samples would give another map.
_FORM = 1

# How far a step goes, in parts of what would be best for those who are learned on if the loss were
# a parabola. They know the step, so that it is several times too long for others.
_FIRST, _LONGEST, _WITHOUT_OTHERS = 1 / 64, 4.0, 1 / 8


@dataclass(frozen=True)
class ShiftMap:
    """From what a history says to a shift.

    Attributes:
        layers: After which layers.
        centre: The mean person's, ``(layers, hidden_size)``.
        matrix: ``(directions, layers, hidden_size)``.
        positions: Which tokens are changed.
    """

    layers: tuple[int, ...]
    centre: Tensor
    matrix: Tensor
    positions: Where

    def shifts(self, z: Tensor) -> Tensor:
        """Of people whose ``z`` is ``(people, directions)``, ``(people, layers, hidden_size)``."""
        return self.centre + torch.tensordot(z, self.matrix, dims=1)

    def stage(self, z: Tensor) -> Stage:
        """Of one person, ``(directions,)``."""
        [shifts] = self.shifts(z[None])
        return Stage(
            {layer: Shift(shift) for layer, shift in zip(self.layers, shifts, strict=True)},
            self.positions,
        )


def learn_map(
    model: LanguageModel,
    z: Tensor,
    centre: Tensor,
    layers: Sequence[int],
    positions: Where,
    examples: Sequence[Example],
    held: Sequence[Example] = (),
    *,
    passes: int = 2,
    ridge: float = 10.0,
    folder: Path | None = None,
    tokens_at_once: int | None = None,
    last_lower: LastLower | None = None,
    checkpoint_seconds: float = 20.0,
    progress: Callable[[int, int], None] | None = None,
    on_lower: Callable[[int, int], None] | None = None,
) -> tuple[ShiftMap, Trained]:
    """Learn the map.

    Args:
        model: The frozen model.
        z: One row for each owner, ``(owners, directions)``.
        centre: The mean person's shift, ``(layers, hidden_size)``; it stays as it is.
        layers: After which layers.
        positions: Which tokens are changed.
        examples: What it is learned on; owners are rows of ``z``.
        held: Other people's samples, which tell how far to go and when to stop; without, a step
            is an eighth of what the parabola says.
        passes: At most so many.
        ridge: Of the regression, in parts of ``z``'s mean variance.
        folder: Where it is kept, under a digest of all that it depends on; what was broken off
            there goes on. None keeps nothing.
        tokens_at_once: Tokens in one pass, padding included; halved once where memory runs out.
        last_lower: What was computed for the training before this one, of the same model.
        checkpoint_seconds: Time between two writes of what is known so far.
        progress: Told how many samples are done, and of how many.
        on_lower: Told of how many samples what never changes is computed, and of how many.

    Raises:
        TrimtabError: Nothing to learn on, a loss that is not finite, or no memory for half as
            many tokens at once either.
    """
    if not examples:
        raise TrimtabError("nothing to learn a map on: expected at least one sample")
    room = TokenBudget.on(model.device, tokens_at_once)
    made = ShiftMap(tuple(layers), centre, torch.zeros(z.shape[1], *centre.shape), positions)
    path = None
    if folder is not None:
        about = (passes, ridge, z, made, examples, held)
        path = folder / f"{_digest(model, *about)}.safetensors"
    return _MapLearning(
        model, z, made, list(examples), list(held), passes, ridge, path, room,
        last_lower or LastLower(), checkpoint_seconds, progress, on_lower,
    ).learn()  # fmt: skip


def _digest(
    model: LanguageModel,
    passes: int,
    ridge: float,
    z: Tensor,
    made: ShiftMap,
    examples: Sequence[Example],
    held: Sequence[Example],
) -> str:
    digest = hashlib.sha256()
    about = [_FORM, model.fingerprint, model.precision, passes, ridge, made.layers]
    digest.update(json.dumps([*about, str(made.positions)]).encode())
    digest.update(content_of(examples))
    digest.update(content_of(held))
    for tensor in (z, made.centre):
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class _Gathered:
    """What a pass has gathered so far, every sample with the weight of its answer's tokens.

    Attributes:
        samples: How many, ``()``.
        tokens: Of their answers, ``()``.
        z: ``(directions,)``.
        products: Of ``z`` with itself, ``(directions, directions)``.
        gradient: Of the answers' nats by their own shifts, ``(shift,)``.
        across: Its products with ``z``, ``(directions, shift)``.
        square: Its square by the token, ``(shift,)``.
    """

    samples: Tensor
    tokens: Tensor
    z: Tensor
    products: Tensor
    gradient: Tensor
    across: Tensor
    square: Tensor

    @classmethod
    def of(cls, z: Tensor, gradients: Tensor, tokens: Tensor) -> _Gathered:
        """Of samples: ``(rows, directions)``, ``(rows, shift)`` and ``(rows,)``."""
        return cls(
            torch.tensor(float(len(z))),
            tokens.sum(),
            tokens @ z,
            z.T @ (z * tokens[:, None]),
            gradients.sum(dim=0),
            z.T @ gradients,
            (gradients.square() / tokens[:, None]).sum(dim=0),
        )

    def __add__(self, other: _Gathered) -> _Gathered:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Gathered(*(one + another for one, another in pairs))

    def step(self, ridge: float) -> Tensor:
        """The step of the map that is best if the loss is a parabola, ``(directions, shift)``.

        Curvature is what the gradients' own variance says of it (Fisher's information), by
        coordinate; half of it is the mean over all, since few samples tell little of one.
        """
        z, gradient = self.z / self.tokens, self.gradient / self.tokens
        across = self.across / self.tokens - z[:, None] * gradient
        spread = self.products / self.tokens - z[:, None] * z
        variance = (self.square / self.tokens - gradient.square()) * self.tokens / self.samples
        curvature = (variance + variance.mean()).clamp(min=1e-12)
        small = ridge * spread.diagonal().mean().clamp(min=1e-12) * torch.eye(len(z))
        step = -torch.linalg.solve(spread + small, across) / curvature
        # Along the step the mean loss goes down by `slope` and is bent by `bend`.
        slope = -(step * across).sum()
        bend = (step * (spread @ step) * curvature).sum()
        return step * (slope / bend.clamp(min=1e-12))


@dataclass(frozen=True)
class _SoFar:
    """What learning may go on from.

    Attributes:
        matrix: The map's.
        done: Passes.
        losses: Of the held back, nats a token, before all passes and after each.
        sums: Of the next pass; None where no sample of it is read.
    """

    matrix: Tensor
    done: int = 0
    losses: tuple[float, ...] = ()
    sums: _Gathered | None = None

    @property
    def read(self) -> int:
        """Samples of the next pass, shortest first."""
        return 0 if self.sums is None else int(self.sums.samples)


@dataclass
class _MapLearning:
    """One map being learned."""

    model: LanguageModel
    z: Tensor
    start: ShiftMap
    examples: list[Example]
    held: list[Example]
    passes: int
    ridge: float
    path: Path | None
    room: TokenBudget
    last_lower: LastLower
    checkpoint_seconds: float
    progress: Callable[[int, int], None] | None
    on_lower: Callable[[int, int], None] | None

    def learn(self) -> tuple[ShiftMap, Trained]:
        self.state = _SoFar(self.start.matrix)
        self.started = self.written = time.monotonic()
        checkpoint = load_checkpoint(self.path) if self.path else None
        if checkpoint:
            self._restore(checkpoint)
        if checkpoint is None or not checkpoint.done:
            self._learn()
        self._tell(self.passes * len(self.examples))
        state = self.state
        trained = Trained(state.done, self._seconds(), state.losses, (state.done,), self.path)
        return self._map(state.matrix), trained

    def _map(self, matrix: Tensor) -> ShiftMap:
        return replace(self.start, matrix=matrix)

    def _learn(self) -> None:
        positions = self.start.positions
        plain = ShiftStack(self.start.layers, self.start.centre.shape[-1], positions)
        self.lower = self.room.within(
            lambda: self.last_lower.keep(
                self.model,
                self.examples + self.held,
                lowest_unchanged(plain, ()),
                answers_alone=changes_answers_alone(plain, ()),
                token_budget=self.room.tokens,
                progress=self.on_lower,
            )
        )
        try:
            if self.held and not self.state.losses:
                self.state = replace(self.state, losses=(self._held_nats(self.state.matrix),))
            while self.state.done < self.passes:
                self.room.within(self._read, self._anew)
                before, self.state = self.state, self._stepped()
                if self.state.done == before.done:
                    break
                self._save()
        except KeyboardInterrupt:
            self._save()
            raise
        self._save(over=True)

    def _anew(self) -> None:
        """Other batches than before: what they gathered does not fit these."""
        self.state = replace(self.state, sums=None)

    def _read(self) -> None:
        """Gather what the samples say that are not read yet."""
        lengths = [len(each.tokens) for each in self.examples]
        order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
        of = self._map(self.state.matrix)
        for rows in narrow(self.examples, order[self.state.read :], self.room.tokens):
            batch, shifts = self._shifted(self.examples, rows, of)
            nats = answer_nats(self.model, shifts, batch, (), self.lower).sum()
            if not torch.isfinite(nats):
                raise TrimtabError(
                    f"the loss of a sample to learn a map on is not finite ({nats.item()}); take "
                    "a lower learning rate of the collective shift, or float32"
                )
            nats.backward()
            numbers = [shifts.numbers[str(layer)].grad for layer in of.layers]
            gradients = torch.stack([n.cpu() for n in numbers if n is not None], dim=1)
            some = [self.examples[row] for row in rows]
            tokens = torch.tensor([float(len(each.answer)) for each in some])
            z = self.z[[each.owner for each in some]]
            sums = _Gathered.of(z, gradients.flatten(1), tokens)
            gathered = self.state.sums
            self.state = replace(self.state, sums=sums if gathered is None else gathered + sums)
            self._tell(self.state.done * len(self.examples) + self.state.read)
            if time.monotonic() - self.written > self.checkpoint_seconds:
                self._save()

    def _shifted(
        self, examples: Sequence[Example], rows: Sequence[int], of: ShiftMap
    ) -> tuple[TrainingBatch, ShiftStack]:
        """A batch whose rows have a shift each."""
        device = self.model.device
        batch = TrainingBatch.of(examples, rows, device)
        batch = replace(batch, owners=torch.arange(len(rows), device=device))
        stack = ShiftStack(of.layers, of.centre.shape[-1], of.positions, len(rows), device)
        shifts = of.shifts(self.z[[examples[row].owner for row in rows]])
        with torch.no_grad():
            for place, layer in enumerate(of.layers):
                stack.numbers[str(layer)].copy_(shifts[:, place])
        return batch, stack

    def _stepped(self) -> _SoFar:
        """After the step that the samples want, as far as the held-back people go with it."""
        state = self.state
        assert state.sums is not None, "the samples are read"
        step = state.sums.step(self.ridge).reshape(state.matrix.shape)
        if not self.held:
            return _SoFar(state.matrix + _WITHOUT_OTHERS * step, state.done + 1)
        length, best = _FIRST, replace(state, sums=None)
        while length <= _LONGEST:
            matrix = state.matrix + length * step
            nats = self._held_nats(matrix)
            if not nats < best.losses[-1]:
                break
            best = _SoFar(matrix, state.done + 1, (*state.losses, nats))
            length *= 2
        return best

    def _held_nats(self, matrix: Tensor) -> float:
        return self.room.within(lambda: self._mean_nats(self._map(matrix)))

    @torch.no_grad()
    def _mean_nats(self, of: ShiftMap) -> float:
        """How unlikely the held-back answers are, a token."""
        every = self.examples + self.held
        nats = 0.0
        for rows in narrow(every, range(len(self.examples), len(every)), self.room.tokens):
            batch, shifts = self._shifted(every, rows, of)
            nats += answer_nats(self.model, shifts, batch, (), self.lower).sum().item()
        return nats / sum(len(each.answer) for each in self.held)

    def _tell(self, samples: int) -> None:
        if self.progress:
            self.progress(samples, self.passes * len(self.examples))

    def _seconds(self) -> float:
        return time.monotonic() - self.started

    def _save(self, *, over: bool = False) -> None:
        self.written = time.monotonic()
        if self.path is None:
            return
        state = self.state
        tensors = {"matrix": state.matrix}
        if state.sums is not None:
            tensors |= {f"sums.{name}": tensor for name, tensor in vars(state.sums).items()}
        save_checkpoint(
            self.path,
            Checkpoint(
                tensors, state.done, state.read, self._seconds(), [list(state.losses)], over
            ),
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.started -= checkpoint.seconds
        [losses] = checkpoint.losses
        gathered = checkpoint.part("sums")
        self.state = _SoFar(
            checkpoint.tensors["matrix"],
            checkpoint.epoch,
            tuple(losses),
            _Gathered(**gathered) if gathered else None,
        )
