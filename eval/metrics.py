"""Scores of what a model wrote against what the person wrote, as the LaMP benchmark computes them.

Outputs and golds are stripped of white space at their ends and used as they are: never cut,
never put in lower case here (ROUGE does that by itself); letters that Unicode can write in two
ways are equal. What LaMP's published evaluation does where an answer cannot be read is done here
too, and told at each metric.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import TrimtabError
from .rouge_tokens import rouge_tokens

Floats = NDArray[np.float64]

Pair = tuple[str, str]
"""What the model wrote, and the gold."""


class Sums(NamedTuple):
    """A score over many pairs that is no mean, as a function of sums over them.

    Attributes:
        parts: What each pair adds to the sums, ``(pairs, parts)``; NaN where there is no pair.
        score: From the sums, ``(..., parts)``, to the score, ``(...)``.
    """

    parts: Callable[[Sequence[Pair | None]], Floats]
    score: Callable[[Floats], Floats]


@dataclass(frozen=True)
class Metric:
    """A way to score.

    Attributes:
        name: What it is called in tables and files.
        higher_is_better: Whether more is better.
        score: Of one output against its gold; None where the gold is not known. Absent where one
            sample alone has no score.
        total: Over many pairs, where that is not the mean of ``score``; NaN without pairs.
        sums: The same as ``total`` by way of sums, from which intervals are worked out.
        bounds: The least and the greatest score that there can be.
        about: What is counted, in a sentence; empty where the name says it.
        of_benchmark: Of a metric that reads all scripts, the name of the one that the benchmark
            publishes, which reads ASCII alone; of ASCII texts the two are the same number.
    """

    name: str
    higher_is_better: bool
    score: Callable[[str, str], float | None] | None = None
    total: Callable[[Sequence[Pair]], float] | None = None
    sums: Sums | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)
    about: str = ""
    of_benchmark: str = ""


def rouge(output: str, gold: str, kind: str, *, ascii_only: bool = False) -> float | None:
    """ROUGE F-measure without a stemmer, from 0 to 1.

    Args:
        output: What the model wrote.
        gold: What the user wrote; the score is None where it is empty.
        kind: ``rouge1``, ``rouge2`` or ``rougeL``.
        ascii_only: Count what the rouge-score package counts, and so the benchmarks: runs of
            ``[a-z0-9]``. Else the tokens of ``rouge_tokens``, which are the same in ASCII texts.
    """
    gold = gold.strip()
    if not gold:
        return None
    score = _scorer(kind, ascii_only).score(gold, output.strip())
    return float(score[kind].fmeasure)


class _Tokenizer:
    """``rouge_tokens`` as rouge-score takes it."""

    def tokenize(self, text: str) -> list[str]:
        return rouge_tokens(text)


@cache
def _scorer(kind: str, ascii_only: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=False, tokenizer=None if ascii_only else _Tokenizer())


_RUN = 4  # tokens


def repetition(output: str, gold: str = "") -> float | None:
    """The share of a text's runs of four words that it has had before, from 0 to 1.

    It is seq-rep-4 of Welleck et al. (arXiv 1908.04319), over ``rouge_tokens``.

    Args:
        output: What was written; the score is None where it has no such run.
        gold: Not looked at.
    """
    tokens = rouge_tokens(output)
    runs = [tuple(tokens[n : n + _RUN]) for n in range(len(tokens) - _RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else None


def right_label(output: str, gold: str) -> float | None:
    """1 if output and gold are the same words, else 0."""
    gold = _label(gold)
    return float(_label(output) == gold) if gold else None


def _label(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def absolute_error(output: str, gold: str) -> float | None:
    """How far the number in ``output`` is from the gold.

    As LaMP's evaluation does, an output that is no number counts as whichever of 1 and 5 is
    farther from the gold (5 where both are as far).

    Raises:
        TrimtabError: The gold is no number.
    """
    right = _number(gold)
    if right is None:
        if gold.strip():
            raise TrimtabError(f"expected a number as the gold, got {gold.strip()!r}")
        return None
    given = _number(output)
    if given is None:
        given = 1.0 if abs(1 - right) > abs(5 - right) else 5.0
    return abs(given - right)


def _number(text: str) -> float | None:
    try:
        number = float(text.strip())
    except ValueError:
        return None
    # Python reads "nan" and "infinity" as numbers, of which no mean could be told.
    return number if math.isfinite(number) else None


def root_mean_squared_error(pairs: Sequence[Pair]) -> float:
    """Root of the mean of squared ``absolute_error``."""
    errors = [e for e in (absolute_error(*pair) for pair in pairs) if e is not None]
    return math.sqrt(math.fsum(e * e for e in errors) / len(errors)) if errors else math.nan


def _squared_errors(pairs: Sequence[Pair | None]) -> Floats:
    """Squared error and 1 for each pair."""
    errors = (None if pair is None else absolute_error(*pair) for pair in pairs)
    rows = [(math.nan, math.nan) if e is None else (e * e, 1.0) for e in errors]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _root_mean(sums: Floats) -> Floats:
    root: Floats = np.sqrt(sums[..., 0] / sums[..., 1])
    return root


def macro_f1(pairs: Sequence[Pair], labels: Sequence[str] = ()) -> float:
    """The mean over labels of each label's F1 (``sklearn.metrics.f1_score``).

    Args:
        pairs: Outputs and golds. An output that is no label is wrong for its gold and counts for
            no other label.
        labels: All labels of the task. As in LaMP's evaluation, one that neither an output nor a
            gold has counts 0. Without labels, those of the golds are used.
    """
    from sklearn.metrics import f1_score

    known = [(_label(output), _label(gold)) for output, gold in pairs if gold.strip()]
    if not known:
        return math.nan
    outputs, golds = zip(*known, strict=True)
    names = list(labels) or sorted(set(golds))
    # By numbers, as scikit-learn warns of a label that nothing has; other outputs are number -1.
    places = {name: place for place, name in enumerate(names)}
    return float(
        f1_score(
            [places.get(gold, -1) for gold in golds],
            [places.get(output, -1) for output in outputs],
            labels=range(len(names)),
            average="macro",
            zero_division=0,
        )
    )


def f1_sums(labels: Sequence[str] = ()) -> Sums:
    """``macro_f1`` by way of sums: of each label how often it is right, told and the gold."""
    return Sums(partial(_label_counts, labels=labels), partial(_f1_of_counts, every=bool(labels)))


def _label_counts(pairs: Sequence[Pair | None], labels: Sequence[str]) -> Floats:
    """``(pairs, 3 * labels)``: 1 where a label is right, is the output, is the gold."""
    known = [None if p is None or not p[1].strip() else (_label(p[0]), _label(p[1])) for p in pairs]
    names = list(labels) or sorted({pair[1] for pair in known if pair})
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(known), 3, len(names)))
    for row, pair in zip(counts, known, strict=True):
        if pair is None:
            row[:] = math.nan
            continue
        output, gold = (places.get(text) for text in pair)
        if output is not None:
            row[1, output] = 1
            row[0, output] = output == gold
        if gold is not None:
            row[2, gold] = 1
    return counts.reshape(len(known), -1)


def _f1_of_counts(sums: Floats, *, every: bool) -> Floats:
    """Macro F1 over every label, or over those that are the gold of anything."""
    right, predicted, gold = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    f1 = np.divide(
        2 * right, predicted + gold, out=np.zeros_like(right), where=predicted + gold > 0
    )
    if every:
        return f1.mean(axis=-1)
    there = gold > 0
    mean: Floats = (f1 * there).sum(axis=-1) / there.sum(axis=-1)
    return mean


def _rouge(name: str, kind: str) -> tuple[Metric, Metric]:
    ours = Metric(
        name,
        True,
        partial(rouge, kind=kind),
        bounds=(0, 1),
        about="words of any script; characters where a script sets no spaces between words; "
        "emoji and other symbols",
        of_benchmark=f"{name}-ascii",
    )
    return ours, Metric(
        f"{name}-ascii",
        True,
        partial(rouge, kind=kind, ascii_only=True),
        bounds=(0, 1),
        about="as the benchmark counts: letters a to z and digits alone",
    )


_NOT_A_LINE = ("headline", "title", "abstract")


def first_line(text: str) -> str:
    r"""The first line that does not name what it is: all that the authors of Fints score.

    Example:
        >>> first_line("Here is a headline:\n\nRain again\nand more")
        'Rain again'
    """
    lines = (line.strip() for line in text.splitlines())
    wanted = (line for line in lines if line and not any(w in line.lower() for w in _NOT_A_LINE))
    return next(wanted, "")


def first_line_scores(
    scores: Mapping[str, float | None], output: str, gold: str
) -> dict[str, float | None]:
    """The scores of an output's first line, by name, such as ``rouge-1-first-line``."""
    line = first_line(output)
    return {
        name: METRICS[name].score(line, gold)  # type: ignore[misc]  # each of them has one
        for metric in scores
        if (name := f"{metric}-first-line") in METRICS
    }


