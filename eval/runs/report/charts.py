"""Charts as inline SVG, in the page's own colours.

Places across are in percent and places down in pixels, with no view box: a chart is as wide as what
it stands in, and its text and marks keep their size. Colours come from the page's style sheet by
class, so that they follow the theme; every series has its own mark too, for eyes and paper that
tell no colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

_MARKS = (
    '<circle class="mark" r="4.5"/>',
    '<rect class="mark" x="-4" y="-4" width="8" height="8"/>',
    '<path class="mark" d="M0 -5.5L5 4H-5Z"/>',
    '<path class="mark" d="M0 -5.5L5.5 0L0 5.5L-5.5 0Z"/>',
    '<path class="mark" d="M0 5.5L5 -4H-5Z"/>',
    '<path class="mark" d="M-5 -2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z"/>',
    '<path class="mark" d="M-5 -3L-3 -5L0 -2L3 -5L5 -3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z"/>',
    '<circle class="mark hollow" r="4"/>',
)

COLOURS = 8
"""How many series the style sheet has a colour for; more begin anew, with another mark."""

_LEFT, _RIGHT = 13.0, 97.0
_TOP, _BOTTOM = 12.0, 200.0
_HEIGHT = 248


class ChartPoint(NamedTuple):
    """A value with its interval; NaN ends where there is none."""

    x: float
    mean: float
    low: float
    high: float


def mark(series: int) -> Markup:
    """The mark of a series, for legends and tables."""
    return Markup(
        '<svg class="key s{}" width="14" height="14" aria-hidden="true">'
        '<g transform="translate(7 7)">{}</g></svg>'
    ).format(series % COLOURS, _shape(series))


def interval_bar(low: float, mean: float, high: float, scale: Scale, label: str) -> Markup:
    """One row of a forest plot: an interval, its mean, and the line of no difference."""
    parts = [Markup('<line class="zero" x1="{0}%" x2="{0}%" y1="0" y2="24"/>').format(scale(0))]
    if not math.isnan(low):
        parts.append(
            Markup('<line class="interval" x1="{}%" x2="{}%" y1="12" y2="12"/>').format(
                *sorted((scale(low), scale(high)))
            )
        )
    parts.append(
        Markup('<circle class="mark" cx="{}%" cy="12" r="4.5"/>').format(scale(mean)),
    )
    return Markup('<svg class="bar {}" height="24" aria-hidden="true">{}</svg>').format(
        label, Markup("").join(parts)
    )


def axis(scale: Scale) -> Markup:
    """The numbers below a forest plot."""
    labels = [
        Markup('<text class="{}" x="{}%" y="11" text-anchor="middle">{}</text>').format(
            # Where there is little room, every other one is shown, and zero in any case.
            "between" if round(tick / scale.step) % 2 else "",
            scale(tick),
            number(tick, signed=True, digits=scale.digits),
        )
        for tick in scale.ticks
    ]
    return Markup('<svg class="axis" height="15" aria-hidden="true">{}</svg>').format(
        Markup("").join(labels)
    )


def line_chart(
    series: Sequence[tuple[int, Sequence[ChartPoint]]],
    labels: Sequence[str],
    *,
    title: str,
    across: str,
) -> Markup:
    """Means with intervals over groups that have an order; ``x`` is the group's number.

    Args:
        series: Each with its number, which gives its colour and mark.
        labels: The groups' names.
        title: What a person who cannot see it is told.
        across: What the groups are.
    """
    scale = Scale.of([v for _, points in series for p in points for v in p[1:]])
    slot = (_RIGHT - _LEFT) / max(1, len(labels))

    def place(point: ChartPoint, series_at: int) -> float:
        # Side by side within the group, so that intervals do not hide each other.
        aside = (series_at - (len(series) - 1) / 2) * min(3.0, slot * 0.6 / max(1, len(series)))
        return _LEFT + slot * (point.x + 0.5) + aside

    parts = [_levels(scale)]
    for at, (number_of, points) in enumerate(series):
        there = [point for point in points if not math.isnan(point.mean)]
        inner = [
            _line("trend", place(a, at), _down(a.mean, scale), place(b, at), _down(b.mean, scale))
            for a, b in pairwise(there)
        ]
        inner += [_dot(place(point, at), point, scale, number_of) for point in there]
        parts.append(_group(number_of, inner))
    for n, label in enumerate(labels):
        parts.append(_text(_LEFT + slot * (n + 0.5), _BOTTOM + 18, label))
    parts.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 38, across, "caption"))
    return _chart(title, parts)


def scatter(points: Sequence[tuple[int, ChartPoint]], *, title: str, across: str) -> Markup:
    """One point a series, with the interval of its height."""
    heights = Scale.of([v for _, point in points for v in point[1:]])
    widths = Scale.of([0.0, *(point.x for _, point in points)])

    def right(x: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * widths(x) / 100

    parts = [_levels(heights)]
    for tick in widths.ticks:
        parts.append(
            _text(right(tick), _BOTTOM + 18, number(tick, digits=widths.digits)),
        )
    for number_of, point in points:
        if not math.isnan(point.mean) and not math.isnan(point.x):
            parts.append(_group(number_of, [_dot(right(point.x), point, heights, number_of)]))
    parts.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 38, across, "caption"))
    return _chart(title, parts)


class Scale:
    """From values to percent, with round ticks inside.

    Args:
        low: The least value to show.
        high: The greatest.
        reverse: Whether greater values stand to the left.
    """

    def __init__(self, low: float, high: float, *, reverse: bool = False) -> None:
        margin = 0.05 * (high - low)
        self.low, self.high, self.reverse = low - margin, high + margin, reverse
        self.step = _round_step(high - low)
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        self.ticks = [n * self.step for n in range(first, last + 1)]
        self.digits = max(0, -math.floor(math.log10(self.step) + 1e-9))

    @classmethod
    def of(cls, values: Sequence[float], *, reverse: bool = False) -> Scale:
        """A scale that holds all values that are there."""
        there = [value for value in values if not math.isnan(value)] or [0.0]
        low, high = min(there), max(there)
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        return cls(low, high, reverse=reverse)

    def __call__(self, value: float) -> float:
        """Where a value stands, in percent."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * (1 - share if self.reverse else share), 2)


