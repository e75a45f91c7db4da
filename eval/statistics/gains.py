"""What a run's records tell of its methods: estimates, paired differences, and personal gain.

Works on any run that can be read, of text or of shopping. As everywhere: a gain over the baseline
is a gain, and only what is over another user's vectors *and* over the population's is personal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..metrics import METRICS, Metric
from ..runs.record import Run
from ..texts.tasks import TASKS
from .intervals import Difference, holm
from .totals import metric_difference

SIGNIFICANT = 0.05

Told = Literal["better", "worse", "unclear"]


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
        difference: Paired, in the metric's own sense: for errors, below 0 is better.
        p_value: Corrected by Holm's method for the gaps that are told together.
        told: What it says, at the 5 % level.
    """

    method: str
    other: str
    metric: str
    difference: Difference
    p_value: float
    told: Told


def gaps(run: Run, pairs: Sequence[tuple[str, str]], metric: Metric) -> list[Gap]:
    """The gaps of several pairs of methods, told together; pairs without common samples are not."""
    found = [
        (
            method,
            other,
            metric_difference([*run.of[method].values()], [*run.of[other].values()], metric),
        )
        for method, other in pairs
    ]
    return told([gap for gap in found if gap[2].values], metric)


def told(found: Sequence[tuple[str, str, Difference]], metric: Metric) -> list[Gap]:
    """Differences with what they tell, their p-values corrected for being several."""
    corrected = holm([gap.p_value for _, _, gap in found])
    return [
        Gap(method, other, metric.name, gap, p_value, _tell(gap, p_value, metric))
        for (method, other, gap), p_value in zip(found, corrected, strict=True)
    ]


def _tell(gap: Difference, p_value: float, metric: Metric) -> Told:
    if not p_value < SIGNIFICANT or gap.mean == 0:
        return "unclear"
    return "better" if (gap.mean > 0) == metric.higher_is_better else "worse"


@dataclass(frozen=True)
class PersonalGain:
    """How a steered method stands to the baseline and to its controls.

    Attributes:
        method: The method.
        metric: The metric.
        baseline: The gap to the run's baseline; None where there is none.
        controls: The gaps to its controls.
        verdict: In words; see ``personal``.
        personal: Whether it is better than the baseline and than both kinds of control.
    """

    method: str
    metric: str
    baseline: Gap | None
    controls: tuple[Gap, ...]
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
    steered = [method for method in run.methods if run.controls(method)]
    if not steered:
        return []
    # Corrected for all methods, as wherever these gaps are told.
    others = [(method, run.baseline) for method in run.methods if method != run.baseline]
    to_baseline = {gap.method: gap for gap in gaps(run, others, metric)}
    found = []
    for method in steered:
        over = tuple(gaps(run, [(method, control) for control in run.controls(method)], metric))
        base = to_baseline.get(method)
        if over:
            lacking = _lacking(over)
            verdict = _verdict(base, over, lacking, run.baseline)
            found.append(
                PersonalGain(method, metric.name, base, over, verdict, verdict == _PERSONAL)
            )
    return found


_PERSONAL = "personal gain"


def _verdict(base: Gap | None, over: Sequence[Gap], lacking: str, baseline: str) -> str:
    over_all = all(gap.told == "better" for gap in over)
    gain = base is not None and base.told == "better"
    if base is not None and base.told == "worse":
        return f"worse than {baseline}"
    if over_all and gain:
        return f"over its control; no {lacking} control in the run" if lacking else _PERSONAL
    if over_all:
        return f"over its controls, but no clear gain over {baseline}"
    return "a gain, but not shown to be personal" if gain else "no clear gain"


def _lacking(over: Sequence[Gap]) -> str:
    """The kind of control that is not there, of another user's and the population's."""
    there = {"population" if gap.other.endswith("-population") else "other" for gap in over}
    return next((kind for kind in ("other", "population") if kind not in there), "")
