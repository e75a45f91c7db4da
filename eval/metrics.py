"""Scores of what a model wrote against what the person wrote, as the LaMP benchmark computes them.

Outputs and golds are stripped of white space at their ends and used as they are: never cut,
never put in lower case here (ROUGE does that by itself). What LaMP's published evaluation does
where an answer cannot be read is done here too, and told at each metric.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from ..errors import TrimtabError

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
    """

    name: str
    higher_is_better: bool
    score: Callable[[str, str], float | None] | None = None
    total: Callable[[Sequence[Pair]], float] | None = None


def rouge(output: str, gold: str, kind: str) -> float | None:
    """ROUGE F-measure without a stemmer, from 0 to 1; ``kind`` is rouge1, rouge2 or rougeL."""
    gold = gold.strip()
    return float(_scorer(kind).score(gold, output.strip())[kind].fmeasure) if gold else None


@cache
def _scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=False)


def right_label(output: str, gold: str) -> float | None:
    """1 if output and gold are the same words, else 0."""
    gold = gold.strip()
    return float(output.strip() == gold) if gold else None


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
    known = [(output.strip(), gold.strip()) for output, gold in pairs if gold.strip()]
    if not known:
        return math.nan
    labels = list(labels) or sorted({gold for _, gold in known})
    right = Counter(output for output, gold in known if output == gold)
    said = Counter(text for pair in known for text in pair)
    f1 = [2 * right[label] / said[label] if said[label] else 0.0 for label in labels]
    return math.fsum(f1) / len(f1)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("rouge-1", True, partial(rouge, kind="rouge1")),
        Metric("rouge-2", True, partial(rouge, kind="rouge2")),
        Metric("rouge-l", True, partial(rouge, kind="rougeL")),
        Metric("accuracy", True, right_label),
        Metric("macro-f1", True, total=macro_f1),
        Metric("mae", False, absolute_error),
        Metric("rmse", False, absolute_error, root_mean_squared_error),
        # Nats a token of the gold; computed by whoever has the model.
        Metric("log-likelihood", True),
    )
}
"""All metrics by name. Of ``macro-f1``, a task has its own with all its labels: ``Task.metric``."""
