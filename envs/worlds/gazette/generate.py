"""Authors with all their samples, as a benchmark's records: to use at once, or to write out."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from ....errors import TrimtabError
from ....files import replacing
from ...files.lamp_files import LampQuestion
from ...texts.authors import LeftOut, join_users
from ...texts.dataset import TextDataset
from ...texts.lamp import LAMP, lamp_records
from ...texts.longlamp import LongLampRecord, longlamp_records
from ...texts.longlamp import ask as ask_for_abstract
from .abstract_styles import AbstractStyle, write_abstract
from .beats import BEATS, Beat, Story, draw_story, write_article
from .headline_styles import HeadlineStyle, write_headline
from .papers import FIELDS, draw_paper

_FIRST_DAY = date(2016, 1, 4)
_BEATS_OF_AUTHOR = 3
_TRIES = 20

T = TypeVar("T")


@dataclass(frozen=True)
class GazetteSize:
    """How large a gazette is.

    Attributes:
        authors: How many.
        history: Past samples of each.
        tests: Later samples of each.
        habit: How often an author follows each of their habits, from 0 to 1.

    Raises:
        TrimtabError: A number that is out of range.
    """

    authors: int = 100
    history: int = 24
    tests: int = 2
    habit: float = 0.9

    def __post_init__(self) -> None:
        """Refuse what no gazette can have."""
        for name in ("authors", "history", "tests"):
            if getattr(self, name) < 1:
                raise TrimtabError(f"expected at least 1 of {name}, got {getattr(self, name)}")
        if not 0.0 <= self.habit <= 1.0:
            raise TrimtabError(f"expected habit between 0 and 1, got {self.habit}")


DEFAULT_SIZE = GazetteSize()


def headlines(size: GazetteSize = DEFAULT_SIZE, *, seed: int = 0) -> TextDataset:
    """News authors with past headlines and later articles; the same arguments make the same."""
    questions, golds = headline_records(size, seed=seed)
    left_out = LeftOut()
    task = LAMP["headlines"]
    checked = [LampQuestion.model_validate(question) for question in questions]
    records = lamp_records(checked, golds, task, "gazette", left_out)
    return join_users(_name("headlines", size, seed), records, [], task.ask, left_out)


def abstracts(size: GazetteSize = DEFAULT_SIZE, *, seed: int = 0) -> TextDataset:
    """Authors of papers with past abstracts and later papers; likewise."""
    left_out = LeftOut()
    rows = [LongLampRecord.model_validate(row) for row in abstract_records(size, seed=seed)]
    records = longlamp_records(rows, "test", left_out)
    return join_users(_name("abstracts", size, seed), records, [], ask_for_abstract, left_out)


def _name(kind: str, size: GazetteSize, seed: int) -> str:
    return f"gazette-{kind}-{size.authors}x{size.history}+{size.tests}-{seed}"


def headline_style(index: int, seed: int = 0) -> HeadlineStyle:
    """The fingerprint of the author at ``index``: the truth that a method has to find."""
    return HeadlineStyle.draw(_chance("headlines", seed, index, "style"))


def abstract_style(index: int, seed: int = 0) -> AbstractStyle:
    """The same of an author of papers."""
    return AbstractStyle.draw(_chance("abstracts", seed, index, "style"))


def headline_records(
    size: GazetteSize = DEFAULT_SIZE, *, seed: int = 0
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Questions and golds in the format of LaMP-4's time split."""
    task = LAMP["headlines"]
    questions, golds = [], {}
    for index in range(size.authors):
        rng = _chance("headlines", seed, index, "samples")
        style = headline_style(index, seed)
        beats = rng.sample(BEATS, k=_BEATS_OF_AUTHOR)
        entries: list[dict[str, Any]] = []
        seen: set[str] = set()
        for number, day in enumerate(_days(rng, size.history + size.tests)):
            story = _new(partial(_story, rng, beats), lambda s: f"{s.actor} {s.thing}", seen)
            text = write_article(rng, story)
            title = write_headline(rng, story, style, size.habit)
            entries.append({"id": f"{index}-{number}", "text": text, "title": title, "date": day})
        for entry in entries[size.history :]:
            question = {
                "id": entry["id"],
                "user_id": f"author-{index}",
                "date": entry["date"],
                "input": f"{task.question}{entry['text']}",
                "profile": entries[: size.history],
            }
            questions.append(question)
            golds[entry["id"]] = entry["title"]
    return questions, golds


