"""What PerFit is made of: its stages, its two ranks, where it changes the model, and how often.

The four ablations of the paper, each a table and a figure. Everything is measured on the plan's
users: to choose by it, give users that nothing is reported on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...errors import TrimtabError
from ..figures import new_figure
from ..methods.perfit import PerFit
from ..methods.registry import Named
from ..statistics.notes import interval_note
from ..statistics.totals import metric_difference, metric_estimate
from .finding import Cell, Finding
from .setting import unpersonalized

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..runs.record import Record
    from ..statistics.intervals import Difference
    from .setting import Setting

RANKS = (1, 4, 16)
DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)
COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class _Case:
    """One way to train.

    Attributes:
        cells: What tells it from others, as the table has it.
        method: The method.
    """

    cells: tuple[Cell, ...]
    method: PerFit

    @property
    def label(self) -> str:
        """In the run."""
        return "perfit " + " ".join(map(str, self.cells))


def perfit_study(
    setting: Setting,
    ranks: Sequence[int] = RANKS,
    depths: Sequence[float] = DEPTHS,
    counts: Sequence[int] = COUNTS,
) -> tuple[list[Finding], list[Figure]]:
    """Train PerFit in each way, all else as in the study's own method.

    Args:
        setting: The study, with zero-shot and perfit.
        ranks: Of either stage: every pair of them.
        depths: Relative depths, each as the only layer.
        counts: Numbers of layers, spread over the depth.

    Raises:
        TrimtabError: Nothing to try, or the study has no such methods.
    """
    if not (ranks and depths and counts):
        raise TrimtabError("expected at least one rank, one depth and one number of layers")
    baseline = unpersonalized(setting.plan)
    base = _perfit(setting)
    layers = setting.model.layer_count
    stages = [
        _Case(("collective alone",), replace(base, stage=1)),
        _Case(("personal alone",), replace(base, rank_c=0)),
        _Case(
            ("personal alone, both ranks",),
            replace(base, rank_c=0, rank_p=base.rank_c + base.rank_p),
        ),
        _Case(("collective, then personal",), base),
        _Case(("collective, then another's",), replace(base, whose="other")),
    ]
    pairs = [
        _Case((c, p), replace(base, rank_c=c, rank_p=p))
        for c in sorted(set(ranks))
        for p in sorted(set(ranks))
    ]
    single = [
        _Case((layer, layer / layers), replace(base, layers=(layer,)))
        for layer in sorted({setting.model.layer_at(depth) for depth in depths})
    ]
    several = [
        _Case((len(chosen), ", ".join(map(str, chosen))), replace(base, layers=chosen))
        for count in sorted(set(counts))
        for chosen in [_spread(count, layers)]
    ]
    parts = [
        ("perfit-stages", "by stage", ("stages",), stages),
        ("perfit-ranks", "by collective and personal rank", ("rank_c", "rank_p"), pairs),
        ("perfit-depth", "at a single layer", ("layer", "depth"), single),
        ("perfit-layers", "by number of layers", ("layers", "which"), several),
    ]
    findings, figures = [], []
    for name, title, columns, cases in parts:
        methods = [Named(case.label, case.method) for case in cases]
        records = setting.run(name, methods=[baseline, *methods])
        findings.append(_finding(setting, name, title, columns, cases, records, baseline.label))
        gaps = [
            metric_difference(records[case.label], records[baseline.label], setting.metric)
            for case in cases
        ]
        drawn = _squares if name == "perfit-ranks" else _bars
        figures.append(drawn(cases, gaps, setting.metric.name, columns))
    return findings, figures


def _perfit(setting: Setting) -> PerFit:
    for named in setting.plan.methods:
        if isinstance(named.method, PerFit) and named.method.stage == 2 and named.method.rank_c:
            return replace(named.method, whose="own")
    raise TrimtabError("this study needs PerFit in both stages; add perfit to --methods")


def _spread(count: int, layers: int) -> tuple[int, ...]:
    """So many layers, evenly over the depth; at most all of them."""
    count = min(count, layers)
    return tuple(sorted({int((n + 0.5) * layers / count) for n in range(count)}))


def _finding(
    setting: Setting,
    name: str,
    title: str,
    columns: tuple[str, ...],
    cases: Sequence[_Case],
    found: dict[str, list[Record]],
    baseline: str,
) -> Finding:
    metric = setting.metric
    untrained = metric_estimate(found[baseline], metric)
    rows: list[tuple[Cell, ...]] = []
    for case in cases:
        records = found[case.label]
        gap = metric_difference(records, found[baseline], metric)
        trained = next((r.detail.get("trained") for r in records if not r.error), None) or {}
        rows.append(
            (
                *case.cells,
                metric_estimate(records, metric).mean,
                *gap[:3],
                trained.get("parameters_a_user"),
                trained.get("seconds"),
            )
        )
    return Finding(
        name,
        f"PerFit {title}",
        (*columns, metric.name, "minus zero-shot", "low", "high", "numbers a user", "seconds"),
        tuple(rows),
        (
            f"zero-shot: {metric.name} {untrained.mean:.4f} over {untrained.values} tests of "
            f"{untrained.users} users; {interval_note([untrained.users])}.",
        ),
    )


def _bars(
    cases: Sequence[_Case], gaps: Sequence[Difference], metric: str, columns: Sequence[str]
) -> Figure:
    """One mark a case, with its interval."""
    figure, [panel] = new_figure(1, width=max(3.6, 1.1 * len(cases)), height=3.2)
    places = range(len(cases))
    means = np.array([gap.mean for gap in gaps])
    spans = np.array([[g.mean - g.low, g.high - g.mean] for g in gaps]).T
    panel.errorbar(places, means, yerr=np.nan_to_num(spans), fmt="o", markersize=4, capsize=3)
    panel.axhline(0, linestyle="--", linewidth=0.8, color="grey")
    panel.set_xticks(places, [str(case.cells[0]) for case in cases], fontsize=8)
    if isinstance(cases[0].cells[0], str):
        panel.tick_params(axis="x", rotation=15)
    panel.set_xlabel(columns[0])
    panel.set_ylabel(f"{metric} minus zero-shot")
    return figure


def _squares(
    cases: Sequence[_Case], gaps: Sequence[Difference], metric: str, columns: Sequence[str]
) -> Figure:
    """A heat map of collective against personal rank."""
    across, down = (sorted({int(case.cells[n] or 0) for case in cases}) for n in (0, 1))
    gap_of = {case.cells: gap.mean for case, gap in zip(cases, gaps, strict=True)}
    values = np.array([[gap_of[c, p] for c in across] for p in down])
    bound = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else math.nan
    figure, [panel] = new_figure(1, width=4.2, height=3.4)
    drawn = panel.imshow(
        values, aspect="auto", origin="lower", cmap="RdBu", vmin=-bound, vmax=bound
    )
    panel.grid(False)
    for (row, column), value in np.ndenumerate(values):
        panel.text(column, row, f"{value:+.3f}", ha="center", va="center", fontsize=7)
    panel.set_xticks(range(len(across)), [str(rank) for rank in across])
    panel.set_yticks(range(len(down)), [str(rank) for rank in down])
    panel.set_xlabel("collective rank")
    panel.set_ylabel("personal rank")
    figure.colorbar(drawn, ax=panel, label=f"{metric} minus zero-shot")
    return figure
