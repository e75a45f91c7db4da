"""The training loop: steps, early stopping on held-back samples, resuming, faults."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import TrimtabError
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .examples import Example, TrainingBatch, content_of, narrow, steps
from .loss import answer_nats
from .lower_layers import LastLower, changes_answers_alone, lowest_unchanged
from .memory import TokenBudget
from .optimiser import RowAdamW
from .options import TrainingOptions
from .passes import Before

if TYPE_CHECKING:
    from ...steering.decoder.language_model import LanguageModel
    from .trainable import Trainable

# Changes whenever the same samples and options would train other numbers.
_FORM = 2


@dataclass(frozen=True)
class Trained:
    """What training gave besides the numbers, which are in the trainable.

    Attributes:
        steps: How many were made.
        seconds: All together, of earlier parts too.
        held: Nats a token of the held-back samples, before training and after each epoch; empty
            where none are held back.
        best: After which epoch they were best, by owner; 0 is before training.
        path: Where it is kept.
    """

    steps: int
    seconds: float
    held: tuple[float, ...]
    best: tuple[int, ...]
    path: Path | None = None


def train(
    model: LanguageModel,
    trainable: Trainable,
    examples: Sequence[Example],
    options: TrainingOptions,
    *,
    held: Sequence[Example] = (),
    before: Before = (),
    folder: Path | None = None,
    tokens_at_once: int | None = None,
    keep_lower: bool = True,
    last_lower: LastLower | None = None,
    checkpoint_seconds: float = 20.0,
    progress: Callable[[int, int], None] | None = None,
    on_lower: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train numbers on answers under teacher forcing, and leave the best in the trainable.

    A step of an owner is their batch's mean loss over the answers' tokens. Where each owner has
    numbers of their own, all are trained side by side, and each ends up with what they would have
    been given alone.

    Args:
        model: The frozen model.
        trainable: What is trained.
        examples: What it is trained on.
        options: How.
        held: Samples that tell when to stop; without, the last epoch's numbers are kept.
        before: Frozen stages that come first, by owner.
        folder: Where it is kept, under a digest of all that it depends on; a folder that holds it
            gives it back, one that holds a part of it resumes. None keeps nothing.
        tokens_at_once: Tokens in one pass, padding included; halved once where memory runs out.
        keep_lower: Compute the hidden states below the lowest change once.
        last_lower: What was computed for the training before this one, of the same model.
        checkpoint_seconds: Time between two writes of what is trained so far.
        progress: Told how many steps are done, and of how many.
        on_lower: Told of how many samples what never changes is computed, and of how many.

    Raises:
        TrimtabError: Nothing to train on, a sample longer than the model's context, a loss that
            is not finite, or no memory for half as many tokens at once either.
    """
    _check(model, examples)
    path = (
        None
        if folder is None
        else folder / f"{digest_of(model, trainable, examples, options, held, before)}.safetensors"
    )
    return _Training(
        model,
        trainable,
        list(examples),
        list(held),
        options,
        before,
        path,
        TokenBudget.on(model.device, tokens_at_once),
        keep_lower,
        last_lower or LastLower(),
        checkpoint_seconds,
        progress,
        on_lower,
    ).train()


def digest_of(
    model: LanguageModel,
    trainable: Trainable,
    examples: Sequence[Example],
    options: TrainingOptions,
    held: Sequence[Example] = (),
    before: Before = (),
) -> str:
    """All that what is trained depends on, in 32 hexadecimal digits."""
    digest = hashlib.sha256()
    about = [_FORM, model.fingerprint, model.precision, asdict(options)]
    digest.update(json.dumps([*about, trainable.description], sort_keys=True).encode())
    digest.update(content_of(examples))
    digest.update(content_of(held))
    for own in before:
        for stage in own:
            digest.update(str(stage.positions).encode())
            for place, part in (*stage.layers.items(), *stage.modules.items()):
                digest.update(str(place).encode())
                for tensor in part.tensors().values():
                    digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def _check(model: LanguageModel, examples: Sequence[Example]) -> None:
    if not examples:
        raise TrimtabError("nothing to train on: expected at least one past sample with an answer")
    limit = getattr(model.hf.config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(each.tokens) for each in examples)
    if limit is not None and longest > limit:
        raise TrimtabError(
            f"a sample of {longest} tokens does not fit the model's context of {limit}; shorten it"
        )


