"""What a run's records tell of its methods: paired differences, and what of a gain is personal.

One convention of p-values, in every table, report and file:

- A *difference* is told with the others that stand to the same method: its p-value is corrected by
  Holm's method for their number.
- A *personal gain* is a conjunction: better than the baseline, *and* than another user's vectors,
  *and* than the population's. Such a claim is tested by the largest of its p-values, and no
  correction is due inside it (the intersection-union test: Berger, "Multiparameter Hypothesis
  Testing and Acceptance Sampling", 1982). Corrected is for the number of methods that claim one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..metrics import METRICS, Metric
from ..runs.record import Run
from ..texts.kinds import TASKS
from .intervals import Difference, holm
from .totals import metric_difference

SIGNIFICANT = 0.05

Verdict = Literal["better", "worse", "unclear"]


def run_metric(run: Run, name: str) -> Metric:
    """The metric as the run's task has it; a name that no task knows is a mean, more is better."""
    if run.task in TASKS and name in METRICS:
        return TASKS[run.task].metric(name)
    return METRICS.get(name, Metric(name, higher_is_better=True))


@dataclass(frozen=True)
class Gap:
    """How much ``method`` is over ``other``, and whether that is more than chance.

    Attributes:
        method: The method.
        other: What it is compared with.
        metric: The metric.
        difference: Paired, in the metric's own sense: for errors, below 0 is better. Its p-value
            is not corrected.
        p_value: Corrected (Holm) for the comparisons that are told together.
        comparisons: How many those are; 1 is an uncorrected p-value.
        verdict: What it says, at the 5 % level.
    """

    method: str
    other: str
    metric: str
    difference: Difference
    p_value: float
    comparisons: int
    verdict: Verdict


def differences_to(run: Run, reference: str, metric: Metric) -> list[Gap]:
    """How all other methods of a run stand to one, told together."""
    pairs = [(method, reference) for method in run.methods if method != reference]
    return corrected_gaps(_differences(run, pairs, metric), metric)


def corrected_gaps(differences: Sequence[tuple[str, str, Difference]], metric: Metric) -> list[Gap]:
    """Differences with what they tell, their p-values corrected for being several.

    Those without a pair are left out.
    """
    differences = [each for each in differences if each[2].values]
    corrected = holm([gap.p_value for _, _, gap in differences])
    return [
        Gap(method, other, metric.name, gap, p_value, len(differences), _tell(gap, p_value, metric))
        for (method, other, gap), p_value in zip(differences, corrected, strict=True)
    ]


def _differences(
    run: Run, pairs: Sequence[tuple[str, str]], metric: Metric
) -> list[tuple[str, str, Difference]]:
    return [
        (one, other, metric_difference([*run.of[one].values()], [*run.of[other].values()], metric))
        for one, other in pairs
    ]


def _tell(gap: Difference, p_value: float, metric: Metric) -> Verdict:
    if not p_value < SIGNIFICANT or gap.mean == 0:
        return "unclear"
    return "better" if (gap.mean > 0) == metric.higher_is_better else "worse"


@dataclass(frozen=True)
class PersonalGain:
    """How a steered method stands to the baseline and to its controls.

    Attributes:
        method: The method.
        metric: The metric.
        baseline: The gap to the run's baseline, its p-value not corrected; None where there is
            none.
        controls: The gaps to its controls, their p-values not corrected.
        p_value: Of the claim that all of them are gains: the largest of theirs (1 where one is no
            gain), corrected (Holm) for the methods that make the claim; NaN where the baseline or
            a kind of control is not in the run, so that none can be made.
        claims: How many methods make it.
        verdict: In words; see ``personal``.
        personal: Whether it is better than the baseline and than both kinds of control.
    """

    method: str
    metric: str
    baseline: Gap | None
    controls: tuple[Gap, ...]
    p_value: float
    claims: int
    verdict: str
    personal: bool

    @property
    def gain(self) -> float | None:
        """The smallest of the gaps to the controls; None where it is not personal."""
        if not self.personal:
            return None
        return min((gap.difference.mean for gap in self.controls), key=abs)


def personal_gains(run: Run, metric: Metric) -> list[PersonalGain]:
    """What is personal, for every method that has controls in the run."""
    alone: dict[str, tuple[Gap | None, tuple[Gap, ...]]] = {}
    for method in run.methods:
        over = [gap for c in run.controls(method) for gap in _alone(run, method, c, metric)]
        if over:
            base = _alone(run, method, run.baseline, metric) if method != run.baseline else []
            alone[method] = (next(iter(base), None), tuple(over))
    claimed = {method: _conjunction(base, over, metric) for method, (base, over) in alone.items()}
    corrected = dict(zip(claimed, holm([*claimed.values()]), strict=True))
    claims = sum(not math.isnan(p_value) for p_value in claimed.values())
    gains = {gap.method: gap for gap in differences_to(run, run.baseline, metric)} if alone else {}
    found = []
    for method, (to_baseline, to_controls) in alone.items():
        personal = corrected[method] < SIGNIFICANT
        verdict = _PERSONAL if personal else _verdict(gains.get(method), to_controls, run.baseline)
        found.append(
            PersonalGain(
                method=method,
                metric=metric.name,
                baseline=to_baseline,
                controls=to_controls,
                p_value=corrected[method],
                claims=claims,
                verdict=verdict,
                personal=personal,
            )
        )
    return found


_PERSONAL = "personal gain"


def _alone(run: Run, method: str, other: str, metric: Metric) -> list[Gap]:
    """The gap of one pair, told for itself, or none where they share no sample."""
    return corrected_gaps(_differences(run, [(method, other)], metric), metric)


def _conjunction(base: Gap | None, over: Sequence[Gap], metric: Metric) -> float:
    """The p-value of being better than the baseline and than both kinds of control."""
    if base is None or _lacking(over):
        return math.nan
    return max(
        gap.p_value if (gap.difference.mean > 0) == metric.higher_is_better else 1.0
        for gap in (base, *over)
    )


def _verdict(base: Gap | None, over: Sequence[Gap], baseline: str) -> str:
    """What can be said of a method without a personal gain."""
    over_all = all(gap.verdict == "better" for gap in over)
    gain = base is not None and base.verdict == "better"
    if base is not None and base.verdict == "worse":
        return f"worse than {baseline}"
    if over_all and gain and (lacking := _lacking(over)):
        return f"over its control; no {lacking} control in the run"
    if over_all and not gain:
        return f"over its controls, but no clear gain over {baseline}"
    return "a gain, but not shown to be personal" if gain else "no clear gain"


def _lacking(over: Sequence[Gap]) -> str:
    """The kind of control that is not there, of another user's and the population's."""
    there = {"population" if gap.other.endswith("-population") else "other" for gap in over}
    return next((kind for kind in ("other", "population") if kind not in there), "")
