"""Studies from flags and TOML, and back from a run's configuration."""

import json
from dataclasses import replace

import pytest

from trimtab.envs.texts.dataset import TextDataset
from trimtab.errors import TrimtabError
from trimtab.eval.texts.kinds import TASKS
from trimtab.eval.texts.plan import TextPlan, make_plan


def test_flags_alone():
    study = make_plan({"task": "headlines", "users": 8, "methods": "rag(k=1),fints", "seed": None})
    assert (study.users, study.seed) == (8, 0)
    assert [n.label for n in study.methods] == ["rag(k=1)", "fints", "fints-other",
                                                "fints-population"]  # fmt: skip
    assert study.baseline == "rag(k=1)"
    assert study.metrics[0] == "rouge-1"
    assert make_plan({"task": "headlines"}, controls=False).methods[-1].label == "fints"


def test_a_toml_file_and_flags_before_it(tmp_path):
    file = tmp_path / "study.toml"
    (tmp_path / "s.toml").write_text("[steering]\nstrength = 4.0\n")
    file.write_text(
        'task = "lamp-7"\ndata = "tweets"\nusers = 30\nhistory = 9\ngenerate = false\n'
        'settings = "s.toml"\n'
        "[methods.zero-shot]\n[methods.rag]\nk = 5\n"
        '[methods.strong]\nmethod = "fints"\nsites = ["block"]\n'
    )
    study = make_plan({"users": 3}, file=file)
    assert (study.task, study.users, study.history, study.generate) == ("lamp-7", 3, 9, False)
    assert study.data == str(tmp_path / "tweets")
    labels = [n.label for n in study.methods]
    assert labels == ["zero-shot", "rag", "strong", "strong-other", "strong-population"]
    assert study.methods[2].method.strength == 4.0
    assert study.methods[2].method.sites == ("block",)
    assert study.metrics == ("log-likelihood",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task = 'headlines'\nuser = 3", "unknown field 'user'; expected context, controls"),
        ("task = 'headlines'\nusers = 'many'", "expected users as int, got 'many'"),
        ("task = 'headlines'\nusers = true", "expected users as int, got True"),
        ("task = 'headlines'\nseed = 1.5", "expected seed as int"),
        ("task = 'hadlines'", "did you mean 'headlines'"),
        ("users = 3", "expected a task"),
        ("task = headlines", "not a TOML file"),
        ("task = 'headlines'\nusers = 0", "users of at least 1"),
        ("task = 'headlines'\ntemperature = -1", "temperature of at least 0"),
        ("task = 'headlines'\ntemperature = nan", "finite temperature"),
        ("task = 'headlines'\ntemperature = inf", "finite temperature"),
        ("task = 'headlines'\nmethods = ['rag']", "expected methods as one line"),
        ("task = 'headlines'\ncontrols = 'no'", "controls as true or false, got 'no'"),
        ("task = 'headlines'\nrepeats = 3", "would all be equal"),
        ("task = 'headlines'\n[methods.rag]\nkk = 1", "no option 'kk'"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, text, said):
    file = tmp_path / "study.toml"
    file.write_text(text)
    with pytest.raises(TrimtabError, match=said) as refused:
        make_plan({}, file=file)
    assert "\n" not in str(refused.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(TrimtabError, match="no plan file"):
        make_plan({}, file=tmp_path / "none.toml")


def test_a_study_comes_back_from_its_configuration(byte_model, writers):
    given = {"task": "abstracts", "temperature": 0.7, "repeats": 2, "context": 900, "tests": 1}
    study = make_plan({**given, "methods": "zero-shot,fints(depths=0.5),two-part", "data": "/d"})
    plain = json.loads(json.dumps(study.configuration(byte_model, TextDataset("x", writers))))
    back = TextPlan.of(plain)
    assert back.configuration(byte_model, TextDataset("x", writers)) == study.configuration(
        byte_model, TextDataset("x", writers)
    )
    assert back.methods == study.methods
    assert plain["task"] == "abstracts" and plain["baseline"] == "zero-shot"
    assert plain["data"]["path"] == "/d" and plain["data"]["history"] == 24
    with pytest.raises(TrimtabError, match="no run of `trimtab eval` on texts but of 'shop'"):
        TextPlan.of({"task": "shop", "methods": {}})


def test_only_the_latest_past_and_the_first_tests_count(monkeypatch, writers):
    dataset = TextDataset("x", writers)
    task = replace(TASKS["headlines"], load=lambda path, seed: dataset, minimum_history=3)
    monkeypatch.setattr("trimtab.eval.texts.plan.get_task", lambda name: task)
    study = make_plan({"task": "headlines", "history": 2, "tests": 1, "users": 3})
    found = study.dataset()
    assert len(found.users) == 3
    for user in found.users:
        assert [sample.timestamp for sample in user.history] == [4, 5]
        assert len(user.tests) == 1
    assert study.dataset().fingerprint == found.fingerprint != dataset.fingerprint


@pytest.mark.parametrize("task", ["shop", "bfcl"])
def test_a_task_that_is_no_texts_is_told_where_it_belongs(tmp_path, task):
    file = tmp_path / "study.toml"
    file.write_text(f'task = "{task}"')
    with pytest.raises(TrimtabError, match=f"see `trimtab eval {task}`"):
        make_plan({}, file=file)
