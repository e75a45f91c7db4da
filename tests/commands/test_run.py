"""The whole path of ``trimtab run`` on a tiny random model and a small bazaar."""

import io
import json
from collections import Counter

import pytest
from rich.console import Console

from trimtab import cli
from trimtab.commands.console.running import resume_run, run_plan
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.errors import TrimtabError
from trimtab.eval.runs.record import read_run
from trimtab.eval.shop.plan import ShopPlan, shop_methods
from trimtab.eval.shop.selection import pick_tasks
from trimtab.eval.shop.simulators import Simulator
from trimtab.steering import SteeredModel, SteeringDictionary, SteeringStore

USUAL = "zero-shot,rag,fints"
LAST, ALL, BOTH = "rag(by=recency,k=1)", "rag(by=all)", "fints(by=recency,context=1)"


@pytest.fixture
def run(folders, monkeypatch):
    """Run the command and give back what it printed."""
    monkeypatch.setenv("TRIMTAB_HOME", str(folders / "home"))

    def run(methods=USUAL, settings=None, out=None, batch=48, show=False, **arguments):
        console = Console(file=io.StringIO(), width=100)
        defaults = {"model": str(folders / "model"), "world": str(folders / "world")}
        plan = ShopPlan(
            methods=shop_methods(methods, settings), **{**defaults, "episodes": 3, **arguments}
        )
        try:
            run_plan(plan, out=out, batch_size=batch, show=show, console=console)
        finally:
            run.printed = console.file.getvalue()
        return run.printed

    return run


def test_a_run_prints_its_tables_keeps_its_results_and_is_not_played_twice(
    run, tmp_path, monkeypatch
):
    text = run(out=tmp_path / "out", show=True)
    assert "function accuracy" in text and "minus zero-shot" in text
    assert "15 of 15 episodes" in text
    assert text.count("request") >= 15 and "picked" in text
    records = [json.loads(line) for line in (tmp_path / "out/results.jsonl").open()]
    assert len(records) == 15
    for record in records:
        assert not record["error"]
        # Constrained: always a valid call.
        assert record["detail"]["episode"]["outcome"] == "done"
        assert bool(record["picked"]) == (record["method"] in ("fints", "fints-other"))

    monkeypatch.setattr(SteeredModel, "generate", None)  # neither episodes nor dictionaries
    again = run(out=tmp_path / "out")
    assert "15 of 15 episodes, 0 of them" in again
    assert again.split("function accuracy")[1].split("of 15")[0] in text


