"""Running a study on a tiny random model: what is kept, what goes on, what is tried again."""

import json

import pytest
import torch

from trimtab.envs.texts.dataset import TextDataset
from trimtab.errors import TrimtabError
from trimtab.eval.methods.registry import parse_methods, with_controls
from trimtab.eval.runner import evaluate
from trimtab.eval.runs.record import read_run
from trimtab.eval.texts import answering
from trimtab.eval.texts import users as texts_users
from trimtab.eval.texts.plan import TextPlan
from trimtab.eval.texts.task import TextTask
from trimtab.steering import SteeredModel

EVERY = "zero-shot,rag(k=2,by=bm25),pag(tokens=6),cos,stylevector,fints(depths=0.5),two-part"


@pytest.fixture
def dataset(writers):
    return TextDataset("letters to friends", writers)


def plan_of(methods, **given):
    found = tuple(with_controls(parse_methods(methods)))
    return TextPlan(task="headlines", methods=found, **{"max_new_tokens": 6, **given})


@pytest.fixture
def run(byte_model, dataset, tmp_path):
    """Run a plan of the writers in one folder."""

    def run(methods=EVERY, folder="run", batch_size=48, **given):
        how = {k: given.pop(k) for k in ("on_progress", "tries") if k in given}
        data = given.pop("dataset", dataset)
        plan = plan_of(methods, **given)
        task = TextTask(plan, byte_model, data, cache=tmp_path / "cache", batch_size=batch_size)
        return evaluate(task, plan.methods, tmp_path / folder, repeats=plan.repeats, **how)

    return run


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_every_method_and_control_answers_every_sample_and_all_is_recorded(run, tmp_path, dataset):
    told = []
    done = run(on_progress=lambda *state: told.append(state))
    labels = [named.label for named in plan_of(EVERY).methods]
    assert len(labels) == 13
    assert len(done.records) == done.planned == done.fresh == 13 * 4
    assert [r.error for r in done.records] == [""] * 52
    kept = read_run(tmp_path / "run")
    assert kept.records == done.records
    assert list(kept.methods) == labels
    assert kept.controls("two-part") == ("two-part-other", "two-part-population")
    tests = {user.id: user.tests[0] for user in dataset.users}
    for record in kept.records:
        test = tests[record.user_id]
        assert record.gold == test.output and record.history == 6
        assert set(record.scores) >= {"rouge-1", "rouge-2", "rouge-l", "log-likelihood"}
        assert record.scores["log-likelihood"] < 0
        assert record.prompt[-1]["content"].endswith(test.input)
        assert record.prompt_tokens > 0 and record.completion_tokens > 0 and record.seconds > 0
        base = record.method.split("-")[0]
        steers = base in ("fints(depths=0.5)", "stylevector", "two")
        picks = steers and not record.method.endswith("-population")
        assert bool(record.picked) == picks
        if picks:
            own = all(p["sample_id"].startswith(record.user_id) for p in record.picked)
            assert own == (not record.method.endswith("-other"))
            assert sum(p["weight"] for p in record.picked) == pytest.approx(1, abs=1e-3)
    assert {what for what, *_ in told} >= {"answers", "profiles", "rejected answers"}
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert {s["method"] for s in summary["scores"]} == set(labels)


def test_answers_are_those_of_each_method_alone(run):
    together = {(r.method, r.sample_id): r for r in run().records}
    for n, alone in enumerate(["cos", "fints(depths=0.5)", "rag(k=2,by=bm25)"]):
        for record in run(alone, folder=f"alone{n}", batch_size=1).records:
            same = together[record.method, record.sample_id]
            assert record.output == same.output
            assert record.prompt == same.prompt
            assert record.scores == pytest.approx(same.scores, abs=1e-4)


def test_a_second_run_answers_and_prepares_nothing(run, monkeypatch):
    first = run()
    monkeypatch.setattr(SteeredModel, "completions", None)
    monkeypatch.setattr(SteeredModel, "mean_activations", None)
    again = run()
    assert again.fresh == 0
    assert again.records == first.records


def test_prepared_things_are_kept_for_other_runs(run, monkeypatch):
    run()
    monkeypatch.setattr(SteeredModel, "mean_activations", None)
    monkeypatch.setattr(
        SteeredModel, "generate", None
    )  # which writes profiles and rejected answers
    other = run("zero-shot,fints(depths=0.5,strength=2),pag(tokens=6)", folder="other")
    assert other.fresh == len(other.records)


