"""The writing tasks by name, each with its data, metrics and words."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...envs.texts.dataset import TextDataset
from ...envs.texts.lamp import MOVIE_TAGS, NEWS_CATEGORIES, RATINGS
from ...errors import TrimtabError
from ..metrics import METRICS, Metric, f1_sums, macro_f1

OTHER_TASKS = ("shop", "bfcl", "toolspectrum")
"""What `trimtab eval` runs besides."""

Load = Callable[[Path | None, int], TextDataset]
"""From a folder or file (None: the built-in world, where there is one) and a seed to the data."""


@dataclass(frozen=True)
class WritingTask:
    """What people are asked to write, or to label, and how it is scored.

    Attributes:
        name: What it is called on the command line.
        about: What a person is asked to write, in a line.
        load: Reads the data.
        metrics: Names in ``METRICS``, the main one first.
        system: The system message for every method.
        max_new_tokens: At most this many tokens an answer.
        rejected_below: A model's own answer is a rejected one for response contrast if its
            ROUGE-L against the user's answer is below this.
        labels: All that may be answered; empty where the answer is free text.
        users: How many users the published comparisons take.
        minimum_history: How many past samples each of them must have.
    """

    name: str
    about: str
    load: Load
    metrics: tuple[str, ...]
    system: str
    max_new_tokens: int
    rejected_below: float
    labels: tuple[str, ...] = ()
    users: int = 200
    minimum_history: int = 4

    def metric(self, name: str) -> Metric:
        """The metric of that name, over this task's labels where it needs them."""
        metric = METRICS[name]
        if name == "macro-f1" and self.labels:
            return replace(
                metric, total=partial(macro_f1, labels=self.labels), sums=f1_sums(self.labels)
            )
        return metric


def _lamp(task: str) -> Load:
    def load(path: Path | None, seed: int) -> TextDataset:
        from ...envs.texts.lamp import LAMP, load_lamp, missing_data

        kind = LAMP[task]
        if path is not None:
            return load_lamp(path, kind)
        if kind.name != "LaMP-4":
            raise TrimtabError(missing_data(kind))
        from ...envs.worlds.gazette import headlines

        return headlines(seed=seed)

    return load


def _abstracts(path: Path | None, seed: int) -> TextDataset:
    if path is not None:
        from ...envs.texts.longlamp import load_longlamp

        return load_longlamp(path)
    from ...envs.worlds.gazette import abstracts

    return abstracts(seed=seed)


def _own_texts(path: Path | None, seed: int) -> TextDataset:
    from ...envs.texts.own_texts import load_own_texts, missing_data

    if path is None:
        raise TrimtabError(missing_data())
    return load_own_texts(path)


_ROUGE = ("rouge-1", "rouge-l", "rouge-2", "log-likelihood")
_LABEL = ("accuracy", "macro-f1", "log-likelihood")
_LABEL_ONLY = "You label texts. Answer with the label alone."

TASKS: Mapping[str, WritingTask] = {
    task.name: task
    for task in (
        WritingTask(
            name="headlines",
            about="the headline of a news article (LaMP-4; built in: gazette)",
            load=_lamp("headlines"),
            metrics=_ROUGE,
            system="You write headlines. Answer with the headline alone.",
            max_new_tokens=48,
            rejected_below=0.15,
        ),
        WritingTask(
            name="abstracts",
            about="the abstract of a paper from its title and some key words (LongLaMP; built in: "
            "gazette)",
            load=_abstracts,
            metrics=_ROUGE,
            system="You write abstracts of papers. Answer with the abstract alone.",
            max_new_tokens=300,
            rejected_below=0.20,
        ),
        WritingTask(
            name="lamp-2n",
            about="the category of a news article (LaMP-2N)",
            load=_lamp("lamp-2n"),
            metrics=_LABEL,
            system=_LABEL_ONLY,
            max_new_tokens=12,
            rejected_below=1.0,
            labels=NEWS_CATEGORIES,
        ),
        WritingTask(
            name="lamp-2m",
            about="the tag of a film from its description (LaMP-2M)",
            load=_lamp("lamp-2m"),
            metrics=_LABEL,
            system=_LABEL_ONLY,
            max_new_tokens=12,
            rejected_below=1.0,
            labels=MOVIE_TAGS,
        ),
        WritingTask(
            name="lamp-3",
            about="the rating, 1 to 5, that goes with a review (LaMP-3)",
            load=_lamp("lamp-3"),
            metrics=("mae", "rmse", "accuracy", "log-likelihood"),
            system="You rate reviews. Answer with the number alone.",
            max_new_tokens=6,
            rejected_below=1.0,
            labels=RATINGS,
        ),
        WritingTask(
            name="lamp-5",
            about="the title of a paper from its abstract (LaMP-5)",
            load=_lamp("lamp-5"),
            metrics=_ROUGE,
            system="You write titles of papers. Answer with the title alone.",
            max_new_tokens=48,
            rejected_below=0.15,
        ),
        WritingTask(
            name="lamp-7",
            about="a tweet in the user's own words (LaMP-7)",
            load=_lamp("lamp-7"),
            metrics=_ROUGE,
            system="You write tweets. Answer with the tweet alone.",
            max_new_tokens=64,
            # The model's paraphrase of a tweet shares most of its words; it need only differ.
            rejected_below=1.0,
        ),
        WritingTask(
            name="texts",
            about="a text in the user's own words (your own records)",
            load=_own_texts,
            metrics=_ROUGE,
            system="Answer as you are asked, with the text alone.",
            max_new_tokens=128,
            rejected_below=1.0,
        ),
    )
}


def get_task(name: str) -> WritingTask:
    """The task of that name.

    Raises:
        TrimtabError: There is none; the message has the nearest name.
    """
    check_task(name, TASKS)
    return TASKS[name]


def check_task(name: str, known: Collection[str], purpose: str = "") -> None:
    """Refuse a name that is none of the known tasks'.

    Args:
        name: What was asked for.
        known: All that there are.
        purpose: What the task is wanted for, as in " to tune".

    Raises:
        TrimtabError: It is none; the message has the nearest name.
    """
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise TrimtabError(f"no task {name!r}{purpose}; {hint}tasks: {', '.join(known)}")
