"""ToolSpectrum through the whole harness, with a tiny random model."""

import json
from pathlib import Path

import pytest
import torch

from trimtab.agent.calling.calls import parse_calls
from trimtab.cli import execute
from trimtab.envs.toolspectrum import load_toolspectrum
from trimtab.errors import TrimtabError
from trimtab.eval.calls.spectrum.methods import spectrum_methods
from trimtab.eval.calls.spectrum.plan import SpectrumPlan
from trimtab.eval.calls.spectrum.scoring import METRICS
from trimtab.eval.calls.spectrum.task import SpectrumTask
from trimtab.eval.opening import plan_of, scorer_of, summary_of
from trimtab.eval.runner import evaluate

FOLDER = Path(__file__).parents[3] / "data" / "toolspectrum"
DATA = load_toolspectrum(FOLDER)


@pytest.fixture(scope="module")
def model(word_model_folder):
    from trimtab.steering import SteeredModel

    return SteeredModel.from_pretrained(str(word_model_folder), dtype=torch.float32)


def task_of(model, cache, methods, **fields):
    plan = SpectrumPlan(methods, str(FOLDER), part="all", max_new_tokens=120, **fields)
    return SpectrumTask(model, DATA, plan, cache=cache, batch_size=8)


def test_every_method_answers_every_item_with_a_call_of_an_offered_function(model, tmp_path):
    methods = spectrum_methods()
    assert [named.label for named in methods if not named.control_of] == [
        "zero-shot", "persona", "rag", "fints", "persona-vector", "fints(contrast=any)",
    ]  # fmt: skip
    # Of the controls one kind is enough.
    methods = tuple(m for m in methods if not m.control_of or m.label == "fints-other")
    run = evaluate(task_of(model, tmp_path, methods, references=1), methods, tmp_path / "run")
    assert len(run.records) == len(methods) * len(DATA.items)
    assert not any(record.error for record in run.records)
    for record in run.records:
        [call] = parse_calls(record.output)
        assert call.name.startswith("Night_Bus") == (record.kind == "Night Bus")
        assert set(record.scores) == set(METRICS)
        assert (record.scores["app"] is None) == (record.kind == "Night Bus")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {each["category"] for each in summary["by_category"]} == {
        "Corner Shop / Fine Goods", "Night Bus", "all",
    }  # fmt: skip
    # Who has nothing to steer with but the request itself is not steered by it.
    steered = {
        record.sample_id: record.detail["steered"]
        for record in run.records
        if record.method == "fints"
    }
    assert steered["6"] is False and steered["0"] is True
    shown = {r.sample_id: r.prompt[1]["content"] for r in run.records if r.method == "persona"}
    assert shown["0"].startswith("About me:\nGender: Female\nAge: 23\n")
    assert scorer_of(run.run.configuration)(run.records[0]) == run.records[0].scores
    assert plan_of(run.run.configuration).part == "all"


def test_no_part_of_an_items_own_call_reaches_its_prompt_or_its_vectors(model, tmp_path):
    methods = spectrum_methods("rag(k=9),fints(k=9)", controls=False)
    task = task_of(model, tmp_path, methods)
    users = task.prepare(methods)
    treats = {named.label: named.method.prepare(users) for named in methods}
    for sample in users.samples():
        assert not sample.gold
        shown = treats["rag(k=9)"](sample).shown
        assert sample.id not in [past.id for past in shown]
        assert len(shown) == sample.history
        steering = users.steering(sample, treats["fints(k=9)"](sample).steer)
        picked = [] if steering is None else [p.entry.sample_id for p in steering.picked]
        of_user = [i.id for i in DATA.items if i.persona == sample.user_id and i.id != sample.id]
        assert set(picked) <= set(of_user)


def test_a_personas_vector_is_read_from_other_peoples_requests(model, tmp_path):
    methods = spectrum_methods("persona-vector", controls=False)
    plan = SpectrumPlan(methods, str(FOLDER), part="test", references=2, seed=1)
    task = SpectrumTask(model, DATA, plan, cache=tmp_path)
    users = task.prepare(methods)
    assert not {item.persona for item in task.references} & set(task.data.personas)
    found = users.entries(methods[0].method, ("context",))
    assert set(found) == set(task.data.personas)
    for dictionary in found.values():
        assert {entry.contrast for entry in dictionary.entries} == {"context"}
        assert all(entry.sample_id.startswith("reference ") for entry in dictionary.entries)
        assert dictionary.entries[0].answer.endswith('{"name": "')


