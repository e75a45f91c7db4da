"""Two runs side by side."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from trimtab.cli import execute
from trimtab.commands.console.compare_table import print_comparison
from trimtab.errors import TrimtabError
from trimtab.eval.runs.compare import compare_runs
from trimtab.eval.runs.record import read_run


@pytest.fixture
def two(text_run):
    """The made run, and the same with the first five answers of `rag` changed."""

    def make(change=lambda record: record, **configuration):
        first = read_run(text_run(folder="first", strength=1.0, seed=0))
        settings = {"strength": 2.0, "seed": 0, "extra": ["x"], **configuration}
        second = [change(record) for record in first.records]
        return first, read_run(text_run([r for r in second if r], folder="second", **settings))

    return make


def better(record):
    if record.method != "rag" or record.sample_id > "s04":
        return record
    scores = {**record.scores, "rouge-1": record.scores["rouge-1"] + int(record.sample_id[1:]) / 10}
    return replace(record, output=record.gold, scores=scores)


def test_differences_are_the_second_minus_the_first(two):
    found = compare_runs(*two(better))
    assert found.methods == ("zero-shot", "rag", "fints", "fints-other", "fints-population")
    assert found.samples == 40
    gaps = {gap.method: gap.difference for gap in found.gaps["rouge-1"]}
    assert gaps["rag"].mean == pytest.approx((0.0 + 0.1 + 0.2 + 0.3 + 0.4) / 40)
    assert gaps["rag"].values == 40
    assert gaps["fints"][:3] == (0, 0, 0)
    assert list(found.gaps) == ["rouge-1", "log-likelihood"]


def test_the_greatest_changes_come_first_and_what_is_the_same_is_none(two):
    found = compare_runs(*two(better))
    assert [change.first.sample_id for change in found.changes] == [
        "s04", "s03", "s02", "s01", "s00",
    ]  # fmt: skip
    assert found.changes[0].gain == pytest.approx(0.4)
    assert found.changes[0].second.output == found.changes[0].first.gold


def test_settings_that_differ_are_named_with_both_values(two):
    settings = {s.name: (s.first, s.second) for s in compare_runs(*two()).settings}
    assert settings == {"strength": ("1.0", "2.0"), "extra": (None, '["x"]')}


def test_what_only_one_run_has_is_told_and_left_out(two):
    def change(record):
        if record.method == "fints" or record.sample_id == "s00":
            return None
        return replace(record, gold="other") if record.sample_id == "s01" else record

    found = compare_runs(*two(change))
    assert found.left_out == ("fints",)
    assert (found.samples, found.other_gold) == (38, 1)
    assert found.gaps["rouge-1"][0].difference.values == 38


def test_a_failed_answer_is_a_change_without_a_gain(two):
    def change(record):
        if (record.method, record.sample_id) != ("fints", "s09"):
            return record
        return replace(record, error="out of memory", scores={}, output="")

    found = compare_runs(*two(change), metrics=["rouge-1"], methods=["fints"])
    [changed] = found.changes
    assert changed.gain != changed.gain
    assert found.gaps["rouge-1"][0].difference.values == 39


def test_a_metric_over_all_samples_is_compared_too(two):
    first, second = two(better)
    for run in (first, second):
        run.configuration["metrics"] = ["macro-f1", "rouge-1"]
    found = compare_runs(first, second)
    gaps = {gap.method: gap.difference.mean for gap in found.gaps["macro-f1"]}
    assert gaps["rag"] > 0 == gaps["zero-shot"]


@pytest.mark.parametrize(
    ("configuration", "options", "said"),
    [
        ({"task": "abstracts"}, {}, "'headlines' in .* 'abstracts' in"),
        ({}, {"methods": ["pag"]}, "no method 'pag' in both runs"),
        ({}, {"metrics": ["mae"]}, "no metric 'mae' in both runs; the first has rouge-1"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(two, configuration, options, said):
    with pytest.raises(TrimtabError, match=said):
        compare_runs(*two(**configuration), **options)


def test_runs_without_a_common_sample_are_refused(two):
    with pytest.raises(TrimtabError, match="no sample in common; were they"):
        compare_runs(*two(lambda record: replace(record, sample_id=f"x{record.sample_id}")))
    with pytest.raises(TrimtabError, match=r"with the same gold \(40 differ\)"):
        compare_runs(*two(lambda record: replace(record, gold="other")))


def test_it_is_printed_whole_where_there_is_no_terminal(two):
    def change(record):
        changed = better(record)
        return changed if changed is record else replace(changed, output="\x1b[31m half \ud83d of")

    console = Console(file=io.StringIO(), width=40)
    print_comparison(console, compare_runs(*two(change)), top=2)
    text = console.file.getvalue()
    assert "rouge-1: second minus first" in text
    [row] = [line for line in text.splitlines() if line.startswith("rag ")][:1]
    assert "+0.025 (" in row
    assert "\x1b" not in text and "half ? of" in text
    assert "s04" in text and "s02" not in text
    assert "5 answers differ" in text
    text.encode()


def test_the_command_prints_it_and_refuses_in_one_line(text_run, tmp_path, capsys):
    one, other = text_run(folder="one"), text_run(folder="other", seed=7)
    assert execute(["compare", str(one), str(other), "--metric", "rouge-1"]) == 0
    printed = capsys.readouterr().out
    assert "seed" in printed and "log-likelihood" not in printed
    assert execute(["compare", str(one), str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