def number(value: float, *, digits: int = 3, signed: bool = False) -> str:
    """A number as people read it: no minus zero, and a dash for none."""
    if math.isnan(value):
        return "–"
    rounded = round(value, digits) + 0.0
    written = format(rounded, f"{'+' if signed and rounded else ''},.{digits}f")
    return written.replace("-", "\N{MINUS SIGN}")


def _round_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that there are three to six ticks."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= 5)


def _shape(series: int) -> Markup:
    shift = series // COLOURS  # the same colour again gets another mark
    return Markup(_MARKS[(series + shift) % len(_MARKS)])


def _down(value: float, scale: Scale) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * scale(value) / 100, 1)


def _levels(scale: Scale) -> Markup:
    parts = []
    for tick in scale.ticks:
        y = _down(tick, scale)
        parts.append(_line("level", _LEFT, y, _RIGHT, y))
        parts.append(
            Markup('<text x="{}%" y="{}" text-anchor="end">{}</text>').format(
                _LEFT - 1.5, y + 4, number(tick, digits=scale.digits)
            )
        )
    return Markup("").join(parts)


def _dot(x: float, point: ChartPoint, scale: Scale, series: int) -> Markup:
    interval = Markup("")
    if not math.isnan(point.low):
        interval = _line("interval", x, _down(point.low, scale), x, _down(point.high, scale))
    # A nested svg, as a percentage cannot stand in a transform.
    return interval + Markup('<svg x="{:.2f}%" y="{}" overflow="visible">{}</svg>').format(
        x, _down(point.mean, scale), _shape(series)
    )


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.2f}%" y1="{}" x2="{:.2f}%" y2="{}"/>').format(
        kind, x1, y1, x2, y2
    )


def _text(x: float, y: float, text: str, kind: str = "") -> Markup:
    return Markup('<text class="{}" x="{:.2f}%" y="{}" text-anchor="middle">{}</text>').format(
        kind, x, y, text
    )


def _group(series: int, parts: Sequence[Markup]) -> Markup:
    return Markup('<g class="s{}">{}</g>').format(series % COLOURS, Markup("").join(parts))


def _chart(title: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" role="img" aria-label="{}" height="{}">{}</svg>').format(
        title, _HEIGHT, Markup("").join(parts)
    )
