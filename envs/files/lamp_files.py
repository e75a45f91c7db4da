"""LaMP's files: which of them are where, their records checked, and whose they look like."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter

from ...errors import TrimtabError
from ..shop.personalwab import FileKind, read_file
from ..shop.records import FileRecord
from ..texts.authors import LeftOut
from .ids import Id

_TASK_IN_NAME = re.compile(r"lamp[_-]?(?:time[_-])?(\d)", re.IGNORECASE)
_SPLIT = re.compile(r"(train|dev|valid|val|test)", re.IGNORECASE)


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class LampQuestion(FileRecord):
    """One question with the profile of the user who is asked."""

    id: Id
    input: str
    profile: list[dict[str, Any]]
    user_id: Id | None = None
    date: Any = None
    output: str | None = None


class _Gold(FileRecord):
    id: Id
    output: Annotated[str, BeforeValidator(_as_text)]


class _Golds(FileRecord):
    task: str = ""
    golds: list[_Gold]


QUESTIONS = FileKind("questions", False, TypeAdapter(list[LampQuestion]), ("record [{}]",))
OUTPUTS = FileKind("outputs", False, TypeAdapter(_Golds), ())


@dataclass(frozen=True)
class Split:
    """The files of one split; ``outputs`` is None where there are no golds."""

    name: str
    questions: Path
    outputs: Path | None


_BEGINNINGS = {
    "For an author who has written the paper": "LaMP-1 (citations)",
    "Which category does this article": "LaMP-2N (news categories; lamp-2n)",
    "Which tag does this movie": "LaMP-2M (film tags; lamp-2m)",
    "What is the score of the following review": "LaMP-3 (ratings; lamp-3)",
    "Generate a headline for the following article": "LaMP-4 (headlines)",
    "Generate a title for the following abstract": "LaMP-5 (titles of papers; lamp-5)",
    "Generate a subject for the following email": "LaMP-6 (subjects of e-mails)",
    "Paraphrase the following tweet": "LaMP-7 (tweets; lamp-7)",
    "Generate an abstract for the title": "LongLaMP's abstracts (abstracts)",
    "Generate the review text": "LongLaMP's product reviews",
    "Generate the content for a reddit post": "LongLaMP's topic writing",
}
_OWN = "a person's own records (texts)"
_FOLDERS = {
    "user_instructions.json": "a shopping world in PersonalWAB's format (shop)",
    "BFCL_v*.json": "the Berkeley Function Calling Leaderboard (bfcl)",
    "dataset_persona.json": "ToolSpectrum's persona part (toolspectrum)",
    "*.parquet": "LongLaMP (abstracts)",
    "*questions*.json": "LaMP",
    "*.jsonl": f"LongLaMP (abstracts) or {_OWN}",
    "*.csv": _OWN,
}
_BEGINNING = 65536  # bytes of a file that tell what it is
_INPUT = re.compile(r'"input"\s*:\s*"([^"]*)')
_GOLDS_OF = re.compile(r'"task"\s*:\s*"LaMP_(\d)')


def looks_like(text: str) -> str:
    """``"; this looks like ..."`` for a question of a benchmark that is known, else ``""``."""
    for beginning, name in _BEGINNINGS.items():
        if text.lstrip().startswith(beginning):
            return f"; this looks like {name}"
    return ""


def folder_looks_like(folder: Path) -> str:
    """The same for a folder, by the names of its files."""
    for pattern, name in _FOLDERS.items():
        if next(folder.glob(pattern), None) is not None:
            return f"; this looks like {name}"
    return ""


def file_looks_like(path: Path) -> str:
    """The same for a file that is no record of a person's own, by how it begins and its name."""
    try:
        with path.open("rb") as file:
            text = file.read(_BEGINNING).decode(errors="replace")
    except OSError:
        return ""
    asked = _INPUT.search(text)
    if asked and (benchmark := looks_like(asked[1])):
        return benchmark
    if golds := _GOLDS_OF.search(text):
        tasks = [name for name in _BEGINNINGS.values() if name.startswith(f"LaMP-{golds[1]}")]
        return f"; this looks like the outputs of {' or '.join(tasks)}"
    if '"question"' in text and '"function"' in text:
        return f"; this looks like {_FOLDERS['BFCL_v*.json']}"
    named = (name for pattern, name in _FOLDERS.items() if path.match(pattern))
    name = next((name for name in named if _OWN not in name), "")
    return f"; this looks like {name}" if name else ""


