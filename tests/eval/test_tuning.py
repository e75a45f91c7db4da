"""``trimtab tune`` on a tiny random model: what is held back, kept, resumed and written."""

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from rich.console import Console

from trimtab import TrimtabError, cli
from trimtab.commands.tune import tune_command
from trimtab.envs.shop.personalwab import save_world
from trimtab.envs.toolspectrum import load_toolspectrum
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.eval.tuning import Tuned, grid_of, split_by_time, tune, tuning_task
from trimtab.eval.tuning.tasks import drawn
from trimtab.steering import ContrastPair, Exchange, SteeredModel, SteeringSettings, Trial

GRID = grid_of(sites="mlp,mid+mlp", depths="0.3,0.6", strengths="1,3")


def test_all_that_a_search_tries_can_be_said() -> None:
    usual = GRID
    grid = grid_of(
        sites="mlp",
        depths="0.3",
        strengths="1",
        keys="input+answer",
        aggregates="mean,naive",
        ks="1,12",
        temperatures="0.3",
    )
    assert grid.keys == ("input+answer",) != usual.keys
    assert grid.aggregates == ("mean", "naive") and usual.aggregates[0] == "attentive"
    assert (grid.ks, grid.temperatures) == ((1, 12), (0.3,)) != (usual.ks, usual.temperatures)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning") / "world"
    save_world(generate_bazaar(users=4, products=100), folder)
    return folder


@pytest.fixture(scope="module")
def model(word_model_folder):
    return SteeredModel.from_pretrained(str(word_model_folder), dtype="float32")


def pair(sample: str, time: int, rejected: str = "no") -> ContrastPair:
    ask = [{"role": "user", "content": f"please {sample}"}]
    return ContrastPair(
        sample, sample, Exchange(ask, "yes"), Exchange(ask, rejected), timestamp=time
    )


@pytest.mark.parametrize(
    ("samples", "share", "late"),
    [(8, 0.25, ["s6", "s7"]), (5, 0.25, ["s3", "s4"]), (2, 0.9, ["s1"]), (3, 0.01, ["s2"])],
)
def test_the_latest_samples_are_held_back(samples, share, late) -> None:
    pairs = [pair(f"s{n}", n, rejected) for n in range(samples) for rejected in ("no", "never")]
    build, held_back = split_by_time({"ann": pairs, "bob": pairs[:2]}, share)
    assert list(build) == list(held_back) == ["ann"]  # bob has one sample
    assert [p.sample_id for p in held_back["ann"][::2]] == late
    assert build["ann"] + held_back["ann"] == pairs


@pytest.mark.parametrize("share", [0, 1, -2, float("nan")])
def test_a_share_is_a_part(share) -> None:
    with pytest.raises(TrimtabError, match="above 0 and below 1"):
        split_by_time({"ann": [pair("s1", 1), pair("s2", 2)]}, share)


def test_users_of_one_sample_cannot_be_tuned_on() -> None:
    with pytest.raises(TrimtabError, match="got 1 users and none with so many"):
        split_by_time({"ann": [pair("s1", 1)]}, 0.5)


@pytest.fixture(scope="module")
def task(model, world):
    return tuning_task("shop", model, data=str(world), count=3)


def test_no_test_task_is_tuned_on(task, world) -> None:
    instructions = json.loads((world / "user_instructions.json").read_text())
    tests = {t["task"] for t in instructions["test"]} - {t["task"] for t in instructions["train"]}
    requests = {pair.request for own in task.read_pairs().values() for pair in own}
    assert tests and requests and not tests & requests


