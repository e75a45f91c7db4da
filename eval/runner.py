"""The runner: every sample of a task under every method, kept as it comes.

It alone knows a run's folder, what was answered before, what is tried again, what becomes of an
error, and Ctrl-C. A failure of code is logged with its traceback, kept with it in the record, and
counted, so that a command can end with exit code 1.
"""

from __future__ import annotations

import errno
import logging
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from ..errors import TrimtabError
from .methods.method import Treat
from .methods.registry import Named
from .runs.folder import run_folder
from .runs.record import Record, Run
from .sample import Progress, Sample, counted
from .statistics.standings import Standings, standings
from .task import Item, Outcome, Task, TaskData

_log = logging.getLogger(__name__)

Pending = Sequence[tuple[str, Sample]]
"""What is to be answered: samples, each with a method's label."""

Hold = Callable[[Mapping[str, str]], None]
"""Told a digest of each steered method's vectors; raises where a run has others."""


class Answers(Protocol):
    """Answers what is pending, in this process or in others."""

    def __call__(
        self, pending: Pending, planned: int, hold: Hold, progress: Progress | None, /
    ) -> Iterator[Record]:
        """The records, as they end.

        Args:
            pending: What is to be answered; may be nothing.
            planned: How many records the run is to have, those that it has among them.
            hold: Told of the vectors before the first record that they led to.
            progress: Told how far it is.
        """


@dataclass(frozen=True)
class EvalRun:
    """What a run gave.

    Attributes:
        run: Folder, configuration, and all records that ended, earlier parts' too.
        planned: How many records there are to be.
        fresh: How many of them this part of the run added.
        seconds: That this part of the run took.
        interrupted: Whether Ctrl-C ended it.
    """

    run: Run
    planned: int
    fresh: int
    seconds: float
    interrupted: bool = False

    @property
    def records(self) -> tuple[Record, ...]:
        """All that ended."""
        return self.run.records

    @cached_property
    def standings(self) -> Standings:
        """How the methods stand."""
        return standings(self.run)

    @property
    def code_failures(self) -> int:
        """How many records failed because of code: no person can put those right."""
        return sum("traceback" in record.detail for record in self.records)

    @property
    def refusal(self) -> str:
        """What a person can put right, where nothing could be answered because of it."""
        if self.records and all(r.error and "traceback" not in r.detail for r in self.records):
            return self.records[0].error
        return ""