def find_splits(path: Path, task: str) -> dict[str, Split]:
    """The splits of a task in a folder or, given one file of a split, that split.

    Args:
        path: A folder with ``*questions*.json``, in it or one or two folders below, or a file.
        task: "LaMP-4" and the like; files that are named after another task are passed over.

    Raises:
        TrimtabError: Nothing is there, or a split is there twice.
    """
    if path.is_file():
        if path.suffix != ".json":
            other = _FOLDERS.get(f"*{path.suffix}", "")
            hint = f"; this looks like {other}" if other else ""
            raise TrimtabError(f"{path}: expected {task}'s dev_questions.json{hint}")
        return _of_files([_questions_of(path)])
    if not path.is_dir():
        raise TrimtabError(f"no file or folder {path}; expected {task}'s dev_questions.json")
    depths = ("", "*/", "*/*/")
    files = [file for depth in depths for file in sorted(path.glob(f"{depth}*questions*.json"))]
    own = [file for file in files if _number(file.name) in ("", task[5])]
    if not own:
        there = f"; {files[0].name} is another task's" if files else folder_looks_like(path)
        raise TrimtabError(
            f"{path}: no questions of {task}; expected dev_questions.json and dev_outputs.json, "
            f"also with the task before them (LaMP_{task[5]}_dev_questions.json){there}"
        )
    return _of_files(own)


def _questions_of(path: Path) -> Path:
    if "outputs" in path.name:
        return path.with_name(path.name.replace("outputs", "questions"))
    return path


def _number(name: str) -> str:
    match = _TASK_IN_NAME.search(name)
    return match.group(1) if match else ""


def _of_files(files: Iterable[Path]) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for file in files:
        names = _SPLIT.findall(file.stem) or _SPLIT.findall(file.parent.name) or ["dev"]
        name = {"valid": "dev", "val": "dev"}.get(names[-1].lower(), names[-1].lower())
        if name in splits:
            raise TrimtabError(
                f"two {name} splits, {splits[name].questions} and {file}; give one of the files, "
                "or the folder of one task"
            )
        outputs = file.with_name(file.name.replace("questions", "outputs"))
        there = outputs if outputs != file and outputs.is_file() else None
        splits[name] = Split(name, file, there)
    return splits


def read_questions(path: Path) -> list[LampQuestion]:
    """The records of a questions file.

    Raises:
        TrimtabError: It cannot be read, a record is broken, it is empty, or two records have the
            same id, so that no one could tell whose gold is whose.
    """
    questions: list[LampQuestion] = read_file(path, QUESTIONS)
    if not questions:
        raise TrimtabError(f"{path}: no records; expected a list of questions")
    counts = Counter(question.id for question in questions)
    twice, count = counts.most_common(1)[0]
    if count > 1:
        raise TrimtabError(f"{path}: {count} records have the id {twice!r}; each needs its own")
    return questions


def read_golds(
    split: Split, questions: Sequence[LampQuestion], task: str, left_out: LeftOut
) -> Mapping[str, str | None]:
    """The golds by record id: of the outputs file, or of the records where they have their own.

    A test split without golds (LaMP keeps them) has None for each.

    Raises:
        TrimtabError: There are none, or they are of other questions or another task.
    """
    if split.outputs is None:
        own = {question.id: question.output for question in questions}
        if any(output is not None for output in own.values()):
            return {name: output for name, output in own.items() if output is not None}
        if split.name == "test":
            return dict.fromkeys(own)
        wanted = split.questions.name.replace("questions", "outputs")
        raise TrimtabError(f"{split.questions}: no golds; expected {wanted} in the same folder")
    golds: _Golds = read_file(split.outputs, OUTPUTS)
    if _number(golds.task) not in ("", task[5]):
        raise TrimtabError(
            f"{split.outputs}: golds of {golds.task}, expected those of {task}; give the outputs "
            "that belong to the questions"
        )
    counts = Counter(gold.id for gold in golds.golds)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise TrimtabError(f"{split.outputs}: {counts[twice[0]]} golds have the id {twice[0]!r}")
    asked = {question.id for question in questions}
    if not asked & counts.keys():
        raise TrimtabError(
            f"{split.outputs}: no gold has the id of a question in {split.questions.name} (golds "
            f"from {next(iter(counts), 'none')!r}, questions from {questions[0].id!r}); give the "
            "outputs that belong to the questions"
        )
    left_out.add("golds without a question", len(counts.keys() - asked))
    return {gold.id: gold.output for gold in golds.golds}
