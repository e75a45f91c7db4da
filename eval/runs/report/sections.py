"""What the page's tables and charts show, worked out from a run's records."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ...metrics import Metric
from ...statistics.costs import Cost, cost_of
from ...statistics.gains import Gap, PersonalGain, corrected_gaps, personal_gains, run_metric
from ...statistics.intervals import Difference, Estimate
from ...statistics.notes import interval_note, p_note
from ...statistics.repeats import Repeated, repeated
from ...statistics.totals import metric_difference, metric_estimate
from ..record import Record, Run
from .charts import ChartPoint, Scale, axis, interval_bar, line_chart, scatter

_MOST_BINS = 5
_GROUP_RESAMPLES = 1000  # of the many small groups, whose ends need no third digit


@dataclass(frozen=True)
class Forest:
    """The paired differences of all other methods to one.

    Attributes:
        reference: What is subtracted.
        rows: Each gap with its chart.
        axis: The numbers below.
        note: How intervals and p-values were worked out.
    """

    reference: str
    rows: tuple[tuple[Gap, Markup], ...]
    axis: Markup
    note: str


@dataclass(frozen=True)
class Groups:
    """A score by groups of samples.

    Attributes:
        labels: The groups.
        samples: How many each has.
        rows: Each method's estimates, one a group.
        chart: Of the same numbers; None where the groups have no order.
    """

    labels: tuple[str, ...]
    samples: tuple[int, ...]
    rows: tuple[tuple[str, tuple[Estimate, ...]], ...]
    chart: Markup | None = None


@dataclass(frozen=True)
class Speed:
    """A score against the time that a sample takes."""

    title: str
    chart: Markup


@dataclass(frozen=True)
class MetricView:
    """All that the page shows of one metric."""

    metric: Metric
    overall: dict[str, Estimate]
    personal: list[PersonalGain]
    forests: list[Forest]
    by_kind: Groups | None
    by_history: Groups | None
    speed: Speed | None
    repeats: list[Repeated]


def metric_view(run: Run, name: str) -> MetricView:
    """Work out one metric's tables and charts."""
    metric = run_metric(run, name)
    overall = {
        method: metric_estimate([*run.of[method].values()], metric) for method in run.methods
    }
    kinds = sorted({record.kind for record in run.records})
    return MetricView(
        metric=metric,
        overall=overall,
        personal=personal_gains(run, metric),
        forests=_forests(run, metric),
        by_kind=_groups(run, metric, [(k or "–", {k}) for k in kinds], "kind")
        if len(kinds) > 1
        else None,
        by_history=_by_history(run, metric),
        speed=_speed(run, metric, overall),
        repeats=[
            found
            for method in run.methods
            if (found := repeated(method, [*run.of[method].values()], metric))
        ],
    )


def costs(run: Run) -> dict[str, Cost]:
    """Each method's cost."""
    return {method: cost_of(method, [*run.of[method].values()]) for method in run.methods}


def user_rows(run: Run) -> list[dict[str, Any]]:
    """Each user with the number of samples, the history and every method's scores, as plain data.

    ``scores`` has by metric one mean a method, None where nothing was scored.
    """
    of_user: dict[str, dict[str, list[Record]]] = {}
    for record in run.records:
        of_user.setdefault(record.user_id, {}).setdefault(record.method, []).append(record)
    metrics = [run_metric(run, name) for name in run.metrics]
    return [
        {
            "id": user,
            "samples": len({r.sample_id for records in own.values() for r in records}),
            "history": max(r.history for records in own.values() for r in records),
            "scores": {
                metric.name: [_plain_mean(own.get(method, []), metric) for method in run.methods]
                for metric in metrics
            },
        }
        for user, own in of_user.items()
    ]


def _plain_mean(records: Sequence[Record], metric: Metric) -> float | None:
    fine = [record for record in records if not record.error]
    if metric.sums is not None:
        parts = metric.sums.parts([(r.output, r.gold) for r in fine if r.gold.strip()])
        value = float(metric.sums.score(parts.sum(axis=0))) if len(parts) else math.nan
        return None if math.isnan(value) else round(value, 5)
    scores = [s for r in fine if (s := r.scores.get(metric.name)) is not None]
    return round(statistics.fmean(scores), 5) if scores else None


