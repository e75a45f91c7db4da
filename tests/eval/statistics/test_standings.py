"""How methods stand: against counts by hand, and personal only over both controls."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from trimtab.commands.console.standings_table import print_standings
from trimtab.eval.methods.registry import parse_methods, with_controls
from trimtab.eval.runs.record import Record, Run
from trimtab.eval.statistics.standings import standings as work_out
from trimtab.eval.texts.plan import TextPlan


def study_of(methods, task="headlines", **given):
    return TextPlan(task, tuple(with_controls(parse_methods(methods))), **given)


def standings(records, study):
    """Of a run with these records under the study's methods."""
    configuration = {
        "task": study.task,
        "metrics": list(study.metrics),
        "methods": {named.label: {} for named in study.methods},
        "baseline": study.baseline,
    }
    return work_out(Run(Path(), configuration, tuple(records)))


def records_of(values, metric="log-likelihood", users=20, noise=0.02, **more):
    """Records of each method, one a user, around its value."""
    found = []
    for place, (method, value) in enumerate(values.items()):
        drawn = np.random.default_rng(place).normal(value, noise, users)
        found += [
            Record(
                method,
                f"s{n}",
                f"u{n}",
                scores={metric: float(score)},
                gold="3",
                output="3",
                **more,
            )
            for n, score in enumerate(drawn)
        ]
    return found


STEERED = {"zero-shot": -3.0, "fints": -2.5, "fints-other": -2.8, "fints-population": -2.6}


def test_scores_and_gaps_are_means_over_samples():
    found = records_of(STEERED)
    told = standings(found, study_of("zero-shot,fints", generate=False))
    by = {m: [r.scores["log-likelihood"] for r in found if r.method == m] for m in STEERED}
    assert [s.method for s in told.scores] == list(STEERED)
    for score in told.scores:
        assert score.estimate.mean == pytest.approx(np.mean(by[score.method]))
    assert [(gap.method, gap.other) for gap in told.gaps] == [
        (m, "zero-shot") for m in ("fints", "fints-other", "fints-population")
    ]
    for gap in told.gaps:
        difference = np.subtract(by[gap.method], by["zero-shot"])
        assert gap.difference.mean == pytest.approx(difference.mean())
        test = scipy.stats.ttest_1samp(difference, 0).pvalue
        assert (gap.p_value < 0.05) == (test < 0.05 / 3)
    # Three gaps are told together, so the smallest p is three times as large.
    assert min(g.p_value for g in told.gaps) == pytest.approx(
        3 * min(g.difference.p_value for g in told.gaps)
    )


@pytest.mark.parametrize(
    ("change", "gain"),
    [
        ({}, 0.1),
        ({"fints-other": -2.5}, None),
        ({"fints-population": -2.4}, None),
        ({"fints": -2.7}, None),
    ],
)
def test_only_what_is_over_both_controls_is_personal(change, gain):
    told = standings(records_of({**STEERED, **change}), study_of("zero-shot,fints", generate=False))
    [personal] = told.personal
    assert {gap.other for gap in personal.controls} == {"fints-other", "fints-population"}
    assert personal.gain == (gain if gain is None else pytest.approx(gain, abs=0.02))


def test_of_errors_less_is_better():
    values = {"zero-shot": 1.5, "fints": 1.0, "fints-other": 1.3, "fints-population": 1.2}
    told = standings(records_of(values, "mae"), study_of("zero-shot,fints", task="lamp-3"))
    [personal] = [p for p in told.personal if p.metric == "mae"]
    assert personal.gain == pytest.approx(-0.2, abs=0.03)
    worse = {**values, "fints-population": 0.8}
    told = standings(records_of(worse, "mae"), study_of("zero-shot,fints", task="lamp-3"))
    assert [p.gain for p in told.personal if p.metric == "mae"] == [None]


def test_a_score_over_all_samples_is_that_of_the_outputs():
    study = study_of("zero-shot,rag", task="lamp-2m")
    found = [
        Record(m, f"s{n}", f"u{n}", output=out, gold=gold, scores={"accuracy": float(out == gold)})
        for m in ("zero-shot", "rag")
        for n, (out, gold) in enumerate([("comedy", "comedy"), ("action", "comedy")] * 4)
    ]
    told = standings(found, study)
    estimate = {s.metric: s.estimate for s in told.scores if s.method == "rag"}
    assert estimate["macro-f1"].mean == pytest.approx(2 / 3 / 15)  # of 15 tags, one has an F1
    assert estimate["accuracy"].mean == 0.5


def test_errors_are_left_out_and_what_was_not_steered_is_counted():
    found = records_of({"zero-shot": -3.0, "fints": -2.0}, users=4, detail={"steered": False})
    found[-1] = Record("fints", "s3", "u3", error="RuntimeError: broke")
    told = standings(found, study_of("zero-shot,fints", generate=False))
    costs = {cost.method: cost for cost in told.costs}
    assert (costs["fints"].samples, costs["fints"].errors, costs["fints"].unsteered) == (3, 1, 3)
    assert [gap.difference.values for gap in told.gaps] == [3]
    json.dumps(told.to_json(), allow_nan=False)


def test_nothing_yet_is_no_table():
    console = Console(file=io.StringIO(), width=80)
    told = standings([], study_of("zero-shot,fints"))
    print_standings(console, told)
    assert console.file.getvalue() == ""
    json.dumps(told.to_json(), allow_nan=False)