def test_what_the_model_calls_wrongly_is_asked_once_for_a_method_and_its_controls(
    model, tmp_path, monkeypatch
):
    from trimtab.eval.calls.spectrum import pairs

    asked = []
    likelihoods = pairs.answer_log_likelihoods
    monkeypatch.setattr(
        pairs,
        "answer_log_likelihoods",
        lambda model, exchanges: asked.append(len(exchanges)) or likelihoods(model, exchanges),
    )
    methods = spectrum_methods("fints")
    users = task_of(model, tmp_path, methods).prepare(methods)
    entries = [users.entries(named.method, ("response",)) for named in methods]
    assert len(methods) == 3 and all(each.keys() == entries[0].keys() for each in entries)
    # The night bus has no competitor, so of one group of two there is something to ask.
    assert len(asked) == 1


def test_all_functions_can_be_offered_at_once(model, tmp_path):
    methods = spectrum_methods("zero-shot")
    task = task_of(model, tmp_path, methods, offered="all")
    run = evaluate(task, methods, tmp_path / "run")
    assert not any(record.scores["app"] is None for record in run.records)


def test_a_name_alone_is_the_name_that_a_whole_call_has(model, tmp_path):
    methods = spectrum_methods("zero-shot,persona,fints(strength=8)", controls=False)
    whole = evaluate(task_of(model, tmp_path, methods), methods, tmp_path / "whole")
    short = task_of(model, tmp_path, methods, written="name")
    names = evaluate(short, methods, tmp_path / "names")
    assert names.run.metrics == ("app", "function")
    expected = {(r.method, r.sample_id): r for r in whole.records}
    assert len(names.records) == len(expected)
    for record in names.records:
        call = expected[record.method, record.sample_id]
        assert record.detail["calls"][0]["name"] == call.detail["calls"][0]["name"]
        assert record.scores == {name: call.scores[name] for name in ("app", "function")}
        assert record.completion_tokens < call.completion_tokens
    assert scorer_of(names.run.configuration)(names.records[0]) == names.records[0].scores
    summary = json.loads((tmp_path / "names" / "summary.json").read_text())
    assert {each["metric"] for each in summary["by_category"]} == {"app", "function"}
    assert summary_of("toolspectrum", names.records)["by_category"] == summary["by_category"]


def test_the_command_runs_prints_and_resumes(word_model_folder, trimtab_home, tmp_path, capsys):
    line = ["eval", "toolspectrum", "--data", str(FOLDER), "--model", str(word_model_folder)]
    line += ["--part", "all", "--users", "2", "--methods", "zero-shot,persona", "--quiet"]
    line += ["--max-new-tokens", "200", "--dtype", "float32", "--out", str(tmp_path / "run")]
    assert execute(line) == 0
    shown = capsys.readouterr().out
    assert "personal" in shown and "persona" in shown
    assert execute(["eval", "--resume", str(tmp_path / "run"), "--quiet"]) == 0
    assert execute(["eval", "--rescore", str(tmp_path / "run")]) == 0


def test_what_cannot_be_run_is_refused(capsys):
    with pytest.raises(TrimtabError, match="no built-in data"):
        SpectrumPlan(spectrum_methods("zero-shot"), "")
    with pytest.raises(TrimtabError, match="expected part test, tune, all, got 'some'"):
        SpectrumPlan(spectrum_methods("zero-shot"), str(FOLDER), part="some")
    with pytest.raises(TrimtabError, match="expected written call, name, got 'half'"):
        SpectrumPlan(spectrum_methods("zero-shot"), str(FOLDER), written="half")
    assert execute(["eval", "bfcl", "--part", "tune"]) == 2
    assert "--part says nothing to the task bfcl" in capsys.readouterr().err
    assert execute(["eval", "headlines", "--offered", "all"]) == 2
    assert "--offered says nothing to the task headlines" in capsys.readouterr().err
