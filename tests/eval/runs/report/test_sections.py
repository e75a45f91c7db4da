"""What the tables show: the right numbers in the right groups."""

from dataclasses import replace

import pytest

from trimtab.eval.runs.record import Record, read_run
from trimtab.eval.runs.report.sections import costs, metric_view, user_rows


def record(method, number, value, **other):
    values = {"kind": "short" if number % 2 else "long", "history": 10 * number, "gold": "g"}
    return Record(
        method=method,
        sample_id=f"s{number}",
        user_id=f"u{number % 3}",
        scores={"rouge-1": value},
        **{**values, **other},
    )


@pytest.fixture
def run(text_run):
    def make(records, **configuration):
        return read_run(text_run(records, metrics=["rouge-1"], **configuration))

    return make


def test_kinds_are_apart_and_those_of_one_kind_have_no_table(run):
    records = [record("a", n, n / 10) for n in range(10)]
    view = metric_view(run(records), "rouge-1")
    assert view.by_kind.labels == ("long", "short")
    assert view.by_kind.samples == (5, 5)
    [(method, estimates)] = view.by_kind.rows
    assert method == "a"
    assert [e.mean for e in estimates] == pytest.approx([0.4, 0.5])
    assert view.by_kind.chart is None


def test_history_is_cut_in_groups_that_hold_every_sample_once(run):
    records = [record(m, n, n / 10, kind="") for m in ("a", "b") for n in range(10)]
    groups = metric_view(run(records), "rouge-1").by_history
    assert groups.labels == ("0–10", "20–30", "40–50", "60–70", "80–90")
    assert groups.samples == (2,) * 5
    assert [e.mean for e in dict(groups.rows)["a"]] == pytest.approx([0.05, 0.25, 0.45, 0.65, 0.85])
    assert groups.chart


@pytest.mark.parametrize(
    ("histories", "labels"),
    [
        ([5, 5, 5, 5], None),
        ([5, 5, 5, 9], ("5", "9")),
        ([1, 2, 2, 2, 2, 2, 2, 30], ("1", "2", "30")),
        ([1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5, 6], ("1–3", "4", "5–6")),
        ([3], None),
    ],
)
def test_equal_histories_are_never_in_two_groups(run, histories, labels):
    records = [record("a", n, 0.5, history=history) for n, history in enumerate(histories)]
    groups = metric_view(run(records), "rouge-1").by_history
    assert (groups and groups.labels) == labels
    assert groups is None or sum(groups.samples) == len(histories)


def test_every_method_is_a_reference_and_the_two_ways_mirror_each_other(run):
    records = [record("a", n, 0.2) for n in range(9)]
    records += [record("b", n, 0.2 + n / 20) for n in range(9)]
    one, other = metric_view(run(records), "rouge-1").forests
    assert (one.reference, other.reference) == ("a", "b")
    [(gap, _)], [(back, _)] = one.rows, other.rows
    assert gap.difference.mean == pytest.approx(0.2)
    assert back.difference[:3] == pytest.approx([-v for v in (gap.difference[0],
                                                              gap.difference[2],
                                                              gap.difference[1])])  # fmt: skip
    assert gap.p_value == back.p_value


def test_users_have_the_mean_of_their_own_samples(run):
    records = [record(m, n, n / 10) for m in ("a", "b") for n in range(6)]
    records[0] = replace(records[0], error="fire", scores={})
    records[9] = replace(records[9], scores={"rouge-1": None})
    found = {row["id"]: row for row in user_rows(run(records))}
    assert found["u0"]["scores"] == {"rouge-1": [0.3, 0.0]}
    assert found["u1"]["scores"] == {"rouge-1": [0.25, 0.25]}
    assert (found["u2"]["samples"], found["u2"]["history"]) == (2, 50)


def test_costs_leave_out_what_failed_but_count_it(run):
    records = [record("a", n, 0.5, prompt_tokens=100 * n, seconds=n, cut=n % 2,
                      detail={"batch": 1}) for n in range(4)]  # fmt: skip
    records[3] = replace(records[3], error="fire", scores={})
    [cost] = costs(run(records)).values()
    assert (cost.samples, cost.errors, cost.cut) == (3, 1, 1)
    assert (cost.prompt_tokens, cost.latency) == (100, 1)


def test_a_metric_over_all_samples_has_scores_and_differences(text_run):
    records = [
        record(m, n, None, output="books" if n % 2 else "music", gold="books")
        for m in ("a", "b")
        for n in range(6)
    ]
    view = metric_view(read_run(text_run(records, metrics=["macro-f1"])), "macro-f1")
    assert view.overall["a"].mean == pytest.approx(2 * 3 / (3 + 6))
    [(row, _)] = view.forests[0].rows
    assert (row.difference.mean, row.difference.values, row.verdict) == (0.0, 6, "unclear")
    assert view.personal == []
