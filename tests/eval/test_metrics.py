"""Metrics against independent computations, and what LaMP's evaluation does with oddities."""

import math
import random

import numpy as np
import pytest
from sklearn.metrics import f1_score, mean_absolute_error, mean_squared_error

from trimtab.errors import TrimtabError
from trimtab.eval.metrics import METRICS, f1_sums, macro_f1, repetition

LABELS = ["comedy", "action", "dark comedy", "true story"]


def ngrams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def overlap(output, gold, n):
    """ROUGE-N by its definition, for texts of lower-case words."""
    one, other = ngrams(output.split(), n), ngrams(gold.split(), n)
    hits = sum(min(one.count(gram), other.count(gram)) for gram in set(one))
    if not hits:
        return 0.0
    precision, recall = hits / len(one), hits / len(other)
    return 2 * precision * recall / (precision + recall)


def longest(output, gold):
    """ROUGE-L by its definition."""
    one, other = output.split(), gold.split()

    def common(i, j):
        if i == len(one) or j == len(other):
            return 0
        if one[i] == other[j]:
            return 1 + common(i + 1, j + 1)
        return max(common(i + 1, j), common(i, j + 1))

    length = common(0, 0)
    if not length:
        return 0.0
    precision, recall = length / len(one), length / len(other)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rouge-1", lambda output, gold: overlap(output, gold, 1)),
        ("rouge-2", lambda output, gold: overlap(output, gold, 2)),
        ("rouge-l", longest),
    ],
)
def test_rouge_by_its_definition(name, expected):
    rng = random.Random(1)
    for _ in range(50):
        output, gold = (" ".join(rng.choices("abcdef", k=rng.randint(1, 8))) for _ in "xy")
        assert METRICS[name].score(output, gold) == pytest.approx(expected(output, gold))


def test_rouge_has_no_stemmer_ignores_case_and_is_of_the_whole_text():
    score = METRICS["rouge-1"].score
    assert score("Runs", "running") == 0.0
    assert score(" THE CAT ", "the cat") == 1.0
    assert score("the cat\nsat here", "the cat sat here") == 1.0
    assert score("", "the cat") == 0.0
    assert score("the cat", " ") is None


@pytest.mark.parametrize(
    ("output", "gold", "score"),
    [(" comedy\n", "comedy", 1.0), ("Comedy", "comedy", 0.0), ("a comedy", "comedy", 0.0)],
)
def test_a_label_is_right_only_as_it_is_written(output, gold, score):
    assert METRICS["accuracy"].score(output, gold) == score


def test_macro_f1_is_scikit_learn_s_over_all_labels():
    rng = random.Random(2)
    outputs = rng.choices([*LABELS, "no such thing"], k=200)
    golds = rng.choices(LABELS[:3], k=200)  # one label has no gold
    numbers = [LABELS.index(o) if o in LABELS else -1 for o in outputs]
    expected = f1_score(
        [LABELS.index(g) for g in golds],
        numbers,
        labels=range(len(LABELS)),
        average="macro",
        zero_division=0,
    )
    pairs = list(zip(outputs, golds, strict=True))
    assert macro_f1(pairs, LABELS) == pytest.approx(expected)
    assert macro_f1(pairs) == pytest.approx(expected * len(LABELS) / 3)


@pytest.mark.parametrize("labels", [(), LABELS])
def test_macro_f1_by_way_of_sums_is_the_same(labels):
    rng = random.Random(4)
    outputs = rng.choices([*LABELS, "no such thing", ""], k=100)
    golds = rng.choices([*LABELS[:3], " "], k=100)
    pairs = list(zip(outputs, golds, strict=True))
    parts, score = f1_sums(labels)
    table = parts([*pairs, None])
    there = ~np.isnan(table).any(axis=1)
    assert there.tolist() == [bool(gold.strip()) for gold in golds] + [False]
    assert score(table[there].sum(axis=0)) == pytest.approx(macro_f1(pairs, labels))
    few = [0, 1, 1, 2]  # a draw in which not every label is a gold
    known = [pair for pair in pairs if pair[1].strip()]
    drawn = macro_f1([known[n] for n in few], labels)
    assert score(table[there][few].sum(axis=0)) == pytest.approx(drawn)


def test_rmse_by_way_of_sums_is_the_same():
    pairs = [("4", "2"), ("x", "5"), ("3", "3")]
    parts, score = METRICS["rmse"].sums
    assert score(parts(pairs).sum(axis=0)) == pytest.approx(METRICS["rmse"].total(pairs))
    assert np.isnan(parts([None, ("1", "")])).all()


def test_a_label_that_nothing_has_counts_zero():
    assert macro_f1([("comedy", "comedy")], LABELS) == 0.25


@pytest.mark.parametrize(
    ("output", "gold", "error"),
    [
        ("4", "2", 2.0),
        (" 4.5 ", "4", 0.5),
        ("nothing", "5", 4.0),
        ("nothing", "1", 4.0),
        ("nothing", "4", 3.0),
        ("nothing", "3", 2.0),
        ("nan", "4", 3.0),
        ("inf", "4", 3.0),
        ("score: 5", "5", 4.0),
    ],
)
def test_an_unreadable_number_is_the_farthest_one(output, gold, error):
    assert METRICS["mae"].score(output, gold) == error
    assert METRICS["rmse"].score(output, gold) == error


def test_errors_are_scikit_learn_s():
    rng = random.Random(3)
    pairs = [(str(rng.randint(1, 5)), str(rng.randint(1, 5))) for _ in range(100)]
    outputs, golds = zip(*[(float(o), float(g)) for o, g in pairs], strict=True)
    mean = sum(METRICS["mae"].score(*pair) for pair in pairs) / len(pairs)
    assert mean == pytest.approx(mean_absolute_error(golds, outputs))
    assert METRICS["rmse"].total(pairs) == pytest.approx(
        math.sqrt(mean_squared_error(golds, outputs))
    )


def test_unknown_golds_are_left_out():
    assert METRICS["accuracy"].score("a", "") is None
    assert METRICS["mae"].score("4", " ") is None
    assert METRICS["rmse"].total([("4", "2"), ("5", "")]) == 2.0
    assert math.isnan(METRICS["rmse"].total([])) and math.isnan(macro_f1([("a", "")]))


def test_a_gold_that_is_no_number_is_refused():
    with pytest.raises(TrimtabError, match="expected a number as the gold, got 'five'"):
        METRICS["mae"].score("5", "five")


def test_which_way_is_better():
    lower = {name for name, metric in METRICS.items() if not metric.higher_is_better}
    assert lower == {"mae", "rmse", "repetition"}
    assert METRICS["log-likelihood"].score is None


def test_a_text_that_says_the_same_again_is_repetitive():
    assert repetition("one two three four five six") == 0
    # Ten words make seven runs of four, of which the last five begin anew what the first five said.
    assert repetition("a b c d e a b c d e") == pytest.approx(2 / 7)
    assert repetition("no no no no no no") == pytest.approx(2 / 3)
    assert repetition("too short") is None
    # Where a script sets no spaces, characters are words.
    assert repetition("安静的海安静的海") == pytest.approx(1 / 5)