def evaluate(
    task: Task,
    methods: Sequence[Named],
    folder: Path | str,
    *,
    repeats: int = 1,
    tries: int = 2,
    on_progress: Progress | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> EvalRun:
    """Answer every sample under every method, and keep each result as it comes.

    Args:
        task: What is asked, and by what it is answered.
        methods: The ways to personalize, controls included; the first is the baseline.
        folder: Where results are kept. A folder with records of the same configuration is
            resumed: what it holds without an error is not answered again.
        repeats: How often each sample is answered.
        tries: How often is tried what may pass: no memory, no connection.
        on_progress: Told what is under way, how much of it is done, and of how much.
        on_record: Told of each record when it is kept.

    Returns:
        All that ended. Ctrl-C ends a run; what is finished is returned.

    Raises:
        TrimtabError: No samples or methods, two methods of one name, a folder of another
            configuration or in use, a full disk, or a method that cannot prepare the users.
    """
    return collect(
        task,
        methods,
        folder,
        partial(_answered, task, methods, tries),
        repeats=repeats,
        on_progress=on_progress,
        on_record=on_record,
    )


def collect(
    asked: TaskData,
    methods: Sequence[Named],
    folder: Path | str,
    answers: Answers,
    *,
    repeats: int = 1,
    on_progress: Progress | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> EvalRun:
    """``evaluate``, whoever answers: this process, or others."""
    started = time.monotonic()
    samples = [replace(s, repeat=n) for n in range(repeats) for s in asked.samples()]
    _check(asked, methods, samples)
    # Sample by sample rather than method by method: a run that is broken off has whole pairs.
    planned = [(named.label, sample) for sample in samples for named in methods]
    configuration = {**asked.configuration(), **_methods_of(methods, repeats)}
    fresh = 0
    interrupted = False
    with _disk_faults(folder), run_folder(folder, configuration) as results:
        # A later record stands for an earlier one of the same sample and method.
        ended = {(r.method, r.sample_id): r for r in map(Record.from_json, results.records)}
        done = {key for key, record in ended.items() if not record.error}
        pending = [(label, s) for label, s in planned if (label, s.key) not in done]
        try:
            for record in answers(pending, len(planned), results.hold_to_vectors, on_progress):
                results.append(record.to_json())
                ended[record.method, record.sample_id] = record
                fresh += 1
                if on_record:
                    on_record(record)
        except KeyboardInterrupt:
            interrupted = True
        run = EvalRun(
            Run(Path(folder), configuration, tuple(ended.values())),
            planned=len(planned),
            fresh=fresh,
            seconds=time.monotonic() - started,
            interrupted=interrupted,
        )
        results.write_summary({**run.standings.to_json(), **asked.summary(run.records)})
    return run


def _check(task: TaskData, methods: Sequence[Named], samples: Sequence[Sample]) -> None:
    if not samples:
        raise TrimtabError(f"the task {task.name} has no sample to answer")
    labels = [named.label for named in methods]
    if not labels or len(set(labels)) < len(labels):
        raise TrimtabError(
            f"expected methods of different names, got {', '.join(labels) or 'none'}"
        )


def _methods_of(methods: Sequence[Named], repeats: int) -> dict[str, Any]:
    return {
        "methods": {named.label: named.to_json() for named in methods},
        "baseline": methods[0].label,
        "repeats": repeats,
    }


def _answered(
    task: Task,
    methods: Sequence[Named],
    tries: int,
    pending: Pending,
    planned: int,
    hold: Hold,
    progress: Progress | None,
) -> Iterator[Record]:
    """The records of what is pending, as they end, answered in this process."""
    if not pending:
        return
    treats = prepared(task, methods, {label for label, _ in pending}, progress)
    done = counted(progress, "answers", planned, planned - len(pending))
    for record in answered(task, treats, pending, tries, hold):
        yield record
        done(1)


def prepared(
    task: Task, methods: Sequence[Named], labels: Collection[str], progress: Progress | None = None
) -> dict[str, Treat]:
    """The task's users made ready for the methods of these labels."""
    users = task.prepare(methods, progress)
    return {n.label: n.method.prepare(users) for n in methods if n.label in labels}


def answered(
    task: Task, treats: Mapping[str, Treat], pending: Pending, tries: int, hold: Hold
) -> Iterator[Record]:
    """The records of what is pending, as they end, with users that are prepared."""
    items: list[Item] = []
    broken: list[Record] = []
    for label, sample in pending:
        treated = _treated(task, label, sample, treats[label])
        (items if isinstance(treated, Item) else broken).append(treated)  # type: ignore[arg-type]
    hold(_vectors_of(items))
    yield from broken
    yield from _ended_in(task, items, tries)


def _vectors_of(items: Sequence[Item]) -> dict[str, str]:
    """By steered method a digest of all users' dictionaries that it steers by."""
    from ..steering.dictionaries.steer import SteerBy

    steers = {item.method: item.treatment.steer for item in reversed(items)}
    return {
        method: str(steer.description()["dictionaries"]["digest"])
        for method, steer in steers.items()
        if isinstance(steer, SteerBy)
    }


def _treated(task: Task, label: str, sample: Sample, treat: Treat) -> Item | Record:
    """The item, or the record of a method that failed at the sample."""
    from .methods.method import Treatment

    try:
        # A method is given the sample without its gold.
        return Item(label, sample, treat(sample.unseen()))
    except Exception as error:
        return _failed(task, Item(label, sample, Treatment()), error)


def _ended_in(task: Task, items: Sequence[Item], tries: int) -> Iterator[Record]:
    for chunk in task.chunks(items):
        yield from _ended(task, chunk, tries)


def _ended(task: Task, items: Sequence[Item], tries: int, narrower: int = 1) -> Iterator[Record]:
    """Every item's record; what broke several items at once is looked for in halves."""
    left = {item.key: item for item in items}
    failures: list[tuple[Item, BaseException]] = []
    together = False
    try:
        for outcome in task.answer(items, narrower=narrower):
            del left[outcome.item.key]
            if outcome.record is not None:
                yield outcome.record
            else:
                failures.append(_failure(outcome))
    except Exception as broken:
        together = len(left) > 1
        failures += [(item, broken) for item in left.values()]
    again = [item for item, why in failures if tries > 1 and may_pass(why)]
    if again:
        yield from _ended(task, again, tries - 1, 2 * narrower)
    tried = {item.key for item in again}
    apart = [item for item in left.values() if together and item.key not in tried]
    half = len(apart) // 2
    for some in (apart[:half], apart[half:]):
        if some:
            yield from _ended(task, some, tries, narrower)
    tried |= {item.key for item in apart}
    for item, why in failures:
        if item.key not in tried:
            yield _failed(task, item, why)


def _failure(outcome: Outcome) -> tuple[Item, BaseException]:
    assert outcome.error is not None
    return outcome.item, outcome.error


def may_pass(error: BaseException) -> bool:
    """Whether another try may do: there was no memory, no connection, or no answer in time."""
    from ..steering.decoder.devices import out_of_memory

    return isinstance(error, ConnectionError | TimeoutError) or out_of_memory(error)


def _failed(task: Task, item: Item, error: BaseException) -> Record:
    """The record of a failure; one of code is logged, and keeps its traceback."""
    record = task.failed(item, in_one_line(error))
    if isinstance(error, TrimtabError):
        return record
    _log.error("%s under %s failed", item.sample.key, item.method, exc_info=error)
    lines = "".join(traceback.format_exception(error))
    return replace(record, detail={**record.detail, "traceback": lines})


def in_one_line(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).splitlines() or [""]
    return lines[0] if isinstance(error, TrimtabError) else f"{type(error).__name__}: {lines[0]}"


@contextmanager
def _disk_faults(folder: Path | str) -> Iterator[None]:
    """One clear line for a disk that is full or does not write."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise TrimtabError(
            f"cannot write ({error.strerror}: {error.filename or folder}); what is finished is "
            f"kept in {folder}: {'make room' if full else 'let it be written to'} and run the same "
            "command again"
        ) from error