def _first_line(name: str, kind: str) -> Metric:
    return Metric(
        f"{name}-first-line",
        True,
        partial(rouge, kind=kind),
        bounds=(0, 1),
        about="of the first line that does not hold the words headline, title or abstract",
    )


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *_rouge("rouge-1", "rouge1"),
        *_rouge("rouge-2", "rouge2"),
        *_rouge("rouge-l", "rougeL"),
        _first_line("rouge-1", "rouge1"),
        _first_line("rouge-l", "rougeL"),
        Metric(
            "repetition",
            False,
            repetition,
            bounds=(0, 1),
            about="the share of runs of four words that the text has had before",
        ),
        Metric("accuracy", True, right_label, bounds=(0, 1)),
        Metric("macro-f1", True, total=macro_f1, sums=f1_sums(), bounds=(0, 1)),
        Metric("mae", False, absolute_error, bounds=(0, math.inf)),
        Metric(
            "rmse",
            False,
            absolute_error,
            root_mean_squared_error,
            Sums(_squared_errors, _root_mean),
            bounds=(0, math.inf),
        ),
        # Nats a token of the gold; computed by whoever has the model.
        Metric("log-likelihood", True),
        # Of shopping episodes, as PersonalWAB scores them.
        Metric("function", True, bounds=(0, 1), about="whether a call of the right tool was made"),
        Metric("result", True, bounds=(0, 1), about="how good the best result of such a call was"),
    )
}
"""All metrics by name. Of ``macro-f1``, a task has its own with all its labels: ``Task.metric``."""


def benchmark_scores(
    scores: Mapping[str, float | None], output: str, gold: str
) -> dict[str, float | None]:
    """What the benchmark itself makes of a text in which ours counts more than it does.

    Returns:
        By name, such as ``rouge-1-ascii``; the same numbers as ours where the texts are ASCII.
    """
    ascii_only = output.isascii() and gold.isascii()
    found: dict[str, float | None] = {}
    for name, score in scores.items():
        known = METRICS.get(name)
        twin = METRICS.get(known.of_benchmark) if known else None
        if twin is not None and twin.score is not None:
            found[twin.name] = score if ascii_only else twin.score(output, gold)
    return found
