"""A run whose answers come from the workers of a Ray cluster.

This process owns the run's folder and loads no model. Each worker opens the plan for itself, makes
all users ready as one machine would, and answers the samples of some users at a time; what it
makes ready is kept in its cache folder, which the workers of one machine, or of a shared disk,
have in common. A worker that dies is made anew, and what it had not answered is given out again.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from ..errors import TrimtabError
from .cluster import connected
from .methods.method import Treat
from .opening import Loads, Plan, opened, summary_of
from .runner import EvalRun, Hold, Pending, answered, collect, prepared
from .runs.record import Record
from .sample import Progress, Sample, counted

_SHARDS_A_WORKER = 4  # few enough for full batches, enough that all workers end at about one time
_DEATHS = 3


@dataclass(frozen=True)
class _Description:
    """What a run is of, as a worker found it; see ``TaskData``."""

    name: str
    metrics: tuple[str, ...]
    found: tuple[Sample, ...]
    configured: dict[str, Any]

    def samples(self) -> Sequence[Sample]:
        return self.found

    def configuration(self) -> dict[str, Any]:
        return self.configured

    def summary(self, records: Sequence[Record]) -> Mapping[str, Any]:
        return summary_of(self.name, records)


class _Worker:
    """Answers samples in a process of its own, on whatever machine Ray makes it."""

    def __init__(self, plan: Plan, load: Loads | None, batch_size: int, tries: int) -> None:
        self._plan = plan
        self._load = load
        self._batch_size = batch_size
        self._tries = tries
        self._open = ExitStack()
        self._treats: dict[str, Treat] = {}

    def describe(self) -> _Description:
        """Load the model and the data."""
        task = opened(self._plan, load=self._load, batch_size=self._batch_size)
        self._task = self._open.enter_context(task)
        return _Description(
            self._task.name,
            self._task.metrics,
            tuple(self._task.samples()),
            self._task.configuration(),
        )

    def prepare(self, labels: frozenset[str]) -> None:
        """Make the users ready for the methods of these labels."""
        self._treats = prepared(self._task, self._plan.methods, labels)

    def answered(self, pending: Pending) -> Iterator[dict[str, str] | Record]:
        """The digests of the vectors that steer, then the records as they end."""
        digests: dict[str, str] = {}
        records = answered(self._task, self._treats, pending, self._tries, digests.update)
        for number, record in enumerate(records):
            if number == 0:
                yield digests
            yield record


@dataclass
class _Shard:
    """Samples that one worker answers, and how many workers have died of them."""

    pending: list[tuple[str, Sample]]
    deaths: int = 0


def evaluate_on_ray(
    plan: Plan,
    folder: Path | str,
    *,
    address: str,
    workers: int | None = None,
    load: Loads | None = None,
    batch_size: int = 48,
    tries: int = 2,
    on_progress: Progress | None = None,
    on_record: Callable[[Record], None] | None = None,
    doing: Callable[[str], None] = lambda what: None,
) -> EvalRun:
    """Answer every sample of a plan under every method on a cluster; see ``evaluate``.

    The records are those of one machine, but for their seconds, their order, and what rounding
    makes of other batches.

    Args:
        plan: What is compared.
        folder: Where results are kept, by this process alone.
        address: ``HOST:PORT`` of the cluster, ``auto`` for the one on this machine, or ``local``
            for a new one on it.
        workers: How many, each with an equal share of the cluster's cores or GPUs; None is one a
            GPU, or one a machine where there is none.
        load: Loads a model in a worker, so it must be importable there.
        batch_size: At most this many rows at once in each worker.
        tries: As for ``evaluate``.
        on_progress: As for ``evaluate``.
        on_record: As for ``evaluate``.
        doing: Told what is under way.

    Raises:
        TrimtabError: No cluster answers, its workers die before they answer anything, or as
            ``evaluate``.
    """
    if workers is not None and workers < 1:
        raise TrimtabError(f"expected at least 1 worker, got {workers}")
    with connected(address, cores=workers or 1):
        count, options = _share(workers)
        worker: Any = ray.remote(**options)(_Worker)  # type: ignore[call-overload]
        make = partial(worker.remote, plan, load, batch_size, tries)
        doing(f"loading {plan.model} on {count} workers")
        pool = _Pool(make, count)
        try:
            return collect(
                pool.described(),
                plan.methods,
                folder,
                pool.answers,
                repeats=plan.repeats,
                on_progress=on_progress,
                on_record=on_record,
            )
        finally:
            pool.close()


def _share(workers: int | None) -> tuple[int, dict[str, float]]:
    """How many workers there are, and what each takes of the cluster."""
    there = ray.cluster_resources()
    if gpus := there.get("GPU", 0.0):
        count = workers or int(gpus)
        return count, {"num_gpus": min(1.0, gpus / count)}
    count = workers or sum(node["Alive"] for node in ray.nodes())
    return count, {"num_cpus": max(1, int(there.get("CPU", 1)) // count)}


class _Pool:
    """Workers, a thread of this process for each, and the shards that they take from."""

    def __init__(self, make: Callable[[], Any], count: int) -> None:
        self._make = make
        self._count = count
        self._first = make()
        self._actors: set[Any] = {self._first}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._in_vain = 0  # workers that have died since the last record came
        self._shards: queue.Queue[_Shard | None] = queue.Queue()
        self._came: queue.Queue[dict[str, str] | Record | Exception] = queue.Queue()

    def described(self) -> _Description:
        """What the run is of, by the first worker."""
        return _needed(self._first.describe.remote())

    def answers(
        self, pending: Pending, planned: int, hold: Hold, progress: Progress | None
    ) -> Iterator[Record]:
        """The records, as they end; see ``Answers``."""
        if not pending:
            return
        labels = frozenset(label for label, _ in pending)
        # The first makes ready what the others on its machine then find.
        _needed(self._first.prepare.remote(labels))
        for shard in _shards(pending, self._count):
            self._shards.put(_Shard(shard))
        for number in range(self._count):
            first = self._first if number == 0 else None
            threading.Thread(target=self._work, args=(labels, first), daemon=True).start()
        done = counted(progress, "answers", planned, planned - len(pending))
        left = len(pending)
        while left:
            came = self._came.get()
            if isinstance(came, Exception):
                raise came
            if isinstance(came, Record):
                left -= 1
                yield came
                done(1)
            else:
                hold(came)

    def close(self) -> None:
        """End the workers, whatever they do."""
        self._over.set()
        for _ in range(self._count):
            self._shards.put(None)
        with self._lock:
            for actor in self._actors:
                ray.kill(actor)

    def _work(self, labels: frozenset[str], actor: Any) -> None:
        """One worker's share, until nothing is left."""
        while (shard := self._shards.get()) is not None:
            left = {(label, sample.key): (label, sample) for label, sample in shard.pending}
            try:
                if actor is None:
                    actor = self._made(labels)
                for reference in actor.answered.options(num_returns="streaming").remote(
                    shard.pending
                ):
                    came = _got(reference)
                    if isinstance(came, Record):
                        left.pop((came.method, came.sample_id))
                        self._in_vain = 0
                    self._came.put(came)
                if left:
                    raise RayActorError(error_msg="the worker ended before it had answered all")
            except RayTaskError as error:  # the worker's own code
                self._came.put(error)
                return
            except RayError as error:  # the worker, its machine or its memory
                if self._over.is_set():
                    return
                if actor is not None:
                    ray.kill(actor)
                actor = None
                self._in_vain += 1
                if self._in_vain >= _DEATHS * self._count and len(left) > 1:
                    self._came.put(_dying(error))
                    return
                self._again(list(left.values()), shard.deaths + 1, error)
            except Exception as error:
                self._came.put(error)
                return

    def _made(self, labels: frozenset[str]) -> Any:
        actor = self._make()
        with self._lock:
            self._actors.add(actor)
        if self._over.is_set():
            ray.kill(actor)
        _got(actor.describe.remote())
        _got(actor.prepare.remote(labels))
        return actor

    def _again(self, left: list[tuple[str, Sample]], deaths: int, error: Exception) -> None:
        """Give out again what a worker that died had not answered, in halves."""
        if len(left) == 1 and deaths >= _DEATHS:
            [(label, sample)] = left
            self._came.put(_lost(label, sample, error))
            return
        half = len(left) // 2
        for some in (left[:half], left[half:]):
            if some:
                self._shards.put(_Shard(some, deaths))


