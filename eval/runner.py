"""Running a study: every test sample under every method, in common batches, kept as it comes.

A run that is killed goes on where it was. What the machinery breaks is tried again, then recorded
as an error and kept out of the scores.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TrimtabError
from ..files import home
from .methods.prepared_users import Progress, Workbench, blind
from .runs.folder import run_folder
from .runs.record import Record, Run
from .statistics.standings import Standings, standings
from .texts.answering import Answer, Decoding, Question, answer
from .texts.record import Item, answered_record, failed_record

if TYPE_CHECKING:
    from ..envs.texts.dataset import TextDataset
    from ..steering.model import SteeredModel
    from .methods.method import Ask
    from .texts.study import Study
    from .texts.tasks import Task

_CHUNK_TOKENS = 8192  # answered between two writes to the disk, at most


@dataclass(frozen=True)
class EvalRun:
    """What a study gave.

    Attributes:
        study: What was compared.
        records: All that ended, those of an earlier part of the run too.
        standings: How the methods stand.
        planned: How many there are to be.
        fresh: How many of them this part of the run added.
        seconds: That this part of the run took.
        interrupted: Whether Ctrl-C ended it.
    """

    study: Study
    records: tuple[Record, ...]
    standings: Standings
    planned: int
    fresh: int
    seconds: float
    interrupted: bool = False


def run_study(
    study: Study,
    model: SteeredModel,
    dataset: TextDataset,
    *,
    folder: Path | str,
    cache: Path | None = None,
    batch_size: int = 48,
    tries: int = 2,
    on_progress: Progress | None = None,
) -> EvalRun:
    """Answer and score every sample under every method, and keep each result as it comes.

    Args:
        study: What is compared.
        model: The study's model.
        dataset: The study's data.
        folder: Where results are kept, and from where a run goes on.
        cache: Where dictionaries, profiles and other prepared things are kept; None is trimtab's
            own folder.
        batch_size: At most this many rows at once; with 1 a record's seconds are its own latency.
        tries: How often what breaks is tried.
        on_progress: Told what is under way, how much of it is done, and of how much.

    Returns:
        All that ended. Ctrl-C ends a run; what is finished is returned.

    Raises:
        TrimtabError: A folder of another study or in use, a full disk, or a method that cannot
            prepare the users.
    """
    started = time.monotonic()
    task = study.running_task()
    decoding = study.decoding(batch_size)
    fresh = 0
    interrupted = False
    with _disk_faults(folder), run_folder(folder, study.configuration(model, dataset)) as kept:
        ended = {(r.method, r.sample_id): r for r in map(Record.from_json, kept.records)}
        done = {key for key, record in ended.items() if not record.error}
        items = _items(study, dataset)
        pending = [i for i in items if (i.named.label, i.sample_id) not in done]
        try:
            if pending:
                bench = Workbench(
                    model,
                    task,
                    dataset.users,
                    folder=cache or home() / "eval",
                    seed=study.seed,
                    layers=_layers(study, model),
                    context=study.context,
                    batch_size=batch_size,
                    progress=on_progress,
                )
                bench.prompt.fit("")  # refuses a context without room for any request
                asks = _prepare(bench, pending)
                answered = len(items) - len(pending)
                for chunk in _chunks(pending, decoding):
                    if on_progress:
                        on_progress("answers", answered, len(items))
                    for record in _records(chunk, asks, model, task, decoding, tries):
                        kept.append(record.to_json())
                        ended[record.method, record.sample_id] = record
                        fresh += 1
                    answered += len(chunk)
        except KeyboardInterrupt:
            interrupted = True
        records = tuple(ended.values())
        stand = standings(Run(Path(folder), study.configuration(model, dataset), records))
        kept.write_summary(stand.to_json())
    return EvalRun(
        study=study,
        records=records,
        standings=stand,
        planned=len(items),
        fresh=fresh,
        seconds=time.monotonic() - started,
        interrupted=interrupted,
    )


def _items(study: Study, dataset: TextDataset) -> list[Item]:
    """Sample by sample rather than method by method: a run broken off has whole pairs."""
    return [
        Item(named, user, sample, repeat)
        for repeat in range(study.repeats)
        for user in dataset.users
        for sample in user.tests
        for named in study.methods
    ]


def _layers(study: Study, model: SteeredModel) -> list[int]:
    """All layers that any method steers at, so that one pass reads them."""
    from ..steering.dictionaries.settings import SteeringSettings

    settings = [n.method for n in study.methods if isinstance(n.method, SteeringSettings)]
    return sorted({layer for each in settings for layer in each.layers(model)})


def _prepare(bench: Workbench, pending: Sequence[Item]) -> dict[str, Ask]:
    methods = {item.named.label: item.named.method for item in pending}
    return {label: method.prepare(bench) for label, method in methods.items()}


def _chunks(items: Sequence[Item], decoding: Decoding) -> Iterator[list[Item]]:
    """Runs of whole samples: enough rows for full batches, few enough that little can be lost."""
    rows = 1
    if decoding.batch_size > 1:
        room = _CHUNK_TOKENS // (decoding.max_new_tokens if decoding.generate else 32)
        rows = max(decoding.batch_size, min(room, 4 * decoding.batch_size))
    chunk: list[Item] = []
    for item in items:
        new_sample = not chunk or chunk[-1].sample_id != item.sample_id
        if chunk and (rows == 1 or (new_sample and len(chunk) >= rows)):
            yield chunk
            chunk = []
        chunk.append(item)
    if chunk:
        yield chunk


def _records(
    chunk: Sequence[Item],
    asks: Mapping[str, Ask],
    model: SteeredModel,
    task: Task,
    decoding: Decoding,
    tries: int,
) -> Iterator[Record]:
    questions: dict[int, Question] = {}
    faults: dict[int, str] = {}
    for place, item in enumerate(chunk):
        # A method is given the sample without its gold.
        [unseen] = [t for t in blind(item.user).tests if t.id == item.sample.id]
        try:
            asked = asks[item.named.label](item.user.id, unseen)
        except Exception as error:
            faults[place] = _told(error)
            continue
        draws = f"{item.user.id}/{item.sample.id}/{item.repeat}"
        questions[place] = Question(asked, item.sample.output, draws)
    places = list(questions)
    likelihoods = "log-likelihood" in task.metrics
    answers = _tried(
        [questions[place] for place in places],
        lambda some: answer(model, some, decoding, likelihoods=likelihoods),
        tries,
    )
    found = dict(zip(places, answers, strict=True))
    for place, item in enumerate(chunk):
        if place in faults:
            yield failed_record(item, None, faults[place])
        elif isinstance(got := found[place], str):
            yield failed_record(item, questions[place].asked, got)
        elif got.log_likelihood is not None and not math.isfinite(got.log_likelihood):
            told = f"the user's own text has no finite likelihood ({got.log_likelihood})"
            yield failed_record(item, questions[place].asked, f"{told}; is the strength too large?")
        else:
            yield answered_record(item, questions[place], got, task, decoding)


def _tried(
    questions: Sequence[Question],
    answers: Callable[[Sequence[Question]], list[Answer]],
    tries: int,
) -> list[Answer | str]:
    """Answers, or what went wrong; what breaks is tried again, then in halves, then alone."""
    if not questions:
        return []
    error: Exception | None = None
    for _ in range(max(tries, 1)):
        try:
            return list(answers(questions))
        except Exception as failed:
            error = failed
    assert error is not None
    if len(questions) == 1:
        return [_told(error)]
    half = len(questions) // 2
    return _tried(questions[:half], answers, tries) + _tried(questions[half:], answers, tries)


def _told(error: BaseException) -> str:
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
