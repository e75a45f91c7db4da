"""Intervals against independent computations, and what is told when there is little to tell."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from trimtab.errors import TrimtabError
from trimtab.eval.metrics import macro_f1
from trimtab.eval.statistics.intervals import (
    holm,
    mean_interval,
    paired_difference,
    total_difference,
    total_interval,
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
    # Two users, each of one mind: only 3 resamples can happen, (a,a), (a,b), (b,b).
    users = ["a"] * 30 + ["b"] * 10
    values = [1.0] * 30 + [0.0] * 10
    ours = mean_interval(values, users)
    assert ours.mean == 0.75
    assert (ours.low, ours.high) == (0.0, 1.0)
    assert (ours.values, ours.users) == (40, 2)


def test_clustered_interval_agrees_with_every_resample_counted():
    scores = {"a": [1, 1, 0], "b": [0, 0], "c": [1, 0, 1, 1], "d": [0]}
    users = [user for user, tasks in scores.items() for _ in tasks]
    values = [value for tasks in scores.values() for value in tasks]
    every = [
        np.mean([value for user in draw for value in scores[user]])
        for draw in itertools.product(scores, repeat=4)
    ]
    ours = mean_interval(values, users, resamples=50_000)
    assert (ours.low, ours.high) == pytest.approx(
        tuple(np.quantile(every, [0.025, 0.975])), abs=0.02
    )


def test_missing_values_are_left_out_and_counted():
    ours = mean_interval([1.0, math.nan, 0.0, math.nan], ["a", "a", "b", "c"])
    assert (ours.mean, ours.values, ours.users) == (0.5, 2, 2)


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
    assert ours[:3] == alone[:3]
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


def f1_of(pairs):
    return macro_f1(pairs, ["x", "y", "z"])


def answers(seed, count=60):
    rng = np.random.default_rng(seed)
    golds = rng.choice(list("xyz"), size=count)
    outputs = np.where(rng.random(count) < 0.6, golds, rng.choice(list("xyz"), size=count))
    return list(zip(outputs.tolist(), golds.tolist(), strict=True))


def test_total_interval_agrees_with_scipy_when_each_user_has_one_task():
    pairs = answers(1)
    ours = total_interval(f1_of, pairs, [f"u{i}" for i in range(60)], resamples=4000)
    theirs = scipy.stats.bootstrap(
        (np.arange(60),),
        lambda draw, axis: np.apply_along_axis(lambda r: f1_of([pairs[i] for i in r]), axis, draw),
        n_resamples=4000,
        method="percentile",
        rng=2,
    ).confidence_interval
    assert ours.mean == f1_of(pairs)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.01)
    assert (ours.values, ours.users) == (60, 60)


def test_total_of_a_mean_is_the_mean_s_interval():
    values = np.random.default_rng(2).random(30).tolist()
    users = [f"u{i // 3}" for i in range(30)]
    ours = total_interval(lambda items: float(np.mean(items)), values, users, resamples=500)
    theirs = mean_interval(values, users, resamples=500)
    assert ours == pytest.approx(theirs)


def test_total_difference_of_means_is_the_paired_difference():
    rng = np.random.default_rng(3)
    first, second = rng.random(24).tolist(), rng.random(24).tolist()
    users = [f"u{i // 3}" for i in range(24)]
    ours = total_difference(lambda items: float(np.mean(items)), first, second, users)
    theirs = paired_difference(first, second, users, resamples=1000)
    assert ours == pytest.approx(theirs)


def test_swapped_users_give_the_exact_p_value():
    first, second = answers(4, 8), answers(5, 8)
    second = [(output, gold) for (output, _), (_, gold) in zip(second, first, strict=True)]
    ours = total_difference(f1_of, first, second, list("aabbccdd"))
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
    ours = total_difference(f1_of, right, wrong, users, resamples=200)
    assert ours.p_value == 1 / 201
    assert total_difference(f1_of, right, right, users, resamples=200).p_value == 1.0


def test_missing_items_are_left_out_and_counted():
    pairs = [("x", "x"), None, ("y", "z"), None]
    ours = total_interval(f1_of, pairs, ["a", "a", "b", "c"])
    assert (ours.values, ours.users) == (2, 2)
    both = total_difference(f1_of, pairs, [("x", "x")] * 4, ["a", "a", "b", "c"])
    assert (both.values, both.users) == (2, 2)
    nothing = total_difference(f1_of, [None], [("x", "x")], ["a"])
    assert math.isnan(nothing.mean) and math.isnan(nothing.p_value)
    assert math.isnan(total_interval(f1_of, [("x", "x")], ["a"]).low)


def test_unlike_lengths_of_items_are_refused():
    with pytest.raises(TrimtabError, match="one user an item"):
        total_interval(f1_of, [("x", "x")], ["a", "b"])
    with pytest.raises(TrimtabError, match="two items"):
        total_difference(f1_of, [None], [None, None], ["a"])


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
