"""LaMP's tasks in their published files: what is asked, what a profile holds, and loading.

A split is two files, ``<split>_questions.json`` ``[{id, input, profile: [{id, ...}]}]`` and
``<split>_outputs.json`` ``{task, golds: [{id, output}]}``, of the user split or of the time split
(with ``user_id``, and a ``date`` for each item of a profile). See Salemi et al., "LaMP: When
Large Language Models Meet Personalization" (arXiv 2304.11406).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import TrimtabError
from ..files.ids import as_id
from ..files.lamp_files import (
    LampQuestion,
    Split,
    find_splits,
    looks_like,
    read_golds,
    read_questions,
)
from .authors import AuthorRecord, AuthorSample, LeftOut, as_date, join_users
from .dataset import TextDataset

NEWS_CATEGORIES = (
    "women",
    "religion",
    "politics",
    "style & beauty",
    "entertainment",
    "culture & arts",
    "sports",
    "science & technology",
    "travel",
    "business",
    "crime",
    "education",
    "healthy living",
    "parents",
    "food & drink",
)
MOVIE_TAGS = (
    "sci-fi",
    "based on a book",
    "comedy",
    "action",
    "twist ending",
    "dystopia",
    "dark comedy",
    "classic",
    "psychology",
    "fantasy",
    "romance",
    "thought-provoking",
    "social commentary",
    "violence",
    "true story",
)
RATINGS = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class LampTask:
    """One of LaMP's tasks.

    Attributes:
        name: As published.
        question: How every question begins; what it is about follows.
        body: The field of a profile item that a question would be about; None where the profile
            has outputs alone.
        output: The field of a profile item that a question would ask for.
        labels: All answers; empty where they are free text.
    """

    name: str
    question: str
    body: str | None
    output: str
    labels: tuple[str, ...] = ()

    def ask(self, item: AuthorSample) -> str:
        """The question for an item, as the benchmark would put it; "" for one without a body."""
        return f"{self.question}{item.body}" if self.body else ""


LAMP: Mapping[str, LampTask] = {
    "headlines": LampTask(
        "LaMP-4", "Generate a headline for the following article: ", "text", "title"
    ),
    "lamp-2n": LampTask(
        "LaMP-2N",
        "Which category does this article relate to among the following categories? Just answer "
        "with the category name without further explanation. categories: "
        f"[{', '.join(NEWS_CATEGORIES)}] article: ",
        "text",
        "category",
        NEWS_CATEGORIES,
    ),
    "lamp-2m": LampTask(
        "LaMP-2M",
        "Which tag does this movie relate to among the following tags? Just answer with the tag "
        f"name without further explanation. tags: [{', '.join(MOVIE_TAGS)}] description: ",
        "description",
        "tag",
        MOVIE_TAGS,
    ),
    "lamp-3": LampTask(
        "LaMP-3",
        "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, "
        "3, 4, or 5 without further explanation. review: ",
        "text",
        "score",
        RATINGS,
    ),
    "lamp-5": LampTask(
        "LaMP-5", "Generate a title for the following abstract of a paper: ", "abstract", "title"
    ),
    "lamp-7": LampTask(
        "LaMP-7",
        "Paraphrase the following tweet without any explanation before or after it: ",
        None,
        "text",
    ),
}
"""The tasks by trimtab's names for them."""


def missing_data(task: LampTask) -> str:
    """What to say where data is wanted and none was given."""
    return (
        f"{task.name} has no built-in data; give a folder with dev_questions.json and "
        f"dev_outputs.json of {task.name} (from lamp-benchmark.github.io), or one of the two files"
    )