@pytest.mark.parametrize("breaks_at", [1, 6])
def test_a_broken_off_run_resumes_without_loss_or_repetition(run, tmp_path, monkeypatch, breaks_at):
    real, calls = answering.answer, []

    def answer(*args, **how):
        calls.append(args[1])
        if len(calls) == breaks_at:
            raise KeyboardInterrupt
        return real(*args, **how)

    monkeypatch.setattr("trimtab.eval.texts.task.answer", answer)
    methods = "zero-shot,rag"
    first = run(methods, batch_size=1)
    assert first.interrupted
    assert len(first.records) == breaks_at - 1
    with (tmp_path / "run/results.jsonl").open("a") as file:
        file.write('{"method": "zero-shot", "sam')  # as a killed process leaves it
    second = run(methods, batch_size=1)
    assert not second.interrupted and second.fresh == 8 - len(first.records)
    keys = [(r["method"], r["sample_id"]) for r in lines(tmp_path / "run")]
    assert len(keys) == len(set(keys)) == 8


def test_another_configuration_is_refused_with_what_differs(run):
    run("zero-shot,rag(k=2)")
    with pytest.raises(TrimtabError, match=r"methods\.rag\(k=2\).* was .*, now null"):
        run("zero-shot")
    with pytest.raises(TrimtabError, match=r"seed: was 0, now 1"):
        run("zero-shot,rag(k=2)", seed=1)
    assert run("zero-shot,rag(k=2)").fresh == 0


def test_a_run_is_not_resumed_with_other_vectors(run, tmp_path, monkeypatch):
    real_answer, real_read = answering.answer, texts_users.kept_dictionaries

    def breaks(*args, **how):
        if (tmp_path / "run/results.jsonl").exists():
            raise KeyboardInterrupt
        return real_answer(*args, **how)

    def read(*args, **how):
        return {
            user: own.replaced(vectors=own.vectors * 2)
            for user, own in real_read(*args, **how).items()
        }

    methods = "zero-shot,fints"
    monkeypatch.setattr("trimtab.eval.texts.task.answer", breaks)
    assert run(methods, batch_size=1).interrupted
    monkeypatch.setattr("trimtab.eval.texts.task.answer", real_answer)
    monkeypatch.setattr(texts_users, "kept_dictionaries", read)
    with pytest.raises(TrimtabError, match="was begun with other vectors of fints"):
        run(methods)
    assert not run(methods, folder="another").interrupted
    monkeypatch.setattr(texts_users, "kept_dictionaries", real_read)
    assert run(methods).fresh > 0


def test_what_breaks_is_tried_again_and_a_lasting_fault_is_no_wrong_answer(
    run, tmp_path, monkeypatch
):
    real, calls = answering.answer, []

    def shaky(model, prompts, *args, **how):
        calls.append(len(prompts))
        if len(calls) == 1:
            raise RuntimeError("a passing fault")
        if any("bob" in p.draws for p in prompts):
            raise MemoryError("no room for bob")
        return real(model, prompts, *args, **how)

    monkeypatch.setattr("trimtab.eval.texts.task.answer", shaky)
    done = run("zero-shot,rag")
    failed = [r for r in done.records if r.error]
    assert {r.user_id for r in failed} == {"bob"} and len(failed) == 2
    assert all(r.error == "MemoryError: no room for bob" and not r.scores for r in failed)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert [s["values"] for s in summary["scores"]] == [3] * len(summary["scores"])
    assert [cost["errors"] for cost in summary["costs"]] == [1, 1]

    monkeypatch.setattr("trimtab.eval.texts.task.answer", real)
    again = run("zero-shot,rag")
    assert again.fresh == 2 and not any(r.error for r in again.records)
    assert len(read_run(tmp_path / "run").records) == 8


def test_a_full_disk_is_one_clear_line_and_what_is_finished_stays(run, tmp_path, monkeypatch):
    from trimtab.eval.runs.folder import RunFolder

    real, written = RunFolder.append, []

    def append(self, record):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(record)
        real(self, record)

    monkeypatch.setattr(RunFolder, "append", append)
    with pytest.raises(TrimtabError, match="No space left.*make room and run the same") as told:
        run("zero-shot,rag")
    assert "\n" not in str(told.value)
    assert len(lines(tmp_path / "run")) == 3
    monkeypatch.setattr(RunFolder, "append", real)
    assert run("zero-shot,rag").fresh == 5


