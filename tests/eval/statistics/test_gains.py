"""Estimates, gaps, and what is called personal."""

import math
from dataclasses import replace

import numpy as np
import pytest

from trimtab.eval.metrics import METRICS, Metric
from trimtab.eval.runs.record import Record, read_run
from trimtab.eval.statistics.gains import corrected_gaps, differences_to, personal_gains, run_metric
from trimtab.eval.statistics.intervals import Difference, holm
from trimtab.eval.statistics.totals import metric_difference, metric_estimate

MORE = Metric("rouge-1", higher_is_better=True)
LESS = Metric("mae", higher_is_better=False)


def record(method, number, value, **other):
    return Record(
        method=method,
        sample_id=f"s{number}",
        user_id=f"u{number // 2}",
        scores={"rouge-1": value, "mae": value},
        **other,
    )


def test_what_failed_or_has_no_score_is_left_out_and_not_counted_as_wrong():
    records = [
        record("a", 0, 1.0),
        record("a", 1, None),
        record("a", 2, 0.5),
        record("a", 3, 0.0, error="fire"),
    ]
    found = metric_estimate(records, MORE)
    assert (found.mean, found.values, found.users) == (0.75, 2, 2)


def test_differences_pair_samples_whatever_their_order():
    first = [record("a", n, value) for n, value in enumerate([0.5, 0.5, 1.0, 0.0])]
    second = [record("b", n, value) for n, value in enumerate([0.0, 0.25, 1.0])][::-1]
    found = metric_difference(first, second, MORE)
    assert found.mean == pytest.approx((0.5 + 0.25 + 0.0) / 3)
    assert found.values == 3
    assert not metric_difference(first, [record("b", 9, 1.0)], MORE).values


@pytest.mark.parametrize(
    ("mean", "p", "metric", "says"),
    [
        (0.2, 0.01, MORE, "better"),
        (0.2, 0.01, LESS, "worse"),
        (-0.2, 0.01, MORE, "worse"),
        (-0.2, 0.01, LESS, "better"),
        (0.2, 0.2, MORE, "unclear"),
        (0.0, 0.01, MORE, "unclear"),
        (0.2, math.nan, MORE, "unclear"),
    ],
)
def test_a_difference_tells_by_its_sense_and_its_p(mean, p, metric, says):
    [gap] = corrected_gaps([("a", "b", Difference(mean, mean, mean, p, 9, 9))], metric)
    assert gap.verdict == says


def test_p_values_told_together_are_corrected():
    found = [("a", str(n), Difference(0.1, 0, 0.2, p, 9, 9)) for n, p in enumerate([0.01, 0.03])]
    assert [gap.p_value for gap in corrected_gaps(found, MORE)] == pytest.approx([0.02, 0.03])


def steered(text_run, **means):
    """A run where each method scores as told, with a little noise that is the same for all."""
    records = [
        record(name.replace("_", "-"), n, mean + 0.01 * (n % 3))
        for name, mean in means.items()
        for n in range(40)
    ]
    return read_run(text_run(records))


@pytest.mark.parametrize(
    ("means", "verdict", "personal"),
    [
        (
            {"zero_shot": 0.2, "fints": 0.5, "fints_other": 0.3, "fints_population": 0.4},
            "personal gain",
            True,
        ),
        (
            {"zero_shot": 0.2, "fints": 0.5, "fints_other": 0.3, "fints_population": 0.5},
            "a gain, but not shown to be personal",
            False,
        ),
        (
            {"zero_shot": 0.5, "fints": 0.5, "fints_other": 0.3, "fints_population": 0.4},
            "over its controls, but no clear gain over zero-shot",
            False,
        ),
        (
            {"zero_shot": 0.6, "fints": 0.5, "fints_other": 0.3, "fints_population": 0.4},
            "worse than zero-shot",
            False,
        ),
        (
            {"zero_shot": 0.2, "fints": 0.5, "fints_other": 0.3},
            "over its control; no population control in the run",
            False,
        ),
        (
            {"zero_shot": 0.5, "fints": 0.5, "fints_other": 0.5, "fints_population": 0.5},
            "no clear gain",
            False,
        ),
    ],
)
def test_personal_is_only_what_is_over_the_baseline_and_both_controls(
    text_run, means, verdict, personal
):
    run = steered(text_run, **means)
    [found] = personal_gains(run, MORE)
    assert (found.method, found.verdict, found.personal) == ("fints", verdict, personal)
    assert {gap.other for gap in found.controls} == set(run.controls("fints"))