def test_times_are_told_for_what_they_are():
    def cost_of(**batch):
        records = [
            Record("m", f"s{n}", "u", seconds=n + 1.0, detail={"batch": b} if b else {})
            for n, b in enumerate(batch["of"])
        ]
        return standings(records, study_of("zero-shot")).costs[0]

    alone, together, unknown = cost_of(of=[1, 1]), cost_of(of=[48, 48]), cost_of(of=[None, 48])
    assert alone.latency == 1.5 and math.isnan(alone.batch_seconds)
    assert together.batch_seconds == 1.5 and math.isnan(together.latency)
    # Of a batch, a sample's own latency cannot be told, nor anything of what was not kept.
    assert math.isnan(unknown.latency) and math.isnan(unknown.batch_seconds)
    assert math.isnan(cost_of(of=[1, 48]).latency)


@pytest.mark.parametrize(
    ("users", "intervals", "floor"),
    [
        (24, "95 % intervals over users (bootstrap)", False),
        (9, "(t, as there are fewer than 20 users)", False),
        (5, "(t, as there are fewer than 20 users)", True),
    ],
)
def test_the_foot_tells_how_it_was_worked_out(users, intervals, floor):
    console = Console(file=io.StringIO(), width=300)
    found = records_of(STEERED, users=users)
    print_standings(console, standings(found, study_of("zero-shot,fints", generate=False)))
    text = " ".join(console.file.getvalue().split())
    assert intervals in text
    assert "corrected (Holm) for the 3 methods compared" in text
    assert ("fewer than 6 users no p can be below 0.05" in text) == floor
    assert "its p is the largest of the three" in text


def test_summary_tells_the_p_values_of_the_tables():
    told = standings(records_of(STEERED), study_of("zero-shot,fints", generate=False))
    plain = json.loads(json.dumps(told.to_json(), allow_nan=False))
    assert [d["p_holm"] for d in plain["differences"]] == [gap.p_value for gap in told.gaps]
    assert {d["comparisons"] for d in plain["differences"]} == {3}
    [personal] = plain["personal"]
    assert (personal["p_holm"], personal["comparisons"]) == (told.personal[0].p_value, 1)
    assert [d["other"] for d in personal["over"]] == [
        "zero-shot",
        "fints-other",
        "fints-population",
    ]


def test_tables_show_the_controls_and_the_gain():
    console = Console(file=io.StringIO(), width=80)
    print_standings(
        console, standings(records_of(STEERED), study_of("zero-shot,fints", generate=False))
    )
    text = console.file.getvalue()
    for line in ("fints-other", "fints minus fints-population", "personal gain of fints"):
        assert line in text
    [gain] = [row for row in text.splitlines() if row.startswith("personal gain of fints")]
    assert gain.split()[-2].startswith("+0.") and float(gain.split()[-1]) < 0.05
    worse = standings(
        records_of({**STEERED, "fints-other": -2.4}), study_of("zero-shot,fints", generate=False)
    )
    console = Console(file=io.StringIO(), width=80)
    print_standings(console, worse)
    assert "none shown" in console.file.getvalue()


def test_repeats_of_sampled_runs_tell_their_spread_and_pass_k():
    def record(method, sample, repeat, right, **more):
        again = f"#{repeat}" if repeat else ""
        score = {"scores": {"accuracy": right}} if right is not None else {"error": "out of memory"}
        return Record(method, f"u/{sample}{again}", "u", detail={"repeat": repeat}, **score, **more)

    tries = {"a": [1.0, 1.0, 1.0], "b": [1.0, 0.0, 1.0], "c#1": [0.0, 0.0, 0.0]}
    records = [
        record("zero-shot", sample, repeat, right)
        for sample, own in tries.items()
        for repeat, right in enumerate(own)
    ]
    # A sample that one repeat failed on is in no spread.
    records += [record("zero-shot", "d", n, right) for n, right in enumerate([1.0, None, 1.0])]
    study = study_of("zero-shot", task="lamp-2n", temperature=1.0, repeats=3)
    told = standings(records, study)
    [found] = [repeated for repeated in told.repeats if repeated.metric == "accuracy"]
    means = [2 / 3, 1 / 3, 2 / 3]
    assert found.spread.mean == pytest.approx(np.mean(means))
    assert found.spread.deviation == pytest.approx(np.std(means, ddof=1))
    assert found.spread.within == pytest.approx(np.var([1, 0, 1], ddof=1) / 3)
    assert found.passed == pytest.approx(1 / 3)
    assert (found.spread.runs, found.spread.tasks) == (3, 3)
    console = Console(file=io.StringIO(), width=120)
    print_standings(console, told)
    printed = console.file.getvalue()
    assert "accuracy over 3 repeats" in printed and "pass^3" in printed and "0.333" in printed
    assert json.loads(json.dumps(told.to_json(), allow_nan=False))["repeats"][0]["passed"]


def test_a_score_that_is_no_right_or_wrong_has_no_pass_k():
    records = [
        Record("zero-shot", f"s{n}" + (f"#{r}" if r else ""), f"u{n}",
               scores={"rouge-1": 0.2 * n + 0.1 * r}, detail={"repeat": r})
        for n in range(3) for r in range(2)
    ]  # fmt: skip
    told = standings(records, study_of("zero-shot", temperature=1.0, repeats=2))
    [found] = [repeated for repeated in told.repeats if repeated.metric == "rouge-1"]
    assert np.isnan(found.passed) and found.spread.deviation == pytest.approx(0.1 / 2**0.5)
    assert told.to_json()["repeats"][0]["passed"] is None
    once = [record for record in records if not record.repeat]
    assert standings(once, study_of("zero-shot")).repeats == ()