def test_ctrl_c_shows_what_is_finished(run, tmp_path, monkeypatch):
    run(out=tmp_path / "first")  # builds the dictionaries
    real, answered = SteeredModel.completions, []

    def interrupted(self, requests, **options):
        for answer in real(self, requests, **options):
            if len(answered) == 6:
                raise KeyboardInterrupt
            answered.append(answer)
            yield answer

    monkeypatch.setattr(SteeredModel, "completions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(out=tmp_path / "out", batch=4)
    kept = len((tmp_path / "out/results.jsonl").read_text().splitlines())
    assert 1 <= kept <= 6
    assert f"{kept} of 15 episodes" in run.printed
    assert "function accuracy" in run.printed


def test_one_users_episodes_have_a_control_too(run, folders, tmp_path):
    from trimtab.envs.shop.personalwab import load_world

    user = load_world(folders / "world").users[1]
    run(users=(user,), episodes=1, out=tmp_path / "out")
    records = [json.loads(line) for line in (tmp_path / "out/results.jsonl").open()]
    assert {record["user_id"] for record in records} == {user}
    assert len(records) == 5


def test_a_conversation_with_several_memories_and_react(run, tmp_path):
    text = run(
        episodes=1,
        simulator=Simulator("model"),
        steps=2,
        methods=f"{LAST},{ALL},fints,{BOTH}",
        prompting="react",
        out=tmp_path / "out",
    )
    assert "average steps" in text and "8 of 8 episodes" in text
    found = {r.method: r.detail["episode"] for r in read_run(tmp_path / "out").records}
    remembered = {method: len(episode["remembered"]) for method, episode in found.items()}
    assert remembered[LAST] == remembered[BOTH] == 1
    assert remembered[ALL] > 1
    assert remembered["fints"] == 0
    assert all(1 <= len(episode["steps"]) <= 2 for episode in found.values())
    # The same run is resumed by what its folder says, and needs no flag.
    console = Console(file=io.StringIO(), width=100)
    assert resume_run(tmp_path / "out", console=console).fresh == 0


def test_dictionaries_come_out_of_a_store(run, folders, tmp_path, monkeypatch):
    run(out=tmp_path / "out")
    store = SteeringStore(tmp_path / "users.db")
    for kept in (folders / "home/dictionaries").glob("*.safetensors"):
        store.put(SteeringDictionary.load(kept))
    run(out=tmp_path / "out2", store=str(tmp_path / "users.db"))
    first, second = (
        {
            (record["method"], record["sample_id"]): record["picked"]
            for record in map(json.loads, (tmp_path / name / "results.jsonl").open())
        }
        for name in ("out", "out2")
    )
    assert {key: [p["sample_id"] for p in picked] for key, picked in first.items()} == {
        key: [p["sample_id"] for p in picked] for key, picked in second.items()
    }
    with pytest.raises(TrimtabError, match="none of the users"):
        run(out=tmp_path / "out3", store=str(tmp_path / "empty.db"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--user-url", "http://x/v1"], "add --track multi"),
        (["--track", "multi", "--user-simulator", "parrot"], "scripted, model, endpoint"),
        (["--methods", "rag(by=last)"], "'encoder', 'bm25', 'recency', 'random' or 'all'"),
        (["--prompting", "loud"], "'loud' is not one of"),
        (["--store", "a", "--dictionaries", "b"], "got both"),
    ],
)
def test_bad_options_are_one_line_on_the_command_line(
    run, folders, tmp_path, capsys, arguments, said
):
    given = ["--model", str(folders / "model"), "--world", str(folders / "world")]
    given += ["--episodes", "1", "--out", str(tmp_path / "out")]
    assert cli.execute(["run", *given, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"episodes": 0}, "got 0"),
        ({"episodes": 10_000}, "got 10000"),
        ({"users": ("nobody",)}, "no user 'nobody'"),
        ({"world": "/no/such/world"}, "/no/such/world"),
        ({"settings": "/no/such.toml"}, "/no/such.toml"),
        ({"dictionaries": "/no/such/folder"}, "no folder of dictionaries"),
        ({"model": "/no/such/model"}, "/no/such/model"),
        ({"batch": 0}, "at least 1 row"),
    ],
)
def test_bad_input_is_refused_in_one_line(run, tmp_path, arguments, said):
    from pathlib import Path

    paths = {k: Path(v) for k, v in arguments.items() if k == "settings"}
    with pytest.raises(TrimtabError, match=said) as refused:
        run(out=tmp_path / "out", **{**arguments, **paths})
    assert "\n" not in str(refused.value)


