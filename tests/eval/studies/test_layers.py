from dataclasses import replace

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.studies.layers import layers_study


def test_every_layer_and_strength_is_scored_against_the_unsteered_model(setting):
    finding, figure = layers_study(setting(), depths=[0.0, 0.5, 0.51], strengths=[1.0, 4.0])
    # Depths 0.5 and 0.51 are one layer of four.
    assert [(row[0], row[2]) for row in finding.rows] == [(0, 1.0), (0, 4.0), (2, 1.0), (2, 4.0)]
    assert len({row[3] for row in finding.rows}) == 4
    unsteered = {round(row[3] - row[4], 9) for row in finding.rows}
    assert len(unsteered) == 1
    assert len(figure.axes) == 3  # lines, squares and their scale


def test_p_values_are_corrected_for_the_whole_grid(setting):
    made = setting()
    # At this strength, the random model changes in the same sense for all four users.
    one, _ = layers_study(made, depths=[0.5], strengths=[-4.0])
    more = replace(made, folder=made.folder / "more")
    many, _ = layers_study(more, depths=[0.0, 0.5], strengths=[1.0, -4.0])
    # Of four users the smallest p-value is 2 sign patterns of 16, and there are 4 settings.
    assert one.rows[0][7] == 0.125
    assert min(row[7] for row in many.rows) == 0.5


def test_what_cannot_be_tried_is_refused(setting):
    with pytest.raises(TrimtabError, match="at least one depth"):
        layers_study(setting(), depths=[])
    with pytest.raises(TrimtabError, match="needs a method that steers"):
        layers_study(setting("zero-shot,rag(k=1,by=bm25)"))
    with pytest.raises(TrimtabError, match="add zero-shot"):
        layers_study(setting("fints(depths=0.5)"))