def _shards(pending: Pending, workers: int) -> list[list[tuple[str, Sample]]]:
    """Whole users' samples, in about equal parts."""
    of_user: dict[str, list[tuple[str, Sample]]] = {}
    for label, sample in pending:
        of_user.setdefault(sample.user_id, []).append((label, sample))
    size = math.ceil(len(pending) / (_SHARDS_A_WORKER * workers))
    shards: list[list[tuple[str, Sample]]] = [[]]
    for own in of_user.values():
        if len(shards[-1]) >= size:
            shards.append([])
        shards[-1] += own
    return shards


def _got(reference: Any) -> Any:
    """What a worker gave, or its own error, where a person can put that right."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, TrimtabError):
            raise TrimtabError(str(cause)) from None
        raise


def _needed(reference: Any) -> Any:
    """What the first worker gave, without which there is no run.

    Raises:
        TrimtabError: It died.
    """
    try:
        return _got(reference)
    except RayTaskError:
        raise
    except RayError as error:
        raise _dying(error) from error


def _lost(label: str, sample: Sample, error: Exception) -> Record:
    return Record(
        method=label,
        sample_id=sample.key,
        user_id=sample.user_id,
        kind=sample.kind,
        gold=sample.gold,
        history=sample.history,
        error=f"{_DEATHS} workers died while they answered it: {type(error).__name__}",
        detail={"repeat": sample.repeat},
    )


def _dying(error: Exception) -> TrimtabError:
    said = " ".join(str(error).split())
    return TrimtabError(
        f"workers die before they answer anything: {said}; see Ray's logs, and whether a "
        "worker has memory enough for the model"
    )
