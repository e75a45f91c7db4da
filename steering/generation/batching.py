"""Many episodes, one batch: model calls from many threads, run together.

An episode is a plain piece of sequential code that asks the model for one answer at a time, and a
model decodes dozens of answers in about the time of one. So each episode runs in its own thread,
its calls wait until every other live episode waits too, and then all of them are answered together.
An episode goes on as soon as its own answer has ended, and may end while the others' are still
under way; what it asks next waits for them. So the same jobs ask for the same things together every
time. The model itself runs in the thread that asked for the jobs, and there only: Ctrl-C stops it
at once.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from ...errors import TrimtabError
from ..dictionaries.steer import ReadsAndEmbeds
from .requests import Generates

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from .requests import Completion, Request

T = TypeVar("T")

# How long a stopped run waits for each thread that is still busy outside the model.
_PATIENCE_SECONDS = 5.0

# How long the model waits for a job that it has just answered, so that the job's end can be told of
# before the next answer ends. What a job does next depends on it in nothing.
_GLANCE_SECONDS = 0.1


@dataclass(frozen=True)
class Finished(Generic[T]):
    """One job that ended: the ``index``-th, with its value or with the error that ended it."""

    index: int
    value: T | None = None
    error: BaseException | None = None


@dataclass(eq=False)
class _PendingCall:
    """One blocked call: what is asked, and in the end its answers or its error."""

    number: int  # of the job
    model: BatchedModel
    kind: Literal["encode", "generate"]
    items: Sequence[Any]
    options: dict[str, Any]
    answers: list[Any] | None = None
    error: BaseException | None = None

    @property
    def settled(self) -> bool:
        return self.answers is not None or self.error is not None

    @property
    def batch(self) -> tuple[int, str]:
        """Calls of one kind for one model with the same options can be run together."""
        return self.model.place, repr(sorted(self.options.items()))


@dataclass
class _Round:
    """What the jobs of one ``run_together`` share; guarded by ``changed``."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    live: set[int] = field(default_factory=set)
    waiting: list[_PendingCall] = field(default_factory=list)
    ended: list[Finished[Any]] = field(default_factory=list)
    stopped: bool = False

    def everyone_waits(self) -> bool:
        return self.live == {pending.number for pending in self.waiting}

    def idle(self, number: int) -> bool:
        """Whether a job has ended or waits for the model."""
        return number not in self.live or any(t.number == number for t in self.waiting)


@dataclass(frozen=True)
class _Job:
    """What a call finds out about the job that it is made in.

    Attributes:
        model: The model that ``run_together`` was given.
        shared: What all jobs share.
        number: The job's.
        around: The steered contexts around ``run_together`` itself.
    """

    model: BatchedModel
    shared: _Round
    number: int
    around: Sequence[object]


_job: contextvars.ContextVar[_Job | None] = contextvars.ContextVar("trimtab_job", default=None)


class Batchable(Generates, ReadsAndEmbeds, Protocol):
    """What can be called from many threads through a ``BatchedModel``: a ``SteeredModel``."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's."""
        ...

    def completions(
        self, requests: Sequence[Request], **options: Any
    ) -> Iterator[tuple[int, Completion]]:
        """Each answer with its place, as soon as it has ended."""
        ...


