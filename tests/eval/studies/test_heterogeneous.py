from dataclasses import replace

import numpy as np
import pytest

from trimtab.envs.texts.dataset import TextDataset
from trimtab.errors import TrimtabError
from trimtab.eval.studies.heterogeneous import cluster_samples, heterogeneous_study, picture


def test_writers_of_different_words_are_different_groups(setting):
    made = setting(tests=2)
    found = cluster_samples(made, 4, "output")
    groups = {user: {g for (who, _), g in found.of_sample.items() if who == user} for user in NAMES}
    assert all(len(own) == 1 for own in groups.values())
    assert set.union(*groups.values()) == {0, 1, 2, 3}
    assert found.embeddings.shape == (4 * 8, 26)
    assert sorted(len(terms) > 0 for terms in found.terms) == [True] * 4


NAMES = ("ann", "bob", "cat", "dan")


def test_groups_do_not_depend_on_the_run(setting):
    assert cluster_samples(setting(), 3, "both").of_sample == (
        cluster_samples(setting(), 3, "both").of_sample
    )


def test_each_test_is_scored_in_its_own_group(setting):
    made = setting(tests=2)
    finding, figure = heterogeneous_study(made, clusters=4, embedded="output")
    assert len(finding.rows) == 4 * 2
    # One writer a group: two tests of one user, so no interval.
    assert all(row[2] == 1 and row[3] == 2 and np.isnan(row[6]) for row in finding.rows)
    records = made.run("all")["zero-shot"]
    of = cluster_samples(made, 4, "output").of_sample
    for row in finding.rows:
        if row[4] == "zero-shot":
            own = [
                r.scores["log-likelihood"]
                for r in records
                if of[tuple(r.sample_id.split("/"))] + 1 == row[0]
            ]
            assert row[5] == pytest.approx(np.mean(own))
            assert row[8] is None
    assert len(figure.axes) == 2


def test_a_sample_s_id_may_look_like_a_repeat(setting):
    made = setting("zero-shot")
    users = tuple(
        replace(user, tests=tuple(replace(test, id="7#1") for test in user.tests))
        for user in made.dataset.users
    )
    odd = replace(made, dataset=TextDataset("odd", users))
    finding, _ = heterogeneous_study(odd, clusters=2)
    assert sum(row[3] for row in finding.rows) == 4


def test_a_picture_keeps_groups_apart():
    rng = np.random.default_rng(1)
    near = rng.normal(0, 0.05, size=(40, 8)) + np.repeat(np.eye(8)[:2], 20, axis=0)
    placed = picture(near.astype(np.float32), seed=0)
    inside = np.linalg.norm(placed[:20] - placed[:20].mean(0), axis=1).mean()
    between = np.linalg.norm(placed[:20].mean(0) - placed[20:].mean(0))
    assert placed.shape == (40, 2) and between > 2 * inside
    assert (picture(near.astype(np.float32), seed=0) == placed).all()


@pytest.mark.parametrize("clusters", [0, 1, 99])
def test_impossible_groups_are_refused(setting, clusters):
    with pytest.raises(TrimtabError, match="expected 2 to 28 groups"):
        heterogeneous_study(setting(), clusters=clusters)