def test_a_search_is_kept_and_gone_on_with(task, model, tmp_path, monkeypatch) -> None:
    where = {"folder": tmp_path / "run", "prepared": tmp_path / "entries"}
    task = replace(task, start=SteeringSettings(k=2))
    seen = []

    def stop_after_four(trial):
        seen.append(trial)
        if len(seen) == 4:
            raise KeyboardInterrupt

    first = tune(model, task, GRID, **where, on_trial=stop_after_four)
    assert first.interrupted and list(first.trials) == seen
    records = (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    assert [Trial.from_json(json.loads(line)) for line in records] == seen
    tried = []
    monkeypatch.setattr(
        "trimtab.steering.dictionaries.tuning.Tuner.try_settings",
        lambda self, settings: tried.append(settings) or Trial(settings, -5.0, -5.0, 0.0, 0.1),
    )
    second = tune(model, task, GRID, **where)
    assert list(second.trials[:4]) == seen
    assert not {t.settings for t in seen} & set(tried) and not second.interrupted
    assert SteeringSettings.load(tmp_path / "run" / "steering.toml") == second.best.settings
    with pytest.raises(TrimtabError, match=r"another configuration \(grid.strengths"):
        tune(model, task, grid_of(sites="mlp,mid+mlp", depths="0.3,0.6", strengths="1"), **where)


def test_a_search_by_likelihood_goes_by_it_in_every_round(task, model, tmp_path) -> None:
    by_text = replace(task, by="likelihood", start=SteeringSettings(k=2, contrast="response"))
    grid = replace(GRID, parts=((1.0, 0.0),))
    found = tune(model, by_text, grid, folder=tmp_path, prepared=tmp_path.parent / "entries")
    assert all(trial.margin is None for trial in found.trials)
    collective = [t.settings for t in found.trials if t.settings and t.settings.collective]
    coarse = [t for t in found.trials[1:] if t.settings and not t.settings.collective]
    best = max(coarse[: len(grid.sites) * len(grid.depths) * len(grid.strengths)],
               key=lambda trial: trial.likelihood).settings  # fmt: skip
    assert {(s.sites, s.depths) for s in collective} == {(best.sites, best.depths)}
    assert found.best.likelihood == max(trial.likelihood for trial in found.trials[1:])


@pytest.mark.usefixtures("trimtab_home")
def test_another_search_is_refused_before_anything_is_read(task, model, tmp_path) -> None:
    where = {"folder": tmp_path / "run", "prepared": tmp_path / "entries"}
    pairs = task.read_pairs()
    tune(model, replace(task, read_pairs=lambda: pairs), GRID, **where)

    def read_pairs():
        raise AssertionError("read, which takes minutes, in place of being refused")

    others = {
        "task": replace(task, name="headlines"),
        "data.fingerprint": replace(task, data={**task.data, "fingerprint": "other"}),
        "users": replace(task, users=task.users[1:]),
    }
    for named, other in others.items():
        with pytest.raises(TrimtabError, match=rf"another configuration \({named}: was"):
            tune(model, replace(other, read_pairs=read_pairs), GRID, **where)
    fewer = {user: own[:-1] for user, own in pairs.items()}  # of another release's model, say
    with pytest.raises(TrimtabError, match="begun with other vectors of training pairs"):
        tune(model, replace(task, read_pairs=lambda: fewer), GRID, **where)


def test_the_budget_ends_a_search(task, model, tmp_path) -> None:
    spent = tune(
        model, task, GRID, folder=tmp_path, prepared=tmp_path.parent / "entries", budget_seconds=0
    )
    assert spent == Tuned((), "margin", out_of_time=True)
    assert spent.best is None and spent.unsteered is None


def run(model, world, out, **how):
    console = Console(file=io.StringIO(), width=120)
    tune_command(
        "shop",
        **{"model": model, "data": str(world), "count": 3, "grid": GRID, "out": out, **how},
        console=console,
    )
    return console.file.getvalue()


@pytest.mark.usefixtures("trimtab_home")
def test_the_command_writes_settings_and_figures(word_model_folder, world, tmp_path) -> None:
    printed = run(str(word_model_folder), world, tmp_path / "out", minutes=60)
    assert "unsteered" in printed and "settings tried; written: " in printed
    records = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    trials = [Trial.from_json(json.loads(line)) for line in records]
    best = max(trials[1:], key=lambda trial: trial.margin)
    assert SteeringSettings.load(tmp_path / "out" / "steering.toml") == best.settings
    assert f"{trials[0].margin:.3f}" in printed and f"{best.margin:.3f}" in printed
    assert (tmp_path / "out" / "tuning.png").read_bytes().startswith(b"\x89PNG")
    drawing = ElementTree.parse(tmp_path / "out" / "tuning.svg").getroot()
    assert drawing.tag.endswith("svg")
    lines = [e for e in drawing.iter() if (e.get("id") or "").startswith("line2d")]
    assert len(lines) > 4
    again = run(str(word_model_folder), world, tmp_path / "out", minutes=0.0001)
    assert f"{best.margin:.3f}" in again  # all of it is there already


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["headline"], "no task 'headline' to tune; did you mean 'headlines'?"),
        (["--minutes", "0"], "expected a budget of more than 0 minutes, got 0"),
        (["--sites", "head"], "cannot try sites 'head'"),
        (["--sites", ","], "expected at least one value to try for sites, got ','"),
        (["--depths", "0.5,2"], "cannot try depths '2'"),
        (["--strengths", "much"], "cannot try strength 'much'"),
        (["--positions", "end"], "cannot try positions 'end'"),
        (["--keys", "answer"], "cannot try keys 'answer'"),
        (["--k", "0"], "cannot try k '0'"),
        (["--users", "0"], "expected at least 1 user to tune on, got 0"),
        (["--user", "nobody"], "nobody"),
        (["--settings", "none.toml"], "there is no settings file at none.toml"),
    ],
)
@pytest.mark.usefixtures("trimtab_home")
def test_bad_input_is_one_line(arguments, said, word_model_folder, world, tmp_path, capsys) -> None:
    given = ["--model", str(word_model_folder), "--data", str(world), "--out", str(tmp_path)]
    assert cli.execute(["tune", *given, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_users_are_drawn_by_seed() -> None:
    users = [f"u{n}" for n in range(20)]
    assert drawn(users, 5, 1) == drawn(users, 9, 1)[:5] != drawn(users, 5, 2)


def test_a_text_task_is_tuned_on_what_people_wrote(model, trimtab_home, monkeypatch) -> None:
    made = SimpleNamespace(pairs=lambda kind: {"ann": [pair("s1", 1)], "bob": []})
    monkeypatch.setattr("trimtab.eval.texts.users.TextUsers", lambda *a, **k: made)
    task = tuning_task("headlines", model, count=2)
    assert (task.name, task.by, list(task.read_pairs())) == ("headlines", "likelihood", ["ann"])
    # Only response contrast is read for it, and what is written for `eval` says so.
    assert task.start.contrast == "response" and (1.0, 0.0) in task.parts
    made.pairs = lambda kind: {"ann": []}
    with pytest.raises(TrimtabError, match="no past sample has a rejected answer"):
        task.read_pairs()


def test_toolspectrum_is_tuned_on_its_own_third_of_the_personas(model):
    folder = Path(__file__).parents[1] / "data" / "toolspectrum"
    seed = next(
        n for n in range(20) if "0" in load_toolspectrum(folder).part("tune", seed=n).personas
    )
    task = tuning_task("toolspectrum", model, data=str(folder), seed=seed)
    assert {user: [p.sample_id for p in own] for user, own in task.read_pairs().items()} == {
        "0": ["0", "2", "7"]
    }
    for pair in task.read_pairs()["0"]:
        # The competitor has no buyItem: whatever it has stands against it.
        assert "Fine_Goods.findItem" in pair.negative.answer
        assert "Corner_Shop" in pair.positive.answer
