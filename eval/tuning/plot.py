"""How good each setting is, by depth and strength: a figure of a search's coarse round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...steering.dictionaries.tuning import Measure, Trial
from ..figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_LABELS: dict[Measure, str] = {
    "margin": "log-sigmoid of the margin, nats",
    "likelihood": "own answer, nats a token",
}


def plot_tuning(trials: Sequence[Trial], by: Measure, path: Path) -> list[Path]:
    """Score against depth, a panel for each set of sites and a line for each strength.

    Args:
        trials: Of one search.
        by: What it went by.
        path: Where to; ``.png`` and ``.svg`` are written beside each other.

    Returns:
        The files.

    Raises:
        TrimtabError: The plots extra is not installed.
    """
    coarse = _coarse(trials)
    sites = list(dict.fromkeys(trial.settings.sites for trial in coarse if trial.settings))
    figure, panels = new_figure(max(len(sites), 1), width=3.2, height=3.0)
    unsteered = next((trial for trial in trials if trial.settings is None), None)
    for panel, own in zip(panels, sites, strict=False):
        found = [trial for trial in coarse if trial.settings and trial.settings.sites == own]
        _panel(panel, found, unsteered, by)
        panel.set_title(" + ".join(own), fontsize=10)
        panel.set_xlabel("depth")
        panel.set_xticks(sorted({_depth(trial) for trial in coarse}))
    panels[0].set_ylabel(_LABELS[by])
    if sites:
        panels[-1].legend(title="strength", fontsize=8, title_fontsize=8, frameon=False)
    return save_figure(figure, path)


def _coarse(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that differ from the first steered one in sites, depths and strength alone."""
    steered = [trial for trial in trials if trial.settings is not None]
    if not steered:
        return []
    first = steered[0].settings
    assert first is not None

    def rest(trial: Trial) -> tuple[object, ...]:
        settings = trial.settings
        assert settings is not None
        return tuple(
            value
            for name, value in vars(settings).items()
            if name not in ("sites", "depths", "strength")
        )

    return [trial for trial in steered if rest(trial) == rest(steered[0])]


def _panel(panel: Axes, trials: Sequence[Trial], unsteered: Trial | None, by: Measure) -> None:
    lines: dict[float, list[tuple[float, float]]] = {}
    for trial in trials:
        assert trial.settings is not None
        lines.setdefault(trial.settings.strength, []).append((_depth(trial), trial.score(by)))
    for strength, points in sorted(lines.items()):
        depths, scores = zip(*sorted(points), strict=True)
        panel.plot(depths, scores, marker="o", markersize=3, label=f"{strength:g}")
    if unsteered is not None:
        panel.axhline(unsteered.score(by), linestyle="--", color="grey", label="unsteered")


def _depth(trial: Trial) -> float:
    assert trial.settings is not None
    return sum(trial.settings.depths) / len(trial.settings.depths)
