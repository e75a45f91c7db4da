import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from trimtab.errors import TrimtabError
from trimtab.eval.studies.delta import (
    Deltas,
    common_part,
    cosines,
    delta_study,
    ranks,
    read_deltas,
    user_means,
)
from trimtab.eval.texts.prompt import TextPrompt


def test_ranks_are_those_of_a_principal_component_analysis():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 12)) * np.geomspace(1, 0.05, 12) + 3
    held = np.cumsum(PCA().fit(vectors).explained_variance_ratio_)
    expected = [int(np.argmax(held >= share)) + 1 for share in (0.8, 0.9, 0.95)]
    assert ranks(vectors) == expected
    assert ranks(np.outer(np.arange(5.0), np.ones(4))) == [1, 1, 1]
    assert ranks(np.ones((5, 4))) == [0, 0, 0]


def test_the_common_part_is_all_of_equal_vectors_and_none_of_opposite_ones():
    assert common_part(np.ones((5, 4))) == pytest.approx(1.0)
    assert common_part(np.array([[1.0, 0.0], [-1.0, 0.0]])) == 0.0
    assert common_part(np.array([[2.0, 1.0], [2.0, -1.0]])) == pytest.approx(4 / 5)
    assert np.isnan(common_part(np.zeros((2, 3))))


def test_users_of_one_mind_have_higher_cosines():
    vectors = np.array([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]) + 5
    same, other = cosines(vectors, ["a", "a", "b", "b"])
    unit = np.array([[1, 0.1], [1, -0.1], [-1, 0.1], [-1, -0.1]]) / np.sqrt(1.01)
    assert same == pytest.approx(unit[0] @ unit[1])
    assert other == pytest.approx(np.mean([unit[i] @ unit[j] for i in (0, 1) for j in (2, 3)]))


def test_means_of_users_are_without_what_all_share():
    deltas = Deltas((3,), ("a", "a", "b"), np.array([[[1.0]], [[3.0]], [[8.0]]]))
    names, means = user_means(deltas, 3)
    assert names == ["a", "b"]
    assert means.tolist() == [[-3.0], [3.0]]


def test_deltas_are_of_the_last_prompt_token(setting):
    made = setting()
    deltas = read_deltas(made, [1, 3], shown=2)
    assert deltas.users == ("ann", "bob", "cat", "dan")
    assert deltas.vectors.shape == (4, 2, made.model.hf.config.hidden_size)
    # The same by whole forward passes of transformers, unpadded and uncached.
    user = made.dataset.users[0]
    prompt = TextPrompt(made.model, made.plan.running_task().system, 5)
    near = sorted(user.history, key=lambda s: s.id)  # which two, the study's encoder chooses
    asked = user.tests[0].input

    def last(shown):
        tokens = made.model.prompt_tokens(prompt.fit(asked, shown=shown).messages)
        with torch.inference_mode():
            found = made.model.hf(torch.tensor([tokens]), output_hidden_states=True)
        return found.hidden_states[2][0, -1].double().numpy()

    candidates = [
        last([one, other]) - last([]) for one in near for other in near if one is not other
    ]
    errors = [np.abs(c - deltas.at(1)[0]).max() for c in candidates]
    assert min(errors) < 1e-4


def test_tables_and_figure(setting):
    made = setting(tests=2)
    [by_layer, users], figure = delta_study(made, depths=[0.0, 0.5], shown=1)
    assert [row[0] for row in by_layer.rows] == [0, 2]
    for row in by_layer.rows:
        assert 1 <= row[2] <= row[3] <= row[4] <= 7
        assert 0 <= row[5] <= 1 + 1e-9
    kinds = [row[0] for row in users.rows]
    assert kinds == ["nearest"] * 3 + ["farthest"] * 3
    assert users.rows[0][1] >= users.rows[-1][1]
    assert users.rows[0][3].count(" | ") == 1
    assert len(figure.axes) == 3


def test_one_user_cannot_be_compared(setting):
    made = setting()
    alone = made.__class__(
        made.plan,
        made.model,
        made.dataset.__class__("one", made.dataset.users[:1]),
        made.folder,
    )
    with pytest.raises(TrimtabError, match="take at least 2"):
        delta_study(alone)
    with pytest.raises(TrimtabError, match="at least one depth"):
        delta_study(made, depths=[])