def test_dictionaries_of_another_model_are_refused(run, folders, tmp_path):
    from trimtab.envs.shop.personalwab import load_world

    run(out=tmp_path / "out")
    user = load_world(folders / "world").users[0]
    kept = next((folders / "home/dictionaries").glob("*.safetensors"))
    foreign = SteeringDictionary.load(kept)
    foreign.fingerprint, foreign.user_id = "another", user
    foreign.save(tmp_path / "given" / f"{user}.safetensors")
    with pytest.raises(TrimtabError, match="another model"):
        run(dictionaries=str(tmp_path / "given"), out=tmp_path / "out2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrimtabError, match="none of the users"):
        run(dictionaries=str(tmp_path / "empty"), out=tmp_path / "out3")


def test_picked_tasks_are_those_of_the_users_asked_for():
    world = generate_bazaar(users=4, products=100)
    user = world.users[2]
    tasks = pick_tasks(world, 3, 0, [user])
    assert [task.user_id for task in tasks] == [user] * 3
    assert len(pick_tasks(world, 8, 0)) == 8
    assert pick_tasks(world, 8, 0) != pick_tasks(world, 8, 1)
    with pytest.raises(TrimtabError, match="test tasks of"):
        pick_tasks(world, 500, 0, [user])


def test_tasks_are_spread_over_as_few_users_as_asked_or_as_it_takes():
    world = generate_bazaar(users=6, products=100)
    few = pick_tasks(world, 8, 0, spread=2)
    assert sorted(Counter(task.user_id for task in few).values()) == [4, 4]
    assert few[:2] == pick_tasks(world, 2, 0)
    users = {task.user_id for task in pick_tasks(world, 30, 0, spread=2)}
    assert 30 / 8 <= len(users) < 6


def test_the_tools_of_a_file_are_shown_as_well(run, tmp_path):
    (tmp_path / "mine.py").write_text(
        'def weather(city: str) -> str:\n    "Tell the weather."\n    return city\n'
    )
    run(out=tmp_path / "out", tools=str(tmp_path / "mine.py"), episodes=1)
    with_it = json.loads((tmp_path / "out/run.json").read_text())
    run(out=tmp_path / "other", episodes=1)
    without = json.loads((tmp_path / "other/run.json").read_text())
    assert with_it["tools"] != without["tools"]
    assert "weather" in [tool["function"]["name"] for tool in with_it["schemas"]]
    assert "schemas" not in without
    tokens = [
        sum(
            step["prompt_tokens"]
            for line in (tmp_path / folder / "results.jsonl").open()
            for step in json.loads(line)["detail"]["episode"]["steps"][:1]
        )
        for folder in ("out", "other")
    ]
    assert tokens[0] > tokens[1]


@pytest.mark.usefixtures("run")
def test_a_failure_of_code_is_exit_code_1_and_its_traceback_is_kept(
    folders, tmp_path, monkeypatch, capsys
):
    from trimtab.eval.shop import task

    def broken(*arguments, **options):
        raise KeyError("a bug of ours")

    monkeypatch.setattr(task, "episode_record", broken)
    monkeypatch.setattr(SteeredModel, "generate", lambda *a, **k: broken())
    given = ["--model", str(folders / "model"), "--world", str(folders / "world")]
    given += ["--episodes", "1", "--methods", "zero-shot", "--out", str(tmp_path / "out")]
    assert cli.execute(["run", *given]) == 1
    [record] = read_run(tmp_path / "out").records
    assert "in broken" in record.detail["traceback"]
    out = capsys.readouterr().out
    assert "1 failed with: KeyError: 'a bug of ours'" in out and "1 failures are of code" in out


@pytest.mark.usefixtures("run")
def test_what_a_person_can_put_right_for_everything_is_one_line_and_code_2(
    folders, tmp_path, monkeypatch, capsys
):
    def refused(*arguments, **options):
        raise TrimtabError("the prompt is too long; allow a longer context")

    monkeypatch.setattr(SteeredModel, "completions", refused)
    given = ["--model", str(folders / "model"), "--world", str(folders / "world")]
    given += ["--episodes", "1", "--methods", "zero-shot", "--out", str(tmp_path / "out")]
    assert cli.execute(["run", *given]) == 2
    error = capsys.readouterr().err
    assert "nothing could be answered: the prompt is too long" in error


@pytest.mark.usefixtures("run")
def test_json_is_one_object_alone_and_resumes_rescore_and_export_work(folders, tmp_path, capsys):
    given = ["--model", str(folders / "model"), "--world", str(folders / "world")]
    given += ["--episodes", "2", "--methods", "zero-shot,fints", "--out", str(tmp_path / "out")]
    assert cli.execute(["run", *given, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["task"] == "shop" and summary["records"] == summary["planned"] == 8
    assert summary["failed"] == 0 and summary["accuracies"] and summary["scores"]
    assert cli.execute(["eval", "--resume", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fresh"] == 0
    before = read_run(tmp_path / "out").records
    assert cli.execute(["eval", "--rescore", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracies"] == summary["accuracies"]
    assert read_run(tmp_path / "out").records == before
    for arguments in (["report"], ["export", "--to", "csv"], ["export", "--to", "inspect"]):
        assert cli.execute([arguments[0], str(tmp_path / "out"), *arguments[1:]]) == 0
    world = ["--to", "personalwab", "--world", str(folders / "world")]
    assert cli.execute(["export", str(tmp_path / "out"), *world]) == 0
    assert cli.execute(["compare", str(tmp_path / "out"), str(tmp_path / "out")]) == 0
