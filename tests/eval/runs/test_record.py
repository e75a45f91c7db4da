"""Records and runs: what is written is read, what is torn or doubled is understood."""

import json
from dataclasses import replace

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.runs.record import Record, read_run

RECORD = Record(
    method="fints",
    sample_id="s1",
    user_id="ann",
    prompt=[{"role": "user", "content": "Headline?"}],
    output="Sea \ud800 closes",
    gold="Sea closes",
    scores={"rouge-1": 0.5, "log-likelihood": None},
    history=7,
    picked=[{"sample_id": "h1", "weight": 0.25}],
    prompt_tokens=12,
    seconds=1,
)


def test_a_record_is_what_its_json_says():
    plain = json.loads(json.dumps(RECORD.to_json()))
    assert Record.from_json(plain) == RECORD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": None}, "'method' is a NoneType"),
        ({"picked": {}}, "'picked' is a dict"),
        ({"history": 1.5}, "'history' is a float"),
        ({"cut": True}, "'cut' is a bool"),
        ({"scores": {"rouge-1": "high"}}, "score 'rouge-1' is 'high'"),
        ({"scores": {"rouge-1": float("nan")}}, "score 'rouge-1' is nan"),
        ({"colour": "red"}, "'colour' is no field"),
    ],
)
def test_what_is_no_record_is_refused(change, said):
    with pytest.raises(TrimtabError, match=said):
        Record.from_json({**RECORD.to_json(), **change})


def test_a_record_needs_a_sample():
    with pytest.raises(TrimtabError, match="no 'sample_id'"):
        Record.from_json({"method": "m", "user_id": "u"})


def test_a_run_has_methods_and_metrics_in_the_order_of_its_configuration(text_run):
    run = read_run(text_run())
    assert run.task == "headlines"
    assert run.metrics == ("rouge-1", "log-likelihood")
    assert run.methods == ("zero-shot", "rag", "fints", "fints-other", "fints-population")
    assert run.baseline == "zero-shot"
    assert run.controls("fints") == ("fints-other", "fints-population")
    assert run.controls("rag") == ()
    assert len(run.records) == 200
    assert run.of["rag"]["s07"].method == "rag"


@pytest.mark.parametrize(
    ("named", "methods", "baseline"),
    [
        ("rag", ["zero-shot", "rag"], "rag"),
        ("lost", ["rag", "zero-shot"], "zero-shot"),
        (None, ["fints", "unsteered"], "unsteered"),
        (None, ["rag", "fints"], "rag"),
    ],
)
def test_the_baseline_is_the_configurations_or_what_knows_nothing(
    text_run, named, methods, baseline
):
    records = [replace(RECORD, method=method) for method in methods]
    assert read_run(text_run(records, baseline=named)).baseline == baseline


def test_a_later_line_stands_for_an_earlier_one_and_a_torn_one_is_left_out(text_run):
    failed = replace(RECORD, output="", scores={}, error="out of memory")
    folder = text_run([failed, replace(RECORD, sample_id="s2"), RECORD])
    results = folder / "results.jsonl"
    torn = results.read_bytes() + b'{"method": "fints", "sam'
    results.write_bytes(torn)
    run = read_run(folder)
    assert [record.sample_id for record in run.records] == ["s1", "s2"]
    assert run.of["fints"]["s1"] == RECORD
    assert results.read_bytes() == torn  # another process may be writing to it


def test_a_run_without_results_has_no_records(text_run):
    folder = text_run([])
    run = read_run(folder)
    assert run.records == () and run.baseline == ""


@pytest.mark.parametrize("line", ["{}", "[]", "no json", '{"arm": "steered"}'])
def test_a_line_that_is_no_record_is_named(text_run, line):
    folder = text_run([RECORD])
    with (folder / "results.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(TrimtabError, match=r"results\.jsonl, line 2: ") as refused:
        read_run(folder)
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(TrimtabError, match=r"no run\.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(TrimtabError, match="expected an object"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(TrimtabError, match="cannot read"):
        read_run(tmp_path)