@dataclass
class _Training:
    """One training under way."""

    model: LanguageModel
    trainable: Trainable
    examples: list[Example]
    held: list[Example]
    options: TrainingOptions
    before: Before
    path: Path | None
    room: TokenBudget
    keep_lower: bool
    last_lower: LastLower
    checkpoint_seconds: float
    progress: Callable[[int, int], None] | None
    on_lower: Callable[[int, int], None] | None
    moving: bool = False  # between two states that training may be resumed from
    losses: list[Tensor] = field(default_factory=list)  # of the held-back, by epoch and owner

    def train(self) -> Trained:
        self.apart = self.trainable.apart
        self.answers_alone = changes_answers_alone(self.trainable, self.before)
        first = next(iter(self.trainable.numbers.values()))
        self.owners = len(first) if self.apart else 1
        self.optimiser = RowAdamW(self.trainable.numbers, self.options, apart=self.apart)
        self.best = {n: t.detach().clone() for n, t in self.trainable.numbers.items()}
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        checkpoint = load_checkpoint(self.path) if self.path else None
        if checkpoint:
            self._restore(checkpoint)
        if not (checkpoint and checkpoint.done):
            self._train()
        with torch.no_grad():
            for name, numbers in self.trainable.numbers.items():
                numbers.copy_(self.best[name])
        tokens = self._held_tokens()
        return Trained(
            self.step + self.epoch * len(self._steps(0)),
            self.seconds,
            tuple((each.sum() / tokens.sum()).item() for each in self.losses if self.held),
            tuple(self._best_epochs()),
            self.path,
        )

    def _train(self) -> None:
        self.started = time.monotonic() - self.seconds
        self.written = time.monotonic()
        every = self.examples + self.held
        self.lower = None
        if self.keep_lower:
            self.lower = self.room.within(
                lambda: self.last_lower.keep(
                    self.model,
                    every,
                    lowest_unchanged(self.trainable, self.before),
                    answers_alone=self.answers_alone,
                    token_budget=self.room.tokens,
                    progress=self.on_lower,
                )
            )
        total = self.options.epochs * len(self._steps(0))
        try:
            if not self.losses:
                self._judge(first=True)
            while self.epoch < self.options.epochs and not self._over():
                epoch = self._steps(self.epoch)
                while self.step < len(epoch):
                    self._step(epoch[self.step])
                    if self.progress:
                        self.progress(self.epoch * len(epoch) + self.step, total)
                    if time.monotonic() - self.written > self.checkpoint_seconds:
                        self._save()
                self._judge()
                self._save()
        except KeyboardInterrupt:
            if not self.moving:  # else the last checkpoint stays
                self._save()
            raise
        self._save(done=True)
        if self.progress:
            self.progress(total, total)

    def _steps(self, epoch: int) -> list[list[int]]:
        options = self.options
        return steps(
            self.examples,
            options.batch_size,
            apart=self.apart,
            seed=options.seed,
            epoch=epoch,
            answers_alone=self.answers_alone,
        )

    def _step(self, rows: Sequence[int]) -> None:
        self.room.within(lambda: self._gradients(rows), self._forget_gradients)
        active = torch.zeros(self.owners, dtype=torch.bool, device=self.optimiser.count.device)
        active[[self._owner(self.examples[row]) for row in rows]] = True
        self.moving = True
        self.optimiser.step(active)
        self.step += 1
        self.moving = False

    def _forget_gradients(self) -> None:
        for numbers in self.trainable.numbers.values():
            numbers.grad = None

    def _owner(self, example: Example) -> int:
        return example.owner if self.apart else 0

    def _gradients(self, rows: Sequence[int]) -> None:
        tokens = torch.zeros(self.owners, device=self.model.device)
        owners = [self._owner(self.examples[row]) for row in rows]
        counts = [float(len(self.examples[row].answer)) for row in rows]
        tokens.index_add_(
            0,
            torch.tensor(owners, device=tokens.device),
            torch.tensor(counts, device=tokens.device),
        )
        for some in narrow(self.examples, rows, self.room.tokens):
            batch = TrainingBatch.of(self.examples, some, self.model.device)
            nats = answer_nats(self.model, self.trainable, batch, self.before, self.lower)
            share = tokens[batch.owners] if self.apart else tokens[0]
            loss = (nats / share).sum()
            if not torch.isfinite(loss):
                raise TrimtabError(
                    f"the training loss is not finite ({loss.item()}) in step {self.step + 1} of "
                    f"epoch {self.epoch + 1}; take a lower learning rate than "
                    f"{self.options.learning_rate:g}, or float32"
                )
            loss.backward()

    @torch.no_grad()
    def _held_nats(self) -> Tensor:
        """How unlikely the held-back samples are now, by owner."""
        nats = torch.zeros(self.owners)
        offset = len(self.examples)
        every = self.examples + self.held
        for some in narrow(every, range(offset, len(every)), self.room.tokens):
            batch = TrainingBatch.of(every, some, self.model.device)
            lost = answer_nats(self.model, self.trainable, batch, self.before, self.lower)
            owners = torch.tensor([self._owner(every[row]) for row in some])
            nats.index_add_(0, owners, lost.float().cpu())
        return nats

    @torch.no_grad()
    def _judge(self, *, first: bool = False) -> None:
        """Look at the held-back samples, and end an epoch; the best numbers so far are kept.

        Args:
            first: Before all epochs.
        """
        nats = self.room.within(self._held_nats)
        earlier = torch.stack(self.losses).amin(dim=0) if self.losses else None
        self.moving = True
        self.losses.append(nats)
        if not first:
            self.epoch, self.step = self.epoch + 1, 0
        # Whoever holds nothing back, and whoever wants the last epoch's, keeps the latest.
        better = torch.ones(self.owners, dtype=torch.bool)
        if earlier is not None and self.options.patience:
            better = (nats < earlier) | (self._held_tokens() == 0)
        for name, numbers in self.trainable.numbers.items():
            where = better.to(numbers.device)
            where = where.reshape(-1, *[1] * (numbers.ndim - 1)) if self.apart else where[0]
            self.best[name] = torch.where(where, numbers.detach(), self.best[name])
        self.moving = False

    def _held_tokens(self) -> Tensor:
        tokens = torch.zeros(self.owners)
        for each in self.held:
            tokens[self._owner(each)] += len(each.answer)
        return tokens

    def _best_epochs(self) -> list[int]:
        if not self.options.patience:
            return [len(self.losses) - 1] * self.owners
        best = torch.stack(self.losses).argmin(dim=0)
        return torch.where(self._held_tokens() > 0, best, len(self.losses) - 1).tolist()

    def _over(self) -> bool:
        """Whether nobody's held-back samples have become likelier for too long."""
        if not self.options.patience or not self.held:
            return False
        since = len(self.losses) - 1 - torch.tensor(self._best_epochs())
        return bool((since >= self.options.patience)[self._held_tokens() > 0].all())

    def _save(self, *, done: bool = False) -> None:
        self.seconds = time.monotonic() - self.started
        self.written = time.monotonic()
        if self.path is None:
            return
        tensors = (
            {f"numbers.{n}": t.detach() for n, t in self.trainable.numbers.items()}
            | {f"best.{n}": t for n, t in self.best.items()}
            | {f"optimiser.{n}": t for n, t in self.optimiser.state().items()}
        )
        if done:  # all that is needed from now on
            tensors = {f"best.{n}": t for n, t in self.best.items()}
        losses = [each.tolist() for each in self.losses]
        save_checkpoint(
            self.path, Checkpoint(tensors, self.epoch, self.step, self.seconds, losses, done)
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.epoch, self.step, self.seconds = checkpoint.epoch, checkpoint.step, checkpoint.seconds
        self.losses = [torch.tensor(each) for each in checkpoint.losses]
        device = self.optimiser.count.device
        self.best = {n: t.to(device) for n, t in checkpoint.part("best").items()}
        if checkpoint.done:
            return
        self.optimiser.restore(checkpoint.part("optimiser"))
        with torch.no_grad():
            for name, tensor in checkpoint.part("numbers").items():
                self.trainable.numbers[name].copy_(tensor)
