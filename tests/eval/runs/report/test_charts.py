"""Charts: everything stands where its value says, and inside the drawing."""

import math
import re
from xml.etree import ElementTree

import pytest

from trimtab.eval.runs.report.charts import (
    ChartPoint,
    Scale,
    interval_bar,
    line_chart,
    mark,
    number,
    scatter,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("low", "high", "ticks", "digits"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 1),
        (-0.03, 0.07, [-0.02, 0.0, 0.02, 0.04, 0.06], 2),
        (120.0, 1900.0, [500, 1000, 1500], 0),
    ],
)
def test_ticks_are_round_numbers_inside(low, high, ticks, digits):
    scale = Scale(low, high)
    assert scale.ticks == pytest.approx(ticks)
    assert scale.digits == digits


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scale_runs_from_end_to_end_whichever_way(reverse):
    scale = Scale.of([-1.0, 3.0, NAN], reverse=reverse)
    places = [scale(-1.0), scale(1.0), scale(3.0)]
    assert places == sorted(places, reverse=reverse)
    assert places[1] == 50
    assert all(0 < place < 100 for place in places)


@pytest.mark.parametrize("values", [[], [NAN], [0.7, 0.7], [0.0]])
def test_a_scale_of_one_value_or_none_is_a_scale(values):
    scale = Scale.of(values)
    assert scale.ticks and 0 < scale(values[0] if values and values[0] == values[0] else 0) < 100


def test_a_bar_holds_its_interval_and_has_the_zero_line():
    drawn = ElementTree.fromstring(interval_bar(-0.1, 0.1, 0.3, Scale(-0.2, 0.4), "better"))
    assert drawn.get("class") == "bar better"
    zero, interval = drawn.findall("line")
    [dot] = drawn.findall("circle")

    def place(element, name):
        return float(element.get(name).rstrip("%"))

    assert place(interval, "x1") < place(zero, "x1") < place(dot, "cx") < place(interval, "x2")
    middle = (place(interval, "x1") + place(interval, "x2")) / 2
    assert place(dot, "cx") == pytest.approx(middle, abs=0.02)


def test_a_bar_without_an_interval_has_none():
    assert "interval" not in interval_bar(NAN, 0.1, NAN, Scale(-1, 1), "unclear")


def test_a_line_chart_has_a_dot_for_every_mean_that_is_there():
    series = [
        (0, [ChartPoint(0, 0.1, 0.0, 0.2), ChartPoint(1, 0.5, 0.4, 0.6)]),
        (1, [ChartPoint(0, 0.9, NAN, NAN), ChartPoint(1, NAN, NAN, NAN)]),
    ]
    chart = line_chart(series, ["1–4", "<5>"], title='by "length"', across="history")
    drawn = ElementTree.fromstring(chart)
    assert drawn.get("aria-label") == 'by "length"'
    groups = drawn.findall("g")
    assert [len(group.findall("svg")) for group in groups] == [2, 1]
    assert [len(group.findall("line[@class='interval']")) for group in groups] == [2, 0]
    assert [len(group.findall("line[@class='trend']")) for group in groups] == [1, 0]
    heights = [float(dot.get("y")) for dot in drawn.iter("svg") if dot.get("y")]
    assert heights[2] < heights[1] < heights[0]  # more stands higher
    assert "<5>" in [text.text for text in drawn.iter("text")]


def test_a_scatter_stands_where_its_values_say():
    chart = scatter(
        [
            (0, ChartPoint(1.0, 0.2, 0.1, 0.3)),
            (1, ChartPoint(3.0, 0.8, 0.7, 0.9)),
            (2, ChartPoint(NAN, 1, 1, 1)),
        ],
        title="t",
        across="seconds",
    )
    drawn = ElementTree.fromstring(chart)
    one, other = [group.find("svg") for group in drawn.findall("g")]
    assert float(one.get("x").rstrip("%")) < float(other.get("x").rstrip("%"))
    assert float(one.get("y")) > float(other.get("y"))


def test_more_series_than_colours_differ_in_their_marks():
    drawn = [mark(n) for n in range(24)]
    assert len(set(drawn)) == 24
    assert all(re.search(r'class="key s[0-7]"', one) for one in drawn)


@pytest.mark.parametrize(
    ("value", "options", "written"),
    [
        (0.1234, {}, "0.123"),
        (-0.0001, {}, "0.000"),
        (-0.5, {}, "\N{MINUS SIGN}0.500"),
        (0.5, {"signed": True}, "+0.500"),
        (0.0, {"signed": True}, "0.000"),
        (1234.5, {"digits": 0}, "1,234"),
        (NAN, {}, "–"),
    ],
)
def test_numbers_are_written_as_people_read_them(value, options, written):
    assert number(value, **options) == written
