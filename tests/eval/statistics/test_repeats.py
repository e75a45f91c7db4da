import itertools
import math

import numpy as np
import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.statistics.repeats import over_seeds, pass_at, pass_hat

TRIALS = {"a": [True, True, False, True], "b": [False] * 4, "c": [True] * 5, "d": [True, False] * 2}


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_chances_are_those_of_every_draw_of_k_tries(k):
    def every(of):
        return np.mean(
            [np.mean([of(draw) for draw in itertools.combinations(t, k)]) for t in TRIALS.values()]
        )

    assert pass_hat(TRIALS, k) == pytest.approx(every(all))
    assert pass_at(TRIALS, k) == pytest.approx(every(any))


def test_too_few_tries_are_refused():
    with pytest.raises(TrimtabError, match="task 'a' has 4 tries, 5 are needed"):
        pass_hat(TRIALS, 5)
    with pytest.raises(TrimtabError, match="at least 1"):
        pass_at(TRIALS, 0)
    assert math.isnan(pass_hat({}, 1))


def test_spread_by_numpy():
    scores = np.random.default_rng(1).random((3, 6))
    found = over_seeds(
        {
            seed: {str(task): score for task, score in enumerate(run)}
            for seed, run in enumerate(scores)
        }
    )
    assert found.mean == pytest.approx(scores.mean())
    assert found.deviation == pytest.approx(np.std(scores.mean(axis=1), ddof=1))
    assert found.within == pytest.approx(np.mean([np.var(scores[:, t], ddof=1) for t in range(6)]))
    assert found.between == pytest.approx(np.var(scores.mean(axis=0), ddof=1))
    assert (found.runs, found.tasks) == (3, 6)


def test_tasks_that_a_run_lacks_are_left_out():
    found = over_seeds({0: {"a": 1.0, "b": 0.0, "c": math.nan}, 1: {"a": 0.0, "c": 1.0}})
    assert (found.mean, found.tasks) == (0.5, 1)


def test_one_run_has_no_deviation_and_nothing_has_no_mean():
    one = over_seeds({7: {"a": 1.0, "b": 0.0}})
    assert one.mean == 0.5 and math.isnan(one.deviation) and one.between == 0.5
    assert math.isnan(over_seeds({}).mean)