def abstract_records(size: GazetteSize = DEFAULT_SIZE, *, seed: int = 0) -> list[dict[str, Any]]:
    """Records in LongLaMP's format."""
    records = []
    for index in range(size.authors):
        rng = _chance("abstracts", seed, index, "samples")
        style = abstract_style(index, seed)
        field = rng.choice(FIELDS)
        entries: list[dict[str, Any]] = []
        items = []
        seen: set[str] = set()
        for number, day in enumerate(_days(rng, size.history + size.tests)):
            paper = _new(partial(draw_paper, rng, field), lambda p: p.title, seen)
            abstract = write_abstract(rng, paper, style, size.habit)
            entries.append(
                {"id": f"{index}-{number}", "title": paper.title, "abstract": abstract, "date": day}
            )
            items.append(", ".join(paper.items))
        for entry, listed in list(zip(entries, items, strict=True))[size.history :]:
            records.append(
                {
                    "name": f"author-{index}",
                    "date": entry["date"],
                    "input": f'Generate an abstract for the title "{entry["title"]}" using the '
                    f"following items: {listed}.",
                    "output": entry["abstract"],
                    "profile": entries[: size.history],
                }
            )
    return records


def _chance(kind: str, seed: int, index: int, what: str) -> random.Random:
    return random.Random(f"gazette/{kind}/{seed}/{index}/{what}")


def _story(rng: random.Random, beats: Sequence[Beat]) -> Story:
    return draw_story(rng, rng.choice(beats))


def _new(draw: Callable[[], T], name: Callable[[T], str], seen: set[str]) -> T:
    """Something drawn whose name was not seen before, if one is found in some tries."""
    for _ in range(_TRIES):
        drawn = draw()
        if name(drawn) not in seen:
            break
    seen.add(name(drawn))
    return drawn


def _days(rng: random.Random, count: int) -> list[str]:
    day = _FIRST_DAY + timedelta(days=rng.randrange(300))
    days = []
    for _ in range(count):
        day += timedelta(days=rng.randint(2, 21))
        days.append(day.isoformat())
    return days


def save_gazette(
    folder: Path | str,
    size: GazetteSize = DEFAULT_SIZE,
    *,
    seed: int = 0,
    kinds: Sequence[Literal["headlines", "abstracts"]] = ("headlines", "abstracts"),
) -> list[Path]:
    """Write a gazette in the benchmarks' own formats, each file whole or not at all.

    Returns:
        The files: ``headlines/dev_questions.json`` and ``dev_outputs.json`` as LaMP-4 has them,
        ``abstracts/test.jsonl`` as LongLaMP.
    """
    folder = Path(folder)
    writers: Mapping[str, Callable[[], dict[Path, str]]] = {
        "headlines": lambda: _headline_files(folder / "headlines", size, seed),
        "abstracts": lambda: _abstract_files(folder / "abstracts", size, seed),
    }
    written = []
    for kind in kinds:
        for path, text in writers[kind]().items():
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _headline_files(folder: Path, size: GazetteSize, seed: int) -> dict[Path, str]:
    questions, golds = headline_records(size, seed=seed)
    outputs = {
        "task": "LaMP_4",
        "golds": [{"id": name, "output": output} for name, output in golds.items()],
    }
    return {
        folder / "dev_questions.json": json.dumps(questions),
        folder / "dev_outputs.json": json.dumps(outputs),
    }


def _abstract_files(folder: Path, size: GazetteSize, seed: int) -> dict[Path, str]:
    lines = [json.dumps(record) for record in abstract_records(size, seed=seed)]
    return {folder / "test.jsonl": "\n".join(lines) + "\n"}
