"""Sparse data: how each method does when only a share of every user's past samples is known."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import TrimtabError
from ..figures import new_figure
from ..statistics.intervals import holm
from ..statistics.notes import interval_note, p_note
from ..statistics.totals import metric_difference, metric_estimate
from .finding import Cell, Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...envs.texts.dataset import TextUser
    from ..runs.record import Record
    from ..statistics.intervals import Estimate
    from .setting import Setting

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)


def sparse_study(setting: Setting, shares: Sequence[float] = SHARES) -> tuple[Finding, Figure]:
    """Run the study at each share of the past samples.

    A smaller share of a user's samples is part of a larger one, chosen at random by the study's
    seed; at least one sample is kept. Methods that know nothing of the user run once.

    Args:
        setting: The study; its first method is the baseline.
        shares: Above 0, up to 1.

    Raises:
        TrimtabError: A share out of range.
    """
    if not shares or not all(0 < share <= 1 for share in shares):
        raise TrimtabError(f"expected shares above 0 and up to 1, got {list(shares)}")
    plan = setting.plan
    metric = setting.metric
    shares = sorted(set(shares))
    fixed = [named for named in plan.methods if named.method.name == "zero-shot"]
    known = setting.run("unpersonalized", methods=fixed) if fixed else {}
    rows: list[tuple[Cell, ...]] = []
    p_values: list[float] = []
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    methods = [named for named in plan.methods if named not in fixed]
    for share in shares:
        users = [thinned(user, share, plan.seed) for user in setting.dataset.users]
        records: dict[str, list[Record]] = dict(known)
        if methods:
            records |= setting.run(f"share-{share:g}", methods=methods, users=users)
        size = sum(len(user.history) for user in users) / len(users)
        for named in plan.methods:
            estimate = metric_estimate(records[named.label], metric)
            lines.setdefault(named.label, []).append((share, estimate))
            gap = metric_difference(records[named.label], records[plan.baseline], metric)
            over = named.label != plan.baseline
            rows.append(
                (
                    f"{100 * share:g} %",
                    size,
                    named.label,
                    *estimate[:3],
                    gap.mean if over else None,
                )
            )
            p_values.append(gap.p_value if over else math.nan)
    rows = [(*row, p) for row, p in zip(rows, holm(p_values), strict=True)]
    finding = Finding(
        "sparse",
        f"{metric.name} by the share of past samples",
        (
            *("share", "samples a user", "method", metric.name, "low", "high"),
            *(f"minus {plan.baseline}", "p (Holm)"),
        ),
        tuple(rows),
        (
            f"{len(setting.dataset.users)} users, {setting.dataset.tests} tests; "
            f"{interval_note([len(setting.dataset.users)])}. A smaller share is part of a larger "
            "one.",
            f"{p_note([len(setting.dataset.users)], 'for all comparisons')}.",
        ),
    )
    return finding, _figure(lines, metric.name)


def thinned(user: TextUser, share: float, seed: int) -> TextUser:
    """The user with a share of their past samples, at least one, in their order."""
    places = list(range(len(user.history)))
    random.Random(f"sparse/{seed}/{user.id}").shuffle(places)
    places_kept = sorted(places[: max(1, round(share * len(places)))])
    return replace(user, history=tuple(user.history[place] for place in places_kept))


def _figure(lines: dict[str, list[tuple[float, Estimate]]], metric: str) -> Figure:
    figure, [panel] = new_figure(1, width=5.5, height=3.6)
    for label, points in lines.items():
        shares = [100 * share for share, _ in points]
        means = [estimate.mean for _, estimate in points]
        [drawn] = panel.plot(shares, means, marker="o", markersize=4, label=label)
        known = [not math.isnan(estimate.low) for _, estimate in points]
        panel.fill_between(
            shares,
            [estimate.low for _, estimate in points],
            [estimate.high for _, estimate in points],
            where=known,
            alpha=0.12,
            color=drawn.get_color(),
        )
    panel.set_xscale("log")
    panel.set_xticks([100 * share for share, _ in next(iter(lines.values()))])
    panel.get_xaxis().set_major_formatter("{x:g}")
    panel.minorticks_off()
    panel.set_xlabel("past samples used, %")
    panel.set_ylabel(metric)
    panel.legend(fontsize=8, frameon=False)
    return figure
