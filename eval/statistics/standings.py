"""How the methods of a run stand: means, differences to the baseline, personal gains, and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .costs import Cost, cost_of
from .gains import Gap, PersonalGain, differences_to, personal_gains, run_metric
from .intervals import Estimate
from .repeats import Repeated, repeated
from .totals import metric_estimate

if TYPE_CHECKING:
    from ..runs.record import Run


@dataclass(frozen=True)
class Standing:
    """One method's score in one metric."""

    method: str
    metric: str
    estimate: Estimate


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
                    "p_holm": None if math.isnan(p.p_value) else p.p_value,
                    "comparisons": p.claims,
                    "verdict": p.verdict,
                    "over": [_gap(gap) for gap in (p.baseline, *p.controls) if gap is not None],
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
    scores, gaps, personal, repeats = [], [], [], []
    for name in run.metrics:
        metric = run_metric(run, name)
        scores += [
            Standing(method, name, metric_estimate([*run.of[method].values()], metric))
            for method in run.methods
        ]
        gaps += differences_to(run, run.baseline, metric)
        personal += personal_gains(run, metric)
        spreads = (repeated(m, [*run.of[m].values()], metric) for m in run.methods)
        repeats += [spread for spread in spreads if spread]
    return Standings(
        baseline=run.baseline,
        metrics=run.metrics,
        scores=tuple(scores),
        gaps=tuple(gaps),
        personal=tuple(personal),
        costs=tuple(cost_of(method, [*run.of[method].values()]) for method in run.methods),
        repeats=tuple(repeats),
    )


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "method": gap.method,
        "other": gap.other,
        "metric": gap.metric,
        **_plain(gap.difference._asdict()),
        "p_holm": None if math.isnan(gap.p_value) else gap.p_value,
        "comparisons": gap.comparisons,
    }


def _plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in numbers.items()
    }
