"""The tables: right numbers in the right cells, plain where there is no terminal."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from trimtab.agent.loop.episode import Episode, Step
from trimtab.commands.console.shop_table import print_shop
from trimtab.eval.runs.record import Record, Run
from trimtab.eval.shop.summary import accuracies, shop_summary
from trimtab.eval.statistics.standings import standings

METHODS = ["zero-shot", "fints"]


def scored(method, user, kind, function, result, number=0, error="", steps=0):
    step = Step(None, "", "", None, None, (), 1, 1, 0, 0.1)
    episode = Episode("t", user, "r", (), (), (step,) * steps, "done").to_json()
    return Record(
        method=method,
        sample_id=f"{user}-{kind}-{number}",
        user_id=user,
        kind=kind,
        scores={} if error else {"function": function, "result": result},
        error=error,
        detail={"episode": episode} if steps else {},
    )


RECORDS = [
    scored("zero-shot", "ann", "search", 0.0, 0.0),
    scored("zero-shot", "ann", "review", 1.0, 0.4),
    scored("zero-shot", "bob", "search", 1.0, 0.8),
    scored("zero-shot", "bob", "review", math.nan, math.nan, error="fire"),
    scored("fints", "ann", "search", 1.0, 0.5),
    scored("fints", "ann", "review", 1.0, 0.6),
    scored("fints", "bob", "search", 1.0, 0.8),
    scored("fints", "bob", "review", 1.0, 1.0),
]


def run_of(records, methods=METHODS, track="single"):
    named = {
        "task": "shop",
        "metrics": ["function", "result"],
        "methods": {method: {} for method in methods},
        "track": track,
    }
    return Run(Path(), named, tuple(records))


def printed(records, methods=METHODS, track="single", width=60, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    run = run_of(records, methods, track)
    print_shop(console, run, standings(run))
    return console.file.getvalue()


def test_means_are_by_type_and_over_all_and_leave_out_what_broke():
    found = {(a.method, a.measure, a.type): a.estimate for a in accuracies(RECORDS, METHODS)}
    assert found["zero-shot", "function", "search"].mean == 0.5
    assert found["zero-shot", "function", "review"].mean == 1.0
    assert found["zero-shot", "function", "review"].values == 1
    assert found["zero-shot", "result", "all"].mean == pytest.approx(0.4)
    assert found["fints", "result", "all"].mean == pytest.approx(2.9 / 4)
    assert math.isnan(found["fints", "function", "recommend"].mean)


def test_differences_are_over_the_tasks_that_both_have():
    [function] = [g for g in standings(run_of(RECORDS)).gaps if g.metric == "function"]
    assert function.difference.mean == pytest.approx(1 / 3)
    assert function.difference.values == 3


def test_a_pipe_gets_plain_text_that_is_never_folded():
    text = printed(RECORDS)
    assert "\x1b" not in text
    row = next(line for line in text.splitlines() if line.startswith("zero-shot  "))
    assert "0.50 (0.00 to 1.00)" in row
    assert "recommend" not in text
    [row] = [line for line in text.splitlines() if line.startswith("fints") and "+" in line]
    assert row.split()[:2] == ["fints", "+0.333"]
    broken = [line.split()[-1] for line in text.splitlines() if line.startswith("zero-shot")][-1]
    assert broken == "1"


def test_the_run_tells_the_p_values_of_its_report():
    """Five users who gain and lose at once: two methods are compared, so Holm doubles 0.0625."""
    users = [f"u{n}" for n in range(5)]
    records = [
        scored(method, user, "search", gain, gain)
        for user in users
        for method, gain in (("zero-shot", 0.0), ("rag", 1.0), ("fints", 1.0))
    ]
    text = printed(records, ["zero-shot", "rag", "fints"])
    rows = [line.split() for line in text.splitlines() if "+1.000" in line]
    assert [(row[0], row[5]) for row in rows] == [("rag", "0.125"), ("fints", "0.125")]
    assert "fewer than 6 users no p can be below 0.05" in " ".join(text.split())


def test_no_zero_is_below_zero():
    text = printed(
        [r for r in RECORDS if r.user_id == "bob"]
        + [
            scored("zero-shot", "eve", "search", 1.0, 0.0001),
            scored("fints", "eve", "search", 1.0, 0.0),
        ]
    )
    assert "-0.000 " not in text and "-0.00 " not in text


def test_a_terminal_gets_colour_within_its_width():
    assert "\x1b[" in printed(RECORDS, force_terminal=True)
    text = printed(RECORDS, force_terminal=True, color_system=None)
    assert max(len(line) for line in text.splitlines()) <= 60


def test_one_user_and_no_episode_are_shown_without_made_up_numbers():
    text = printed([r for r in RECORDS if r.user_id == "ann"])
    assert "nan" not in text
    assert " to " not in text.replace("to go", "")
    assert "nan" not in printed([])


def test_the_summary_has_none_for_what_is_not_known():
    [missing] = [
        a
        for a in shop_summary(RECORDS)["accuracies"]
        if (a["method"], a["measure"], a["type"]) == ("fints", "result", "recommend")
    ]
    assert missing["mean"] is None and missing["values"] == 0


def test_average_steps_are_a_table_of_the_multi_turn_track():
    records = [
        scored("zero-shot", "ann", "search", 1.0, 1.0, steps=2),
        scored("zero-shot", "ann", "review", 1.0, 1.0, steps=5),
        scored("fints", "ann", "search", 1.0, 1.0, steps=1),
        scored("fints", "ann", "review", math.nan, math.nan, error="fire"),
    ]
    found = {(a.method, a.type): a.estimate.mean for a in accuracies(records, METHODS, ["steps"])}
    assert found["zero-shot", "all"] == 3.5
    assert found["fints", "all"] == 1.0  # what broke off has no steps
    assert math.isnan(found["fints", "review"])
    assert {a["measure"] for a in shop_summary(records)["accuracies"]} == {
        "function",
        "result",
        "steps",
    }
    assert "average steps" not in printed(RECORDS)
    assert "average steps" in printed(records, track="multi", width=100)
