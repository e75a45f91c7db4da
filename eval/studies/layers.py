"""Score against layer and strength: one steered method, over a grid of the two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...errors import TrimtabError
from ..figures import new_figure
from ..methods.registry import Named
from ..statistics.intervals import holm
from ..statistics.notes import interval_note, p_note
from ..statistics.totals import metric_difference, metric_estimate
from .finding import Cell, Finding
from .setting import steered, unpersonalized

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..statistics.intervals import Difference
    from .setting import Setting

DEPTHS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.72, 0.85, 0.95)
STRENGTHS = (0.5, 1.0, 2.0, 4.0)


def layers_study(
    setting: Setting,
    depths: Sequence[float] = DEPTHS,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[Finding, Figure]:
    """Steer at every pair of depth and strength, all else as in the study's first steered method.

    Args:
        setting: The study, with zero-shot and a method that steers.
        depths: Relative depths, 0 to 1; those that are one layer count once.
        strengths: Multipliers.

    Raises:
        TrimtabError: Nothing to try, or the study has no such methods.
    """
    if not depths or not strengths:
        raise TrimtabError("expected at least one depth and one strength")
    baseline = unpersonalized(setting.plan)
    base = steered(setting.plan)[0]
    layers = {setting.model.layer_at(depth): depth for depth in sorted(depths, reverse=True)}
    grid = {
        (layer, strength): Named(
            f"{base.label} at layer {layer}, strength {strength:g}",
            replace(base.method, depths=(depth,), strength=strength),  # type: ignore[type-var]
        )
        for layer, depth in sorted(layers.items())
        for strength in sorted(set(strengths))
    }
    metric = setting.metric
    records = setting.run("grid", methods=[baseline, *grid.values()])
    unsteered = metric_estimate(records[baseline.label], metric)
    gaps = {
        place: metric_difference(records[named.label], records[baseline.label], metric)
        for place, named in grid.items()
    }
    corrected = dict(zip(gaps, holm([gap.p_value for gap in gaps.values()]), strict=True))
    rows: list[tuple[Cell, ...]] = []
    for (layer, strength), named in grid.items():
        gap = gaps[layer, strength]
        rows.append(
            (
                layer,
                layer / setting.model.layer_count,
                strength,
                metric_estimate(records[named.label], metric).mean,
                *gap[:3],
                corrected[layer, strength],
            )
        )
    finding = Finding(
        "layers",
        f"{metric.name} of {base.label} by layer and strength",
        ("layer", "depth", "strength", metric.name, "minus unsteered", "low", "high", "p (Holm)"),
        tuple(rows),
        (
            f"unsteered: {metric.name} {unsteered.mean:.4f} over {unsteered.values} tests of "
            f"{unsteered.users} users; {interval_note([unsteered.users])}.",
            f"{p_note([unsteered.users], f'for {len(rows)} settings')}.",
        ),
    )
    return finding, _figure(gaps, metric.name, higher=metric.higher_is_better)


def _figure(gaps: dict[tuple[int, float], Difference], metric: str, *, higher: bool) -> Figure:
    layers = sorted({layer for layer, _ in gaps})
    strengths = sorted({strength for _, strength in gaps})
    figure, [lines, squares] = new_figure(2, width=4.6, height=3.4, share_y=False)
    for strength in strengths:
        own = [gaps[layer, strength] for layer in layers]
        [drawn] = lines.plot(
            layers, [gap.mean for gap in own], marker="o", markersize=3, label=f"{strength:g}"
        )
        lines.fill_between(
            layers,
            [gap.low for gap in own],
            [gap.high for gap in own],
            alpha=0.1,
            color=drawn.get_color(),
        )
    lines.axhline(0, linestyle="--", linewidth=0.8, color="grey")
    lines.set_xticks(layers)
    lines.set_xlabel("layer")
    lines.set_ylabel(f"{metric} minus unsteered")
    lines.legend(title="strength", fontsize=8, title_fontsize=8, frameon=False)
    values = np.array([[gaps[layer, s].mean for layer in layers] for s in strengths])
    bound = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else math.nan
    drawn_squares = squares.imshow(
        values,
        aspect="auto",
        origin="lower",
        cmap="RdBu" if higher else "RdBu_r",
        vmin=-bound,
        vmax=bound,
    )
    squares.grid(False)
    for (row, column), value in np.ndenumerate(values):
        squares.text(column, row, f"{value:+.2g}", ha="center", va="center", fontsize=7)
    squares.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    squares.set_yticks(range(len(strengths)), [f"{s:g}" for s in strengths])
    squares.set_xlabel("layer")
    squares.set_ylabel("strength")
    figure.colorbar(drawn_squares, ax=squares, label=f"{metric} minus unsteered")
    return figure
