"""LaMP's submissions."""

import json
from dataclasses import replace

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.runs.export import export_run, lamp_submission
from trimtab.eval.runs.record import read_run


def test_a_submission_has_the_answers_in_lamps_own_form(text_run):
    run = read_run(text_run())
    paths = export_run(run, "lamp")
    assert [path.name for path in paths] == [f"{method}.json" for method in run.methods]
    plain = json.loads(paths[2].read_text(encoding="utf-8"))
    assert set(plain) == {"task", "golds"}
    assert plain["task"] == "LaMP_4"
    assert plain["golds"] == [
        {"id": sample, "output": record.output} for sample, record in run.of["fints"].items()
    ]


def test_samples_have_lamps_ids(text_run):
    records = read_run(text_run()).records
    named = [replace(r, sample_id=f"{r.user_id}/{r.sample_id}") for r in records]
    plain = lamp_submission(read_run(text_run(named, folder="named")), "rag")
    assert [gold["id"] for gold in plain["golds"]] == [
        r.sample_id for r in records if r.method == "rag"
    ]


@pytest.mark.parametrize(
    ("task", "named"), [("lamp-2n", "LaMP_2N"), ("lamp-3", "LaMP_3"), ("lamp-7", "LaMP_7")]
)
def test_tasks_have_lamps_names(text_run, task, named):
    assert lamp_submission(read_run(text_run(task=task)), "rag")["task"] == named


def test_failed_answers_are_not_handed_in_and_nothing_is_written(odd_run):
    with pytest.raises(TrimtabError, match=r"1 answers of rag were broken off \(s00: fire"):
        export_run(odd_run, "lamp")
    assert not (odd_run.path / "lamp").exists()
    assert export_run(odd_run, "lamp", methods=["fints"])


def test_a_run_that_is_not_finished_is_not_handed_in(text_run):
    run = read_run(text_run(data={"name": "made", "tests": 41}))
    with pytest.raises(TrimtabError, match="rag has answered 40 of 41 samples; finish the run"):
        lamp_submission(run, "rag")


def test_several_answers_a_sample_and_other_tasks_are_refused(text_run):
    records = read_run(text_run(folder="first")).records
    again = [replace(r, sample_id=f"{r.sample_id}#1", detail={"repeat": 1}) for r in records]
    with pytest.raises(TrimtabError, match="several answers to a sample"):
        lamp_submission(read_run(text_run([*records, *again])), "rag")
    with pytest.raises(TrimtabError, match="one of LaMP's tasks .* got 'abstracts'"):
        lamp_submission(read_run(text_run(folder="a", task="abstracts")), "rag")