def test_for_errors_less_is_the_gain(text_run):
    run = steered(text_run, zero_shot=0.6, fints=0.2, fints_other=0.5, fints_population=0.4)
    [found] = personal_gains(run, LESS)
    assert found.personal
    assert found.baseline.difference.mean == pytest.approx(-0.4)


def test_differences_without_common_samples_are_not_told(text_run):
    records = [record("a", n, 0.5) for n in range(4)]
    records += [replace(record("b", n, 0.5), sample_id=f"t{n}") for n in range(4)]
    assert differences_to(read_run(text_run(records)), "b", MORE) == []


def noisy(text_run, seed, **means):
    """A run where each method scores around its mean, by independent noise."""
    rng = np.random.default_rng(seed)
    records = [
        record(name.replace("_", "-"), n, float(rng.normal(mean, 0.3)))
        for name, mean in means.items()
        for n in range(80)
    ]
    return read_run(text_run(records, folder=f"noisy-{seed}"))


def p_of(run, method, other):
    def own(name):
        return [*run.of[name].values()]

    return metric_difference(own(method), own(other), MORE).p_value


def test_a_personal_gain_is_tested_by_the_largest_of_its_p_values(text_run):
    run = noisy(text_run, 1, zero_shot=0.2, a=0.4, a_other=0.28, a_population=0.3)
    [found] = personal_gains(run, MORE)
    alone = [p_of(run, "a", other) for other in ("zero-shot", "a-other", "a-population")]
    # Inside the conjunction no correction is due, and one method claims it.
    assert (found.p_value, found.claims) == (max(alone), 1)
    assert found.personal == (max(alone) < 0.05)
    assert [gap.p_value for gap in (found.baseline, *found.controls)] == alone


def test_it_is_corrected_for_the_methods_that_claim_one(text_run):
    steered = {"a": 0.4, "b": 0.45}
    controls = {f"{m}_{kind}": 0.28 for m in steered for kind in ("other", "population")}
    # A method with one control alone claims nothing, and costs the others nothing.
    run = noisy(text_run, 2, zero_shot=0.2, **steered, **controls, c=0.9, c_other=0.1)
    found = {own.method: own for own in personal_gains(run, MORE)}
    largest = {
        m: max(p_of(run, m, other) for other in ("zero-shot", f"{m}-other", f"{m}-population"))
        for m in steered
    }
    assert [found[m].p_value for m in steered] == holm([*largest.values()])
    assert found["a"].claims == 2
    assert math.isnan(found["c"].p_value) and not found["c"].personal


def test_what_is_no_gain_over_one_of_them_is_not_personal_however_clear_it_is(text_run):
    run = noisy(text_run, 3, zero_shot=0.2, a=0.4, a_other=0.2, a_population=0.9)
    [found] = personal_gains(run, MORE)
    assert p_of(run, "a", "a-population") < 0.05
    assert found.p_value == 1.0 and not found.personal


def test_a_tasks_metric_knows_its_labels_and_an_unknown_one_is_a_mean(text_run):
    labels = read_run(text_run([], folder="n", task="lamp-2n"))
    assert run_metric(labels, "macro-f1").total is not METRICS["macro-f1"].total
    shop = read_run(text_run([], folder="s", task="shop"))
    assert run_metric(shop, "grace") == Metric("grace", higher_is_better=True)
    assert run_metric(shop, "function") == METRICS["function"]
