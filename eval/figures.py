"""Figures: made without a display, saved as PNG and SVG, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TrimtabError
from ..files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def check_plots() -> None:
    """Say at once, rather than after the work, that figures cannot be made.

    Raises:
        TrimtabError: The plots extra is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise TrimtabError("figures need matplotlib: pip install 'trimtab[plots]'") from None


def new_figure(
    panels: int, *, width: float, height: float, share_y: bool = True
) -> tuple[Figure, Sequence[Axes]]:
    """A row of panels of the given size in inches, which mostly share the vertical axis.

    Raises:
        TrimtabError: The plots extra is not installed.
    """
    check_plots()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels + 0.6, height), layout="constrained")
    axes = list(figure.subplots(1, panels, sharey=share_y, squeeze=False)[0])
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.3, linewidth=0.5)
    return figure, axes


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write ``path`` with the endings ``.png`` and ``.svg``; returns both."""
    import matplotlib

    written = []
    for ending in ("png", "svg"):
        target = path.with_suffix(f".{ending}")
        # No date and no random ids: the same figure gives the same file.
        with replacing(target) as temporary, matplotlib.rc_context({"svg.hashsalt": "trimtab"}):
            metadata = {"Date": None} if ending == "svg" else None
            figure.savefig(temporary, format=ending, dpi=150, metadata=metadata)
        written.append(target)
    return written
