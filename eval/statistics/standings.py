"""How the methods of a run stand: means, differences to the baseline, personal gains, and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .gains import Gap, PersonalGain, gaps, personal_gains, run_metric
from .intervals import Estimate
from .repeats import Repeated, repeated
from .totals import metric_estimate

if TYPE_CHECKING:
    from ..record import Record, Run


@dataclass(frozen=True)
class Standing:
    """One method's score in one metric."""

    method: str
    metric: str
    estimate: Estimate


@dataclass(frozen=True)
class Cost:
    """What a method takes, a sample.

    Attributes:
        method: The method.
        samples: How many were answered.
        prompt_tokens: Mean.
        completion_tokens: Mean.
        seconds: Mean; in batches, the share that goes with the tokens.
        cut: Samples with something cut to fit the context.
        unsteered: Samples that a steered method had nothing to steer with for.
        errors: Samples that the machinery failed on.
    """

    method: str
    samples: int
    prompt_tokens: float
    completion_tokens: float
    seconds: float
    cut: int
    unsteered: int
    errors: int


@dataclass(frozen=True)
class Standings:
    """All of a study's numbers."""

    baseline: str
    metrics: tuple[str, ...]
    scores: tuple[Standing, ...]
    gaps: tuple[Gap, ...]
    personal: tuple[PersonalGain, ...]
    costs: tuple[Cost, ...]
    repeats: tuple[Repeated, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is not known is None."""
        return {
            "baseline": self.baseline,
            "metrics": list(self.metrics),
            "scores": [
                {"method": s.method, "metric": s.metric, **_plain(s.estimate._asdict())}
                for s in self.scores
            ],
            "differences": [_gap(gap) for gap in self.gaps],
            "personal": [
                {
                    "method": p.method,
                    "metric": p.metric,
                    "gain": p.gain,
                    "verdict": p.verdict,
                    "over": [_gap(gap) for gap in p.controls],
                }
                for p in self.personal
            ],
            "costs": [_plain(asdict(cost)) for cost in self.costs],
            "repeats": [
                _plain({**r._asdict(), "spread": _plain(r.spread._asdict())}) for r in self.repeats
            ],
        }


def standings(run: Run) -> Standings:
    """Work out all numbers of a run, finished or not.

    Records with an error have no scores: they are left out, not counted as wrong.
    """
    scores, found, personal, repeats = [], [], [], []
    for name in run.metrics:
        metric = run_metric(run, name)
        scores += [
            Standing(method, name, metric_estimate([*run.of[method].values()], metric))
            for method in run.methods
        ]
        others = [(method, run.baseline) for method in run.methods if method != run.baseline]
        found += gaps(run, others, metric)
        personal += personal_gains(run, metric)
        spreads = (repeated(m, [*run.of[m].values()], metric) for m in run.methods)
        repeats += [spread for spread in spreads if spread]
    return Standings(
        baseline=run.baseline,
        metrics=run.metrics,
        scores=tuple(scores),
        gaps=tuple(found),
        personal=tuple(personal),
        costs=tuple(_cost(method, [*run.of[method].values()]) for method in run.methods),
        repeats=tuple(repeats),
    )


def _cost(label: str, own: Sequence[Record]) -> Cost:
    fine = [record for record in own if not record.error]

    def mean(name: str) -> float:
        return sum(getattr(r, name) for r in fine) / len(fine) if fine else math.nan

    return Cost(
        method=label,
        samples=len(fine),
        prompt_tokens=mean("prompt_tokens"),
        completion_tokens=mean("completion_tokens"),
        seconds=mean("seconds"),
        cut=sum(record.cut > 0 for record in fine),
        unsteered=sum(record.detail.get("steered") is False for record in fine),
        errors=len(own) - len(fine),
    )


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "method": gap.method,
        "other": gap.other,
        "metric": gap.metric,
        **_plain(gap.difference._asdict()),
        "p_holm": None if math.isnan(gap.p_value) else gap.p_value,
    }


def _plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in numbers.items()
    }