class BatchedModel:
    """A model that may be called from many threads.

    Inside a job of ``run_together``, ``generate`` and ``encoder.encode`` block until they are run
    as part of a batch; anywhere else they go straight to the model, one thread at a time. All
    else (``name``, ``tokenizer``, ...) is the wrapped model's own.

    Args:
        model: The model.
        beside: Another one that the same jobs call, and that ``run_together`` is given: the calls
            of both are waited for together, and each is run in batches of its own.
        batch_size: At most this many answers are decoded at once, however many are asked for
            together; None is the model's own default.
    """

    def __init__(
        self,
        model: Batchable,
        *,
        beside: BatchedModel | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.model = model
        self._rows: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
        self._first: BatchedModel = self if beside is None else beside._first
        self._members: list[BatchedModel] = []
        self._first._members.append(self)
        self.place = len(self._first._members)
        self._alone = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name == "model":  # asked for before __init__ ran, as by copy
            raise AttributeError(name)
        return getattr(self.model, name)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's."""
        return self.model.tokenizer

    def layer_at(self, depth: float) -> int:
        """The layer at a relative depth from 0 to 1."""
        return self.model.layer_at(depth)

    def generate(self, requests: Sequence[Request], **options: Any) -> list[Completion]:
        """Answer ``requests``, together with what every other live job asks.

        Args:
            requests: What to answer.
            options: Those of the model's ``generate``. Calls with other options are other batches.

        Raises:
            CancelledError: The run was stopped while this call waited.
        """
        return self._call("generate", requests, options)

    @property
    def encoder(self) -> BatchedEncoder:
        """The model's sentence encoder, batched in the same way."""
        return BatchedEncoder(self)

    def _call(
        self, kind: Literal["encode", "generate"], items: Sequence[Any], options: dict[str, Any]
    ) -> list[Any]:
        job = _job.get()
        if job is None or job.model is not self._first:
            with self._alone:
                return self._run(kind, items, options)
        if kind == "generate":
            self._refuse_steered(job)
        shared = job.shared
        pending = _PendingCall(job.number, self, kind, items, options)
        with shared.changed:
            shared.waiting.append(pending)
            shared.changed.notify_all()
            shared.changed.wait_for(lambda: pending.settled or shared.stopped)
        if pending.answers is not None:
            return pending.answers
        raise pending.error or CancelledError("the run was stopped")

    def _refuse_steered(self, job: _Job) -> None:
        """Refuse what a job steers around its call: the pass is made in another thread.

        Raises:
            TrimtabError: The job has opened ``model.steered``.
        """
        from ..vectors.injection import steered_contexts

        decoder = getattr(getattr(self.model, "parts", None), "decoder", None)
        opened = [one for one in steered_contexts() if one not in job.around]
        if decoder is not None and any(one.decoder is decoder for one in opened):
            raise TrimtabError(
                "a job of run_together cannot answer inside `with model.steered(...)`, since all "
                "jobs' answers are made in another thread: give each Request its own steering"
            )

    def _run(self, kind: str, items: Sequence[Any], options: dict[str, Any]) -> list[Any]:
        if kind == "generate":
            return list(self.model.generate(items, **self._rows, **options))
        # Episodes of the same user or task ask for the same texts.
        places = {text: place for place, text in enumerate(dict.fromkeys(items))}
        embedded = self.model.encoder.encode(list(places))
        return [embedded[places[text]] for text in items]

    def _as_they_end(
        self, kind: str, items: Sequence[Any], options: dict[str, Any]
    ) -> Iterator[tuple[int, Any]]:
        """What ``_run`` gives, with its places: an answer as soon as it has ended."""
        if kind == "generate":
            return iter(self.model.completions(items, **self._rows, **options))
        return iter(enumerate(self._run(kind, items, options)))

    def _answer(
        self, calls: Sequence[_PendingCall], settle: Callable[[], Any]
    ) -> Iterator[_PendingCall]:
        """Answer calls together; each is given when it has been settled.

        Args:
            calls: Of one kind, with the same options.
            settle: A context in which a call's answers are set.
        """
        items = [item for pending in calls for item in pending.items]
        owner = [(pending, n) for pending in calls for n in range(len(pending.items))]
        answers: dict[_PendingCall, dict[int, Any]] = {pending: {} for pending in calls}
        try:
            for pending in calls:
                if not pending.items:
                    with settle():
                        pending.answers = []
                    yield pending
            for index, answer in self._as_they_end(calls[0].kind, items, calls[0].options):
                pending, n = owner[index]
                answers[pending][n] = answer
                if len(answers[pending]) == len(pending.items):
                    with settle():
                        pending.answers = [answers[pending][m] for m in range(len(pending.items))]
                    yield pending
        except Exception as error:
            left = [pending for pending in calls if not pending.settled]
            # Bad input is one request's fault: it must not fail the other users' episodes.
            if isinstance(error, TrimtabError) and len(left) > 1:
                for pending in left:
                    yield from self._answer([pending], settle)
                return
            for pending in left:
                with settle():
                    pending.error = error
                yield pending


class BatchedEncoder:
    """The sentence encoder of a ``BatchedModel``."""

    def __init__(self, model: BatchedModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name == "_model":
            raise AttributeError(name)
        return getattr(self._model.model.encoder, name)

    @property
    def name(self) -> str:
        """What the encoder is called."""
        return self._model.model.encoder.name

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embed texts, ``(len(texts), dimensions)``, together with what every other job embeds."""
        if not texts:
            return self._model.model.encoder.encode([])
        import torch

        return torch.stack(self._model._call("encode", texts, {}))


def run_together(
    model: BatchedModel, jobs: Iterable[Callable[[], T]], *, max_live: int = 48
) -> Generator[Finished[T]]:
    """Run ``jobs`` in threads of their own, their calls of ``model.generate`` in common batches.

    Answers are worked out when every live job waits for the model, in the order of the jobs. A job
    that ends makes room for the next. Model calls are run in the thread that iterates.

    Args:
        model: The model that the jobs call.
        jobs: What to run; read one at a time, when there is room.
        max_live: How many jobs run at once, and so how wide a batch can be.

    Yields:
        Each job's end, as it comes, also while others' answers are under way.
        Leaving the loop early (``break``, Ctrl-C) stops the jobs that still run.

    Inside ``with model.steered(...)``, the answers are steered as those of ``generate`` are; a job
    that opens such a context of its own is refused its answers.

    Raises:
        TrimtabError: ``max_live`` is below 1.
    """
    if max_live < 1:
        raise TrimtabError(f"expected max_live of at least 1, got {max_live}")
    shared = _Round()
    upcoming = enumerate(jobs)
    threads: dict[int, threading.Thread] = {}

    def start_more() -> None:
        for number, job in islice(upcoming, max_live - len(shared.live)):
            with shared.changed:
                shared.live.add(number)
            threads[number] = threading.Thread(
                target=contextvars.copy_context().run,
                args=(_run_job, model._first, shared, number, job),
                name=f"trimtab-job-{number}",
                daemon=True,
            )
            threads[number].start()

    def ended_now() -> Iterator[Finished[T]]:
        with shared.changed:
            ended, shared.ended = sorted(shared.ended, key=lambda end: end.index), []
        for end in ended:
            threads.pop(end.index).join()
            yield end

    try:
        start_more()
        while True:
            with shared.changed:
                shared.changed.wait_for(shared.everyone_waits)
                free = max_live - len(shared.live)
            yield from ended_now()
            before = len(threads)
            if free:
                start_more()
            if len(threads) > before:
                continue
            if not shared.live:
                return
            for _ in _run_waiting(shared):
                yield from ended_now()
    finally:
        with shared.changed:
            shared.stopped = True
            shared.changed.notify_all()
        for thread in threads.values():
            thread.join(_PATIENCE_SECONDS)


def _run_job(model: BatchedModel, shared: _Round, number: int, job: Callable[[], Any]) -> None:
    from ..vectors.injection import steered_contexts

    _job.set(_Job(model, shared, number, steered_contexts()))
    try:
        end = Finished(number, job())
    except BaseException as error:  # the job's end, whatever it is, belongs to who waits for it
        end = Finished(number, error=error)
    with shared.changed:
        shared.live.discard(number)
        shared.waiting = [pending for pending in shared.waiting if pending.number != number]
        shared.ended.append(end)
        shared.changed.notify_all()


def _run_waiting(shared: _Round) -> Iterator[None]:
    """Run what waits, stopping after each job that has been answered.

    Embeddings first, since who waits for one will then ask the model.
    """
    with shared.changed:
        kind = min(pending.kind for pending in shared.waiting)  # encode is before generate
        now = [pending for pending in shared.waiting if pending.kind == kind]
        shared.waiting = [pending for pending in shared.waiting if pending.kind != kind]

    @contextmanager
    def settling() -> Iterator[None]:
        with shared.changed:
            yield
            shared.changed.notify_all()

    now.sort(key=lambda pending: (pending.batch, pending.number))
    for _, batch in groupby(now, key=lambda pending: pending.batch):
        together = list(batch)
        for pending in together[0].model._answer(together, settling):
            if kind == "encode":
                continue
            with shared.changed:
                shared.changed.wait_for(partial(shared.idle, pending.number), _GLANCE_SECONDS)
            yield