def _forests(run: Run, metric: Metric) -> list[Forest]:
    """For every method as the reference; each pair's difference is worked out once."""
    between: dict[tuple[str, str], Difference] = {}
    for n, second in enumerate(run.methods):
        for first in run.methods[n + 1 :]:
            own, other = ([*run.of[method].values()] for method in (first, second))
            difference = metric_difference(own, other, metric)
            if difference.values:
                # To swap the two changes the signs alone: every pattern of swaps has its mirror.
                between[first, second] = difference
                between[second, first] = difference._replace(
                    mean=-difference.mean, low=-difference.high, high=-difference.low
                )
    forests = []
    for reference in run.methods:
        rows = corrected_gaps(
            [
                (method, reference, between[method, reference])
                for method in run.methods
                if (method, reference) in between
            ],
            metric,
        )
        if rows:
            ends = [v for row in rows for v in row.difference[:3]]
            scale = Scale.of([0.0, *ends], reverse=not metric.higher_is_better)
            charts = [
                interval_bar(row.difference.low, row.difference.mean, row.difference.high, scale,
                             row.verdict)
                for row in rows
            ]  # fmt: skip
            users = [row.difference.users for row in rows]
            p_values = p_note(users, f"for the {len(rows)} methods compared with {reference}")
            note = f"Lines are {interval_note(users)}. {p_values}."
            forests.append(
                Forest(reference, tuple(zip(rows, charts, strict=True)), axis(scale), note)
            )
    return forests


def _by_history(run: Run, metric: Metric) -> Groups | None:
    """Groups of about as many samples each, by how much history their users have."""
    lengths = sorted({r.sample_id: r.history for r in run.records}.values())
    if not lengths or lengths[0] == lengths[-1]:
        return None
    ends = set(lengths)
    if len(ends) > _MOST_BINS:
        ends = {lengths[-(-len(lengths) * n // _MOST_BINS) - 1] for n in range(1, _MOST_BINS + 1)}
    groups, start = [], lengths[0]
    for end in sorted(ends):
        inside = {length for length in lengths if start <= length <= end}
        low = min(inside)
        groups.append((str(end) if low == end else f"{low}–{end}", inside))
        start = end + 1
    return _groups(run, metric, groups, "history", "earlier samples of the user")


def _groups(
    run: Run,
    metric: Metric,
    groups: Sequence[tuple[str, set[Any]]],
    of: str,
    across: str = "",
) -> Groups:
    rows = []
    for method in run.methods:
        own = run.of[method].values()
        rows.append(
            (
                method,
                tuple(
                    metric_estimate(
                        [r for r in own if getattr(r, of) in inside],
                        metric,
                        resamples=_GROUP_RESAMPLES,
                    )
                    for _, inside in groups
                ),
            )
        )
    labels = tuple(label for label, _ in groups)
    chart = line_chart(
        [
            (n, [ChartPoint(x, e.mean, e.low, e.high) for x, e in enumerate(found)])
            for n, (_, found) in enumerate(rows)
        ],
        labels,
        title=f"{metric.name} by {across}; the table beside it has the numbers",
        across=across,
    )
    return Groups(
        labels=labels,
        samples=tuple(
            len({r.sample_id for r in run.records if getattr(r, of) in inside})
            for _, inside in groups
        ),
        rows=tuple(rows),
        chart=chart if across else None,
    )


def _speed(run: Run, metric: Metric, overall: dict[str, Estimate]) -> Speed | None:
    spent = costs(run)
    latency = {method: cost.latency for method, cost in spent.items()}
    together = {method: cost.batch_seconds for method, cost in spent.items()}
    alone = not all(map(math.isnan, latency.values()))
    took = latency if alone else together
    if not any(seconds > 0 for seconds in took.values()):
        return None
    points = [
        (
            n,
            ChartPoint(
                took[method], overall[method].mean, overall[method].low, overall[method].high
            ),
        )
        for n, method in enumerate(run.methods)
    ]
    what = "seconds a sample, answered alone" if alone else "seconds a sample, answered in batches"
    chart = scatter(
        points,
        title=f"{metric.name} against {what}; the first table has the numbers",
        across=f"{what} (mean)",
    )
    return Speed("Quality against latency" if alone else "Quality against time", chart)
