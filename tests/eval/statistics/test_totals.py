import math
from functools import partial

import pytest

from trimtab.eval.metrics import METRICS, f1_sums, macro_f1
from trimtab.eval.runs.record import Record
from trimtab.eval.statistics.intervals import mean_interval, paired_difference, sums_interval
from trimtab.eval.statistics.totals import metric_difference, metric_estimate

LABELS = ("x", "y", "z")
F1 = partial(macro_f1, labels=LABELS)


def records(method, outputs, golds="xyzxyz", **broken):
    return [
        Record(
            method=method,
            sample_id=f"s{n}",
            user_id="ab"[n % 2],
            output=output,
            gold=gold.strip(),
            scores={"accuracy": float(output == gold)},
            error=broken.get(f"s{n}", ""),
        )
        for n, (output, gold) in enumerate(zip(outputs, golds, strict=True))
    ]


def test_means_and_other_totals():
    own = records("m", "xyxxzz")
    accuracy = metric_estimate(own, METRICS["accuracy"])
    scores, users = [r.scores["accuracy"] for r in own], [r.user_id for r in own]
    assert accuracy == mean_interval(scores, users, bounds=(0, 1))
    f1 = metric_estimate(own, METRICS["macro-f1"])
    pairs = [(r.output, r.gold) for r in own]
    parts, score = f1_sums()
    assert f1 == sums_interval(parts(pairs), users, score, bounds=(0, 1))
    assert f1.mean == pytest.approx(F1(pairs)) and not math.isnan(f1.low)


@pytest.mark.parametrize("name", ["accuracy", "macro-f1"])
def test_what_broke_or_has_no_gold_is_left_out(name):
    own = records("m", "xyxxzz", "xyzxy ", s0="out of memory")
    own[-1].scores["accuracy"] = None
    found = metric_estimate(own, METRICS[name])
    assert (found.values, found.missing) == (4, 2)
    other = records("o", "xxxxxx", "xyzxyz", s1="out of memory")
    assert metric_difference(own, other, METRICS[name]).values == 3


def test_differences_are_of_the_samples_that_both_have():
    first, second = records("m", "xyzxyz")[1:], records("o", "xxxxxx")[:-1]
    gap = metric_difference(first, second, METRICS["accuracy"])
    assert gap == paired_difference([1, 1, 1, 1], [0, 0, 1, 0], list("baba"))
    f1 = metric_difference(first, second, METRICS["macro-f1"])
    both = [(r.output, r.gold) for r in first[:-1]], [(r.output, r.gold) for r in second[1:]]
    assert f1.mean == pytest.approx(macro_f1(both[0]) - macro_f1(both[1]))
    assert f1.values == 4 and not math.isnan(f1.p_value)


def test_rmse_is_the_root_of_the_mean_of_the_samples_that_both_have():
    first, second = records("m", "152431", "123123"), records("o", "111111", "123123")
    gap = metric_difference(first, second, METRICS["rmse"])
    pairs = [[(r.output, r.gold) for r in side] for side in (first, second)]
    total = METRICS["rmse"].total
    assert gap.mean == pytest.approx(total(pairs[0]) - total(pairs[1]))
    assert metric_estimate(first, METRICS["rmse"]).mean == pytest.approx(total(pairs[0]))
