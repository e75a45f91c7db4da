import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.studies.sparse import sparse_study, thinned


def test_a_smaller_share_is_part_of_a_larger_one_in_the_same_order(writers):
    user = writers[0]
    sizes = []
    before = set()
    for share in (0.05, 0.4, 0.7, 1.0):
        own = thinned(user, share, seed=3)
        ids = [sample.id for sample in own.history]
        assert ids == sorted(ids)
        assert before <= set(ids)
        before = set(ids)
        sizes.append(len(ids))
    assert sizes == [1, 2, 4, 6]
    assert thinned(user, 1.0, seed=3) == user
    assert thinned(user, 0.5, seed=3) != thinned(user, 0.5, seed=4)


def test_each_share_is_a_run_and_the_model_alone_runs_once(setting, tmp_path):
    finding, figure = sparse_study(setting(), shares=[1.0, 0.5])
    runs = sorted(path.name for path in (tmp_path / "study/runs").iterdir())
    assert runs == ["share-0.5", "share-1", "unpersonalized"]
    rows = {(row[0], row[2]): row for row in finding.rows}
    assert set(rows) == {(s, m) for s in ("50 %", "100 %") for m in ("zero-shot", METHOD)}
    assert rows["50 %", METHOD][1] == 3 and rows["100 %", METHOD][1] == 6
    # The same answers at every share, so the same score; steering changes with the history.
    assert rows["50 %", "zero-shot"][3] == rows["100 %", "zero-shot"][3]
    assert rows["50 %", METHOD][3] != rows["100 %", METHOD][3]
    gain = rows["50 %", METHOD][3] - rows["50 %", "zero-shot"][3]
    assert rows["50 %", METHOD][6] == pytest.approx(gain)
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["zero-shot", METHOD]


METHOD = "fints(depths=0.5)"


@pytest.mark.parametrize("shares", [[], [0.0], [1.5], [-0.1, 1.0]])
def test_impossible_shares_are_refused(setting, shares):
    with pytest.raises(TrimtabError, match="expected shares above 0"):
        sparse_study(setting(), shares=shares)
