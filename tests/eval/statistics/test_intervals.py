"""Intervals against independent computations, and what is told when there is little to tell."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from trimtab.errors import TrimtabError
from trimtab.eval.metrics import f1_sums, macro_f1
from trimtab.eval.statistics.intervals import (
    holm,
    mean_interval,
    paired_difference,
    sums_difference,
    sums_interval,
)


def test_mean_interval_agrees_with_scipy_when_each_user_has_one_task():
    values = np.random.default_rng(1).normal(0.6, 0.2, size=40)
    ours = mean_interval(values, [f"u{i}" for i in range(40)], resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=2
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.003)


def test_users_are_drawn_whole():
    # Every user is of one mind, so that the interval is that of 40 users, not of 160 tasks.
    minds = np.random.default_rng(7).normal(size=40)
    users = [f"u{i}" for i in range(40) for _ in range(4)]
    ours = mean_interval(np.repeat(minds, 4), users)
    alone = mean_interval(minds, [f"u{i}" for i in range(40)])
    assert ours[:3] == pytest.approx(alone[:3])
    assert (ours.values, ours.users) == (160, 40)


def test_missing_values_are_left_out_and_counted():
    ours = mean_interval([1.0, math.nan, 0.0, math.nan], ["a", "a", "b", "c"])
    assert (ours.mean, ours.values, ours.users, ours.missing) == (0.5, 2, 2, 2)


def test_one_user_has_no_interval_and_nothing_has_no_mean():
    one = mean_interval([1.0, 0.0], ["a", "a"])
    assert one.mean == 0.5
    assert math.isnan(one.low) and math.isnan(one.high)
    nothing = mean_interval([], [])
    assert math.isnan(nothing.mean) and nothing.values == 0
    difference = paired_difference([math.nan], [1.0], ["a"])
    assert math.isnan(difference.mean) and math.isnan(difference.p_value)


def test_paired_difference_is_the_interval_of_the_differences():
    rng = np.random.default_rng(3)
    users = [f"u{i // 3}" for i in range(60)]
    first, second = rng.random(60), rng.random(60)
    first[5] = math.nan
    ours = paired_difference(first, second, users)
    alone = mean_interval(first - second, users)
    assert ours[:3] == pytest.approx(alone[:3])
    assert ours.values == 59


def test_few_users_have_an_exact_p_value():
    first, second = [1, 1, 1, 1, 0.5], [0, 0, 0, 0, 1]
    users = list("abcde")
    ours = paired_difference(first, second, users)
    differences = np.subtract(first, second)
    every = [abs(np.dot(signs, differences)) for signs in itertools.product([1, -1], repeat=5)]
    assert ours.p_value == np.mean(np.array(every) >= abs(differences.sum()) - 1e-12)


def test_many_users_have_the_p_value_of_scipy():
    differences = np.random.default_rng(4).normal(0.1, 0.3, size=40)
    ours = paired_difference(
        differences, np.zeros(40), [str(i) for i in range(40)], resamples=40_000
    )
    theirs = scipy.stats.permutation_test(
        (differences, np.zeros(40)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=40_000,
        rng=5,
    ).pvalue
    assert ours.p_value == pytest.approx(theirs, abs=0.01)


def test_signs_are_flipped_by_user():
    # Ten tasks of one user are one observation: no sign pattern is rarer than 1 in 2.
    ours = paired_difference([1] * 10, [0] * 10, ["a"] * 10)
    assert ours.p_value == 1.0


def test_no_difference_has_a_p_value_of_1():
    assert paired_difference([1, 0, 1], [1, 0, 1], list("abc")).p_value == 1.0
    many = [float(i % 2) for i in range(40)]
    assert paired_difference(many, many, [str(i) for i in range(40)]).p_value == 1.0


def test_the_seed_decides_the_draws():
    values, users = np.random.default_rng(6).random(30), [str(i) for i in range(30)]
    assert mean_interval(values, users, seed=1) == mean_interval(values, users, seed=1)
    assert mean_interval(values, users, seed=1) != mean_interval(values, users, seed=2)


def test_unlike_lengths_are_refused():
    with pytest.raises(TrimtabError, match="one user a value"):
        mean_interval([1.0], ["a", "b"])
    with pytest.raises(TrimtabError, match="two scores"):
        paired_difference([1.0], [1.0, 2.0], ["a"])


LABELS = ["x", "y", "z"]


def f1_of(pairs):
    return macro_f1(pairs, LABELS)


def f1_interval(pairs, users, **options):
    parts, score = f1_sums(LABELS)
    return sums_interval(parts(pairs), users, score, **options)


def f1_difference(first, second, users, **options):
    parts, score = f1_sums(LABELS)
    return sums_difference(parts(first), parts(second), users, score, **options)


def answers(seed, count=60):
    rng = np.random.default_rng(seed)
    golds = rng.choice(list("xyz"), size=count)
    outputs = np.where(rng.random(count) < 0.6, golds, rng.choice(list("xyz"), size=count))
    return list(zip(outputs.tolist(), golds.tolist(), strict=True))


def test_the_interval_of_sums_agrees_with_scipy_when_each_user_has_one_task():
    pairs = answers(1)
    ours = f1_interval(pairs, [f"u{i}" for i in range(60)], resamples=2000)
    theirs = scipy.stats.bootstrap(
        (np.arange(60),),
        lambda draw, axis: np.apply_along_axis(lambda r: f1_of([pairs[i] for i in r]), axis, draw),
        n_resamples=300,
        method="percentile",
        rng=2,
    ).confidence_interval
    assert ours.mean == pytest.approx(f1_of(pairs))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.03)
    assert (ours.values, ours.users) == (60, 60)


def test_every_draw_of_users_is_scored_as_its_answers_would_be():
    pairs, users = answers(2, 90), [f"u{i % 30:02}" for i in range(90)]
    low, high = f1_interval(pairs, users, resamples=50, seed=3)[1:3]
    draws = np.random.default_rng(3).multinomial(30, np.full(30, 1 / 30), 50)
    direct = [
        f1_of([pairs[i] for user in range(30) for i in range(user, 90, 30) for _ in range(d[user])])
        for d in draws
    ]
    assert (low, high) == pytest.approx(tuple(np.quantile(direct, [0.025, 0.975])))


def test_the_jackknife_of_sums_leaves_out_one_user_at_a_time():
    pairs, users = answers(6, 20), list("aabbbbccdd" * 2)
    ours = f1_interval(pairs, users)
    without = np.array(
        [f1_of([p for p, u in zip(pairs, users, strict=True) if u != gone]) for gone in "abcd"]
    )
    error = math.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
    reach = scipy.stats.t.ppf(0.975, 3) * error
    assert (ours.low, ours.high) == pytest.approx((ours.mean - reach, ours.mean + reach))


def test_sums_of_a_mean_are_the_mean_s_interval_and_difference():
    rng = np.random.default_rng(3)
    first, second = rng.random(90), rng.random(90)
    users = [f"u{i // 3}" for i in range(90)]
    parts = [np.stack([v, np.ones(90)], axis=-1) for v in (first, second)]

    def score(sums):
        return sums[..., 0] / sums[..., 1]

    assert sums_interval(parts[0], users, score) == mean_interval(first, users)
    assert sums_difference(*parts, users, score) == paired_difference(first, second, users)


def test_swapped_users_give_the_exact_p_value():
    first, second = answers(4, 8), answers(5, 8)
    second = [(output, gold) for (output, _), (_, gold) in zip(second, first, strict=True)]
    ours = f1_difference(first, second, list("aabbccdd"))
    observed = abs(f1_of(first) - f1_of(second))
    reached = []
    for swaps in itertools.product([False, True], repeat=4):
        one = [second[i] if swaps[i // 2] else first[i] for i in range(8)]
        other = [first[i] if swaps[i // 2] else second[i] for i in range(8)]
        reached.append(abs(f1_of(one) - f1_of(other)) >= observed - 1e-12)
    assert ours.p_value == np.mean(reached)
    assert ours.mean == pytest.approx(f1_of(first) - f1_of(second))


def test_many_users_are_swapped_at_random():
    golds = list("xyz") * 10
    right, wrong = [(g, g) for g in golds], [("x", g) for g in golds]
    users = [str(i) for i in range(30)]
    ours = f1_difference(right, wrong, users, resamples=200)
    assert ours.p_value == 1 / 201
    assert f1_difference(right, right, users, resamples=200).p_value == 1.0


def test_missing_tasks_are_left_out_and_counted():
    pairs = [("x", "x"), None, ("y", "z"), None]
    ours = f1_interval(pairs, ["a", "a", "b", "c"])
    assert (ours.values, ours.users, ours.missing) == (2, 2, 2)
    both = f1_difference(pairs, [("x", "x")] * 4, ["a", "a", "b", "c"])
    assert (both.values, both.users, both.missing) == (2, 2, 2)
    nothing = f1_difference([None], [("x", "x")], ["a"])
    assert math.isnan(nothing.mean) and math.isnan(nothing.p_value) and nothing.missing == 1
    assert math.isnan(f1_interval([("x", "x")], ["a"]).low)


def simulated(users, seed):
    """Two to five tasks a user, whose scores are of the user more than of the task."""
    rng = np.random.default_rng(seed)
    owners = [str(u) for u in range(users) for _ in range(3)]
    return np.repeat(rng.normal(0, 1, users), 3) + rng.normal(0, 0.5, users * 3), owners


@pytest.mark.parametrize("users", [3, 8, 19])
def test_an_interval_over_few_users_holds_the_truth_as_often_as_it_says(users):
    found = [mean_interval(*simulated(users, seed)) for seed in range(1000)]
    held = np.mean([each.low <= 0 <= each.high for each in found])
    assert held == pytest.approx(0.95, abs=0.02)


def test_with_many_users_the_bootstrap_holds_it_nearly_as_often():
    found = [mean_interval(*simulated(40, seed), resamples=400) for seed in range(500)]
    held = np.mean([each.low <= 0 <= each.high for each in found])
    assert held == pytest.approx(0.94, abs=0.03)


def test_no_interval_goes_beyond_what_a_score_can_be():
    ours = mean_interval([1, 1, 0], list("abc"), bounds=(0, 1))
    assert (ours.low, ours.high) == (0, 1)
    assert mean_interval([1, 1, 0], list("abc")).high > 1
    assert math.isnan(mean_interval([1], ["a"], bounds=(0, 1)).low)


def test_an_interval_over_few_users_with_as_many_tasks_is_that_of_t_over_their_means():
    values, owners = simulated(8, 1)
    means = values.reshape(8, 3).mean(axis=1)
    theirs = scipy.stats.ttest_1samp(means, 0).confidence_interval(0.95)
    ours = mean_interval(values, owners)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs))


def test_holm_is_the_closed_test_of_bonferroni():
    p_values = [0.01, 0.04, 0.03, 0.005, 0.5]
    places = range(len(p_values))
    # The closure principle: a hypothesis is as doubtful as the worst set that holds it.
    sets = [s for size in range(1, 6) for s in itertools.combinations(places, size)]
    expected = [
        max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets if place in s)
        for place in places
    ]
    assert holm(p_values) == pytest.approx(expected)


def test_holm_leaves_out_what_is_not_known():
    assert holm([0.02, math.nan, 0.04])[0] == 0.04
    assert math.isnan(holm([0.02, math.nan])[1])
    assert holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]
