"""The tables: right numbers in the right cells, plain where there is no terminal."""

import io
import math

import pytest
from rich.console import Console

from trimtab.commands.console.shop_table import print_tables
from trimtab.eval.runs.record import Record
from trimtab.eval.shop.summary import accuracies, differences, summary

ARMS = ["unsteered", "steered"]


def scored(arm, user, kind, function, result, number=0, error=""):
    return ScoredEpisode(arm, f"{user}-{kind}-{number}", user, kind, function, result, None, error)


EPISODES = [
    scored("unsteered", "ann", "search", 0.0, 0.0),
    scored("unsteered", "ann", "review", 1.0, 0.4),
    scored("unsteered", "bob", "search", 1.0, 0.8),
    scored("unsteered", "bob", "review", math.nan, math.nan, error="fire"),
    scored("steered", "ann", "search", 1.0, 0.5),
    scored("steered", "ann", "review", 1.0, 0.6),
    scored("steered", "bob", "search", 1.0, 0.8),
    scored("steered", "bob", "review", 1.0, 1.0),
]


def printed(episodes, arms=ARMS, **options):
    console = Console(file=io.StringIO(), width=60, **options)
    print_tables(console, episodes, arms, "steered")
    return console.file.getvalue()


def test_means_are_by_type_and_over_all_and_leave_out_what_broke():
    found = {(a.arm, a.measure, a.type): a.estimate for a in accuracies(EPISODES, ARMS)}
    assert found["unsteered", "function", "search"].mean == 0.5
    assert found["unsteered", "function", "review"].mean == 1.0
    assert found["unsteered", "function", "review"].values == 1
    assert found["unsteered", "result", "all"].mean == pytest.approx(0.4)
    assert found["steered", "result", "all"].mean == pytest.approx(2.9 / 4)
    assert math.isnan(found["steered", "function", "recommend"].mean)


def test_differences_are_over_the_tasks_that_both_have():
    found = {d.measure: d for d in differences(EPISODES, ARMS, "steered")}
    assert found["function"].difference.mean == pytest.approx(1 / 3)
    assert found["result"].difference.mean == pytest.approx((0.5 + 0.2 + 0.0) / 3)
    assert found["function"].difference.values == 3
    assert (found["function"].arm, found["function"].other) == ("steered", "unsteered")
    without = [e for e in EPISODES if not (e.arm == "unsteered" and e.user_id == "ann")]
    [difference, _] = differences(without, ARMS, "steered")
    assert difference.difference.values == 1
    assert differences(EPISODES, ["unsteered"], "steered") == []


def test_a_pipe_gets_plain_text_that_is_never_folded():
    text = printed(EPISODES)
    assert "\x1b" not in text
    [row] = [line for line in text.splitlines() if line.startswith("unsteered  ")][:1]
    assert "0.50 (0.00 to 1.00)" in row
    assert "recommend" not in text
    [row] = [line for line in text.splitlines() if line.startswith("steered") and "+" in line]
    assert row.split()[:2] == ["steered", "+0.333"]
    broken = [line.split()[-1] for line in text.splitlines() if line.startswith("unsteered")][-1]
    assert broken == "1"


def test_the_run_tells_the_p_values_of_its_report():
    """Five users who gain and lose at once: two arms are compared, so Holm doubles 0.0625."""
    users = [f"u{n}" for n in range(5)]
    episodes = [
        scored(arm, user, "search", gain, gain)
        for user in users
        for arm, gain in (("unsteered", 0.0), ("memory", 1.0), ("steered", 1.0))
    ]
    text = printed(episodes, ["unsteered", "memory", "steered"])
    rows = [line.split() for line in text.splitlines() if "+1.000" in line]
    assert [(row[0], row[5]) for row in rows] == [("memory", "0.125"), ("steered", "0.125")]
    assert "fewer than 6 users no p can be below 0.05" in " ".join(text.split())


def test_no_zero_is_below_zero():
    text = printed(
        [e for e in EPISODES if e.user_id == "bob"]
        + [
            scored("unsteered", "eve", "search", 1.0, 0.0001),
            scored("steered", "eve", "search", 1.0, 0.0),
        ]
    )
    assert "-0.000 " not in text and "-0.00 " not in text


def test_a_terminal_gets_colour_within_its_width():
    text = printed(EPISODES, force_terminal=True)
    assert "\x1b[" in text
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    print_tables(console, EPISODES, ARMS, "steered")
    assert max(len(line) for line in console.file.getvalue().splitlines()) <= 60


def test_one_user_and_no_episode_are_shown_without_made_up_numbers():
    text = printed([e for e in EPISODES if e.user_id == "ann"])
    assert "nan" not in text
    assert " to " not in text.replace("to go", "")
    assert "nan" not in printed([])


def test_the_summary_has_none_for_what_is_not_known():
    plain = summary(EPISODES, ARMS, "steered")
    [missing] = [
        a
        for a in plain["accuracies"]
        if (a["arm"], a["measure"], a["type"]) == ("steered", "result", "recommend")
    ]
    assert missing["mean"] is None and missing["values"] == 0
    assert plain["differences"][0]["users"] == 2


def test_average_steps_are_a_table_of_the_multi_turn_track():
    from types import SimpleNamespace

    def played(arm, user, kind, steps):
        episode = SimpleNamespace(steps=[None] * steps)
        return ScoredEpisode(arm, f"{user}-{kind}", user, kind, 1.0, 1.0, episode)

    episodes = [
        played("unsteered", "ann", "search", 2),
        played("unsteered", "ann", "review", 5),
        played("steered", "ann", "search", 1),
        ScoredEpisode("steered", "ann-review", "ann", "review", math.nan, math.nan, None, "fire"),
    ]
    found = {(a.arm, a.type): a.estimate.mean for a in accuracies(episodes, ARMS, ["steps"])}
    assert found["unsteered", "all"] == 3.5
    assert found["steered", "all"] == 1.0  # what broke off has no steps
    assert math.isnan(found["steered", "review"])
    assert {a["measure"] for a in summary(episodes, ARMS, "steered")["accuracies"]} == {
        "function",
        "result",
        "steps",
    }
    assert "average steps" not in printed(EPISODES)
    console = Console(file=io.StringIO(), width=100)
    print_tables(console, [e for e in EPISODES], ARMS, "steered", steps=True)
    assert "average steps" in console.file.getvalue()