def test_a_disk_that_cannot_be_written_to_is_no_full_one(run, monkeypatch):
    from trimtab.eval.runs.folder import RunFolder

    def append(self, record):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(RunFolder, "append", append)
    with pytest.raises(TrimtabError, match="Read-only.*let it be written to and run the same"):
        run("zero-shot")


def test_a_likelihood_that_is_no_number_is_a_fault_and_no_score(run, tmp_path, monkeypatch):
    real = answering.answer_log_likelihoods

    def broken(model, exchanges, steering):
        nats = real(model, exchanges, steering)
        return nats.index_fill(0, torch.tensor([0]), torch.nan)

    monkeypatch.setattr(answering, "answer_log_likelihoods", broken)
    done = run("zero-shot", batch_size=1)
    assert [r.scores for r in done.records] == [{}] * 4
    assert all("no finite likelihood (nan)" in r.error for r in done.records)
    monkeypatch.setattr(answering, "answer_log_likelihoods", real)
    assert run("zero-shot").fresh == 4


def test_steering_beyond_all_numbers_is_kept_as_it_came(run):
    for record in run("fints(depths=0.5,strength=1e38)", generate=False).records:
        assert record.error or record.scores["log-likelihood"] < 0


def test_a_context_without_room_for_a_request_is_refused_before_anything_is_made(run):
    told = []
    with pytest.raises(TrimtabError, match="leaves 0 tokens for a prompt.*allow a longer context"):
        run("zero-shot", context=5, on_progress=lambda *state: told.append(state))
    assert not told


def test_only_likelihoods_without_generating(run, monkeypatch):
    with_answers = {(r.method, r.sample_id): r for r in run("zero-shot,cos,fints").records}
    monkeypatch.setattr(answering, "_generated", None)
    found = run("zero-shot,cos,fints", folder="quick", generate=False).records
    assert len(found) == 20
    for record in found:
        full = with_answers[record.method, record.sample_id]
        assert set(record.scores) == {"log-likelihood"}
        assert record.scores["log-likelihood"] == pytest.approx(full.scores["log-likelihood"])
        assert record.output == "" and record.prompt_tokens == full.prompt_tokens


def test_likelihood_is_nats_per_token_of_the_gold(run, byte_model, dataset):
    [record] = [r for r in run("zero-shot", generate=False).records if r.user_id == "ann"]
    prompt = byte_model.prompt_tokens(record.prompt)
    gold = byte_model.tokenizer(record.gold)["input_ids"]
    with torch.inference_mode():
        logs = byte_model.hf(torch.tensor([[*prompt, *gold]])).logits[0].log_softmax(-1)
    expected = [float(logs[len(prompt) - 1 + t, token]) for t, token in enumerate(gold)]
    assert record.scores["log-likelihood"] == pytest.approx(sum(expected) / len(gold), abs=1e-4)
    assert record.detail["gold_tokens"] == len(gold)


def test_repeats_are_samples_of_their_own_with_other_draws(run, tmp_path):
    how = {"temperature": 1.5, "repeats": 3}
    found = run("zero-shot,rag", **how).records
    assert len(found) == len({(r.method, r.sample_id) for r in found}) == 4 * 2 * 3
    outputs = {r.output for r in found if r.method == "zero-shot" and r.user_id == "ann"}
    assert len(outputs) > 1
    again = {(r.method, r.sample_id): r.output for r in run("zero-shot,rag", "b", **how).records}
    assert again == {(r.method, r.sample_id): r.output for r in found}
    alone = run("rag", "c", batch_size=1, **how).records
    assert all(r.output == again[r.method, r.sample_id] for r in alone)
    assert run("zero-shot,rag", "d", seed=1, **how).records[0].output != found[0].output


def test_a_history_too_long_for_the_context_is_cut_and_counted(run):
    found = run("zero-shot,rag(k=6),cos(k=6)", context=190)
    for record in found.records:
        assert not record.error
        shown = record.detail.get("shown", [])
        if record.method == "zero-shot":
            assert record.cut == 0
        else:
            assert 0 < record.cut == record.detail["cut"]["samples"] == 6 - len(shown)
    short = run("zero-shot", folder="short", context=100).records
    assert all(r.detail["cut"]["input_tokens"] == r.cut > 0 for r in short)


def test_one_user_alone_has_no_controls(run, writers):
    lonely = TextDataset("one", writers[:1])
    with pytest.raises(TrimtabError, match="two users"):
        run("fints", dataset=lonely)
