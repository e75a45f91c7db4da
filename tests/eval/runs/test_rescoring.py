"""New scores for old outputs: no model, and nothing else changed."""

import json

import pytest

from trimtab.envs.texts.dataset import TextDataset
from trimtab.errors import TrimtabError
from trimtab.eval.methods.registry import parse_methods
from trimtab.eval.runner import evaluate
from trimtab.eval.runs.record import read_run
from trimtab.eval.runs.rescoring import rescore
from trimtab.eval.texts.plan import TextPlan
from trimtab.eval.texts.task import TextTask
from trimtab.steering import SteeredModel


@pytest.fixture
def folder(byte_model, writers, tmp_path):
    answered(byte_model, writers, tmp_path)
    return tmp_path / "run"


def answered(model, writers, tmp_path):
    plan = TextPlan("headlines", tuple(parse_methods("zero-shot,rag")), max_new_tokens=6)
    task = TextTask(plan, model, TextDataset("x", writers), cache=tmp_path)
    return evaluate(task, plan.methods, tmp_path / "run")


def test_changed_outputs_get_their_scores_and_likelihoods_stay(folder, monkeypatch):
    before = read_run(folder).records
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    lines[0]["output"] = lines[0]["gold"]
    # Records stand in the order in which their answers ended.
    broken = next(n for n, line in enumerate(lines) if n and line["method"] == "rag")
    lines[broken]["error"], lines[broken]["scores"] = "RuntimeError: broke", {}
    lines.append(lines[-1])  # a later line of the same sample stands for the earlier one
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(SteeredModel, "from_pretrained", None)
    run = rescore(folder)
    assert len(run.records) == len(before) == 8
    kept = read_run(folder).records
    assert kept == run.records
    assert kept[0].scores["rouge-1"] == kept[0].scores["rouge-l"] == 1.0
    assert kept[0].scores["log-likelihood"] == before[0].scores["log-likelihood"]
    assert kept[broken].scores == {} and kept[broken].error
    assert all(kept[n] == before[n] for n in range(1, 8) if n != broken)
    summary = json.loads((folder / "summary.json").read_text())
    zero = [s for s in summary["scores"] if (s["method"], s["metric"]) == ("zero-shot", "rouge-1")]
    assert zero[0]["mean"] == pytest.approx(
        sum(r.scores["rouge-1"] for r in kept if r.method == "zero-shot") / 4
    )


def test_the_run_can_be_resumed_afterwards(folder, byte_model, writers, tmp_path):
    rescore(folder)
    assert answered(byte_model, writers, tmp_path).fresh == 0


def test_what_was_added_until_the_folder_was_free_is_not_lost(folder, monkeypatch):
    from trimtab.eval.runs import rescoring

    whole = (folder / "results.jsonl").read_bytes()
    (folder / "results.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    real = rescoring.run_folder

    def last_line_comes_first(path, configuration):
        (folder / "results.jsonl").write_bytes(whole)
        return real(path, configuration)

    monkeypatch.setattr(rescoring, "run_folder", last_line_comes_first)
    assert len(rescore(folder).records) == len(read_run(folder).records) == 8


def test_what_says_too_little_of_itself_is_refused(tmp_path):
    with pytest.raises(TrimtabError, match="no run's folder"):
        rescore(tmp_path)
    (tmp_path / "run.json").write_text('{"study": "shop", "arms": {"steered": {}}}')
    with pytest.raises(TrimtabError, match="says too little of itself"):
        rescore(tmp_path)
