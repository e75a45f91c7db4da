"""Scores of what a model wrote against what the person wrote, as the LaMP benchmark computes them.

Outputs and golds are stripped of white space at their ends and used as they are: never cut,
never put in lower case here (ROUGE does that by itself); letters that Unicode can write in two
ways are equal. What LaMP's published evaluation does where an answer cannot be read is done here
too, and told at each metric.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from ..errors import TrimtabError
from .rouge_tokens import rouge_tokens

Pair = tuple[str, str]
"""What the model wrote, and the gold."""


@dataclass(frozen=True)
class Metric:
    """A way to score.

    Attributes:
        name: What it is called in tables and files.
        higher_is_better: Whether more is better.
        score: Of one output against its gold; None where the gold is not known. Absent where one
            sample alone has no score.
        total: Over many pairs, where that is not the mean of ``score``; NaN without pairs.
        about: What is counted, in a sentence; empty where the name says it.
        of_benchmark: Of a metric that reads all scripts, the name of the one that the benchmark
            publishes, which reads ASCII alone; of ASCII texts the two are the same number.
    """

    name: str
    higher_is_better: bool
    score: Callable[[str, str], float | None] | None = None
    total: Callable[[Sequence[Pair]], float] | None = None
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
    found = _scorer(kind, ascii_only).score(gold, output.strip())
    return float(found[kind].fmeasure)


class _Tokenizer:
    """``rouge_tokens`` as rouge-score takes it."""

    def tokenize(self, text: str) -> list[str]:
        return rouge_tokens(text)


@cache
def _scorer(kind: str, ascii_only: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=False, tokenizer=None if ascii_only else _Tokenizer())


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


def macro_f1(pairs: Sequence[Pair], labels: Sequence[str] = ()) -> float:
    """The mean over labels of each label's F1.

    Args:
        pairs: Outputs and golds. An output that is no label is wrong for its gold and counts for
            no other label.
        labels: All labels of the task. As in LaMP's evaluation, one that neither an output nor a
            gold has counts 0. Without labels, those of the golds are used.
    """
    known = [(_label(output), _label(gold)) for output, gold in pairs if gold.strip()]
    if not known:
        return math.nan
    labels = list(labels) or sorted({gold for _, gold in known})
    right = Counter(output for output, gold in known if output == gold)
    said = Counter(text for pair in known for text in pair)
    f1 = [2 * right[label] / said[label] if said[label] else 0.0 for label in labels]
    return math.fsum(f1) / len(f1)


def _rouge(name: str, kind: str) -> tuple[Metric, Metric]:
    ours = Metric(
        name,
        True,
        partial(rouge, kind=kind),
        about="words of any script; characters where a script sets no spaces between words; "
        "emoji and other symbols",
        of_benchmark=f"{name}-ascii",
    )
    return ours, Metric(
        f"{name}-ascii",
        True,
        partial(rouge, kind=kind, ascii_only=True),
        about="as the benchmark counts: letters a to z and digits alone",
    )


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *_rouge("rouge-1", "rouge1"),
        *_rouge("rouge-2", "rouge2"),
        *_rouge("rouge-l", "rougeL"),
        Metric("accuracy", True, right_label),
        Metric("macro-f1", True, total=macro_f1),
        Metric("mae", False, absolute_error),
        Metric("rmse", False, absolute_error, root_mean_squared_error),
        # Nats a token of the gold; computed by whoever has the model.
        Metric("log-likelihood", True),
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
