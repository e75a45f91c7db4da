import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.studies.finding import keep
from trimtab.eval.studies.perfit import perfit_study

METHODS = "zero-shot,perfit(depths=0.5,rank_c=1,rank_p=2,learning_rate=0.01,epochs=1,epochs_p=1)"


def test_every_ablation_has_a_table_and_a_figure(setting, tmp_path):
    made = setting(METHODS)
    findings, figures = perfit_study(made, ranks=[1, 2], depths=[0.0, 0.5], counts=[1, 9])
    names = ["perfit-stages", "perfit-ranks", "perfit-depth", "perfit-layers"]
    assert [finding.name for finding in findings] == names
    stages, ranks, depth, layers = findings
    assert [row[0] for row in stages.rows][:2] == ["collective alone", "personal alone"]
    assert [row[:2] for row in ranks.rows] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [row[:2] for row in depth.rows] == [(0, 0.0), (2, 0.5)]
    # Of four layers no more than four are changed.
    assert [row[:2] for row in layers.rows] == [(1, "2"), (4, "0, 1, 2, 3")]
    width = 32
    numbers = {row[:2]: row[-2] for row in ranks.rows}
    assert numbers[1, 2] == numbers[2, 2] == 2 * (2 * width) + 2  # W, R and b of the second stage
    whole = next(row for row in stages.rows if row[0] == "collective, then personal")
    same = next(row for row in ranks.rows if row[:2] == (1, 2))
    assert whole[1:5] == same[2:6]  # one thing, trained once and measured twice
    assert stages.rows[0][-2] == 0
    for finding, figure in zip(findings, figures, strict=True):
        assert len(keep(finding, figure, tmp_path)) == 4


def test_what_cannot_be_tried_is_refused(setting):
    with pytest.raises(TrimtabError, match="at least one rank"):
        perfit_study(setting(METHODS), ranks=[])
    with pytest.raises(TrimtabError, match="add perfit"):
        perfit_study(setting("zero-shot,perfit(stage=1)"))