def load_lamp(path: Path | str, task: LampTask, *, split: str | None = None) -> TextDataset:
    """Read one of LaMP's tasks.

    Args:
        path: A folder with the files, in it or one folder below, or the questions of one split.
        task: Which of ``LAMP``.
        split: What to test on. Default: dev, else test if its golds are there, else train. Where
            a train split of the same users is there too, its records are part of their past.

    Raises:
        TrimtabError: Files are missing, broken, or another task's; one line.
    """
    splits = find_splits(Path(path), task.name)
    chosen = _choose(splits, split, Path(path))
    left_out = LeftOut()
    records = _records(chosen, task, left_out)
    earlier: list[AuthorRecord] = []
    if chosen.name != "train" and "train" in splits:
        known = {record.user_id for record in records} - {None}
        if known:
            train = _records(splits["train"], task, LeftOut())
            earlier = [record for record in train if record.user_id in known]
    name = f"{task.name} {chosen.name} ({Path(path).resolve().name})"
    dataset = join_users(name, records, earlier, task.ask, left_out)
    if not dataset.users:
        raise TrimtabError(
            f"{chosen.questions}: no record has a past sample; expected a profile with the fields "
            f"id and {task.output}"
        )
    return dataset


def _choose(splits: Mapping[str, Split], split: str | None, path: Path) -> Split:
    if split is not None:
        if split not in splits:
            raise TrimtabError(f"{path}: no split {split!r}; there is {', '.join(splits)}")
        return splits[split]
    for name in ("dev", "test", "train"):
        if name in splits and splits[name].outputs is not None:
            return splits[name]
    return next(iter(splits.values()))


def _records(split: Split, task: LampTask, left_out: LeftOut) -> list[AuthorRecord]:
    questions = read_questions(split.questions)
    _check_task(questions, task, split.questions)
    golds = read_golds(split, questions, task.name, left_out)
    return lamp_records(questions, golds, task, str(split.questions), left_out)


def lamp_records(
    questions: Sequence[LampQuestion],
    golds: Mapping[str, str | None],
    task: LampTask,
    where: str,
    left_out: LeftOut,
) -> list[AuthorRecord]:
    """Records of questions and their golds.

    Args:
        questions: As in the file.
        golds: By record id; None for one that is not known, since the benchmark keeps it.
        task: Whose they are.
        where: To name in messages.
        left_out: Added to.

    Raises:
        TrimtabError: A profile lacks a field.
    """
    start = task.question.rstrip()
    records = []
    for question in questions:
        if not question.input.startswith(start):
            left_out.add("records whose input is not the task's question")
            continue
        gold = golds.get(question.id, "")
        if gold is not None and not gold.strip():
            left_out.add("records without a gold")
            continue
        if gold is not None and task.labels and gold.strip() not in task.labels:
            left_out.add("records whose gold is no label of the task")
            continue
        body = question.input[len(start) :].strip()
        item = AuthorSample(question.id, body, gold or "", as_date(question.date))
        profile = _profile(question, task, where, left_out)
        records.append(AuthorRecord(question.user_id, question.input, item, profile))
    return records


def _profile(
    question: LampQuestion, task: LampTask, source: str, left_out: LeftOut
) -> list[AuthorSample]:
    items = []
    for place, entry in enumerate(question.profile):
        where = f"{source}: record {question.id!r}, profile item [{place}]"
        field = partial(_field, entry, where, task.name)
        body = field(task.body) if task.body else ""
        output = field(task.output)
        if not output.strip() or (task.body and not body.strip()):
            left_out.add("past samples without a text")
            continue
        if task.labels and output not in task.labels:
            left_out.add("past samples with a label that the task does not have")
            continue
        date = entry.get("date")
        name = as_id(entry.get("id")) or str(place)
        items.append(AuthorSample(name, body, output, as_date(date)))
    return items


def _field(entry: Mapping[str, Any], where: str, task: str, name: str) -> str:
    value = entry.get(name)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    what = "is missing" if name not in entry else f"expected a text, got {str(value)[:40]!r}"
    raise TrimtabError(f"{where}: field {name} {what} ({task} needs it)")


def _check_task(questions: Sequence[LampQuestion], task: LampTask, path: Path) -> None:
    """Refuse a file most of whose questions are another task's."""
    start = task.question.rstrip()
    own = sum(question.input.startswith(start) for question in questions)
    if own * 2 > len(questions):
        return
    first = next(question for question in questions if not question.input.startswith(start))
    raise TrimtabError(
        f"{path}: expected {task.name}'s questions ({start[:60]!r} ...), got "
        f"{first.input[:60]!r} in record {first.id!r}{looks_like(first.input)}"
    )
