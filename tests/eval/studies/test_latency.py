import itertools

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.studies.latency import WARM_UP, latency_study, time_pairs


def ticking(step=1.0):
    """A clock that moves on by a step at every look."""
    looks = itertools.count()
    return lambda: next(looks) * step


def test_every_sample_is_answered_by_both_after_the_warm_up(setting):
    made = setting(generate=True, tests=3)
    direct, named = made.plan.methods
    pairs = time_pairs(made, direct, named, samples=5, clock=ticking())
    assert len(pairs) == 5
    for one, other in pairs:
        assert one.user_id == other.user_id
        # Three looks at the clock: start, chosen, ended.
        assert (one.choosing, one.generating) == (0.0, 2.0)
        assert (other.choosing, other.generating) == (1.0, 1.0)
        assert 0 < one.tokens <= 5 and 0 < other.tokens <= 5


def test_users_take_turns_and_few_samples_are_all_timed(setting):
    made = setting(generate=True, tests=2)
    direct, named = made.plan.methods
    few = time_pairs(made, direct, named, samples=100, clock=ticking())
    assert len(few) == 8 - WARM_UP
    assert {one.user_id for one, _ in few[1:5]} == {"ann", "bob", "cat", "dan"}


def test_the_table_has_medians_and_ratios(setting):
    made = setting("zero-shot,fints(depths=0.5),rag(k=1,by=bm25)", generate=True, tests=3)
    finding, figure = latency_study(made, samples=6, clock=ticking(0.5))
    rows = {row[1]: row for row in finding.rows}
    assert {row[0] for row in finding.rows} == {"fints(depths=0.5)"}
    assert rows["whole answer"][2:5] == (1.0, 1.0, 1.0)
    assert rows["choosing"][2:5] == (0.0, 0.5, None)
    assert rows["generating"][4] == 0.5
    assert len(figure.axes) == 1


def test_no_samples_are_refused(setting):
    with pytest.raises(TrimtabError, match="at least 1 sample"):
        latency_study(setting(generate=True), samples=0)
