"""The whole path of ``trimtab eval``, killed in the middle for real, and bad input."""

import io
import json
import signal

import pytest
from rich.console import Console

from trimtab import cli
from trimtab.commands.console.running import rescore_run, run_plan
from trimtab.commands.evaluate import plan_from
from trimtab.eval.runs.record import read_run

from ..forks import Forked

# The command, which the system kills once it has kept its seventh record.
KILLED = """
import os, signal
os.environ["TRIMTAB_HOME"] = home
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
from trimtab import cli
from trimtab.eval.runs.folder import RunFolder

append = RunFolder.append

def append_or_die(folder, record):
    append(folder, record)
    if len(folder.records) == 7:
        os.kill(os.getpid(), signal.SIGKILL)

RunFolder.append = append_or_die
cli.execute(["eval", *arguments])
"""


@pytest.fixture
def flags(byte_model_path):
    return [
        "headlines", "--users", "3", "--tests", "1", "--history", "3", "--max-new-tokens", "4",
        "--methods", "zero-shot,rag(k=1),fints(depths=0.5)", "--model", str(byte_model_path),
        "--batch", "1",
    ]  # fmt: skip


def test_a_run_that_is_killed_is_resumed_to_the_same_end(flags, tmp_path, capsys, trimtab_home):
    results = tmp_path / "killed/results.jsonl"
    whole = [*flags, "--out", str(tmp_path / "whole")]
    assert cli.execute(["eval", *whole]) == 0
    expected = (tmp_path / "whole/results.jsonl").read_text().splitlines()
    assert len(expected) == 3 * 5

    arguments = [*flags, "--out", str(results.parent)]
    killed = Forked(KILLED, home=str(trimtab_home), arguments=arguments)
    assert killed.ended() == -signal.SIGKILL
    before = results.read_bytes()
    assert before.count(b"\n") == 7
    capsys.readouterr()
    assert cli.execute(["eval", "--resume", str(results.parent), "--batch", "1"]) == 0
    out = capsys.readouterr().out
    fresh = 15 - before.count(b"\n")
    assert f"15 of 15 answers, {fresh} of them in these" in out
    after = results.read_bytes()
    assert after.startswith(before[: before.rfind(b"\n") + 1])

    def told(lines):
        records = [json.loads(line) for line in lines]
        assert len({(r["method"], r["sample_id"]) for r in records}) == len(records) == 15
        return {
            (r["method"], r["sample_id"]): (r["output"], r["prompt"], r["gold"]) for r in records
        }

    assert told(after.splitlines()) == told(expected)
    assert cli.execute(["eval", *flags, "--out", str(results.parent)]) == 0
    assert "15 of 15 answers, 0 of them" in capsys.readouterr().out


def test_a_run_is_resumed_in_its_own_precision(flags, tmp_path, capsys, trimtab_home):
    folder = tmp_path / "run"
    assert cli.execute(["eval", *flags, "--dtype", "int8", "--out", str(folder)]) == 0
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    (folder / "results.jsonl").write_text("".join(lines[:-2]))
    # Answers in another precision would be compared with these as if they were alike.
    assert cli.execute(["eval", *flags, "--dtype", "float32", "--out", str(folder)]) == 2
    assert 'model.dtype: was "int8", now "torch.float32"' in capsys.readouterr().err
    assert cli.execute(["eval", "--resume", str(folder)]) == 0
    assert "15 of 15 answers, 2 of them" in capsys.readouterr().out


@pytest.mark.usefixtures("trimtab_home")
def test_a_run_shows_its_controls_and_is_rescored(flags, tmp_path):
    console = Console(file=io.StringIO(), width=100)
    given = {"task": "headlines", "users": 3, "tests": 1, "history": 3, "max_new_tokens": 4}
    model = flags[flags.index("--model") + 1]
    out = tmp_path / "run"
    plan = plan_from({**given, "methods": "zero-shot,fints", "model": model})
    run_plan(plan, out=out, console=console)
    text = console.file.getvalue()
    for line in ("3 users", "fints-other", "fints-population", "personal gain of fints", "rouge-l"):
        assert line in text
    again = Console(file=io.StringIO(), width=100)
    rescore_run(out, console=again)
    assert again.file.getvalue().split("kept in")[0].split("scores")[1].split("of 12")[0] in text


@pytest.mark.usefixtures("trimtab_home")
def test_one_s_own_texts_are_compared_like_a_benchmark_s(flags, tmp_path):
    file = tmp_path / "mine.jsonl"
    records = [
        {
            "user": user,
            "input": f"Say {n} of {user}." if n > 2 else "",
            "output": f"{user} {'xyz'[n % 3]} {n}",
            "time": f"2024-05-0{n}",
        }
        for n in range(1, 7)
        for user in ("ann", "bob", "eve")
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    console = Console(file=io.StringIO(), width=100)
    plan = plan_from(
        {
            "task": "texts",
            "data": str(file),
            "methods": "zero-shot,rag(k=1,by=recency),fints(depths=0.5)",
            "model": flags[flags.index("--model") + 1],
            "max_new_tokens": 4,
        }
    )
    run_plan(plan, out=tmp_path / "run", console=console)
    assert "own texts (mine.jsonl): 3 users, 15 past samples, 3 tests" in console.file.getvalue()
    run = read_run(tmp_path / "run")
    assert len(run.records) == 3 * 5 and not any(record.error for record in run.records)
    answers = {(r.method, r.user_id): r for r in run.records}
    system, request = answers["zero-shot", "ann"].prompt
    assert system["content"] == "Answer as you are asked, with the text alone."
    assert request["content"] == "Say 6 of ann."
    assert answers["zero-shot", "ann"].gold == "ann x 6"
    shown = answers["rag(k=1,by=recency)", "ann"].prompt[-1]["content"]
    assert shown.endswith("earlier:\n- ann z 5\n\nSay 6 of ann.")
    assert set(answers["fints(depths=0.5)", "bob"].scores) >= {
        "rouge-1", "rouge-2", "rouge-l", "log-likelihood",
    }  # fmt: skip
    assert answers["fints(depths=0.5)", "bob"].picked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected a task"),
        (["hedlines"], "did you mean 'headlines'"),
        (["shpo"], "did you mean 'shop'"),
        (["xyzzy"], "lamp-7, "),
        (["xyzzy"], "shop, bfcl"),
        (["shop", "--plan", "x.toml"], "--plan says nothing to the task shop"),
        (["shop", "--users", "0"], "users of at least 1"),
        (["headlines", "--methods", "fint"], "did you mean 'fints'"),
        (["headlines", "--users", "0"], "users of at least 1"),
        (["headlines", "--batch", "0"], "at least 1 row"),
        (["headlines", "--workers", "2"], "--workers says nothing without --ray"),
        (["headlines", "--ray", "local", "--workers", "0"], "at least 1 worker"),
        (["headlines", "--repeats", "3"], "temperature above 0"),
        (["headlines", "--data", "/no/such"], "/no/such"),
        (["lamp-7"], "LaMP-7 has no built-in data"),
        (["texts"], "give --data a file of your own records; expected .jsonl"),
        (["texts", "--data", "/no/such"], "there is no file /no/such; expected .jsonl"),
        (["headlines", "--plan", "/no/such.toml"], "no plan file"),
        (["headlines", "--settings", "/no/such.toml"], "no settings file"),
        (["headlines", "--resume", "x"], "from the run's folder; leave out the task 'headlines'"),
        (["--resume", "x", "--out", "y"], "leave out --out"),
        (["--resume", "x", "--no-generate"], "leave out --no-generate"),
        (["--resume", "/no/such"], "no run's folder"),
        (["--rescore", "/no/such", "--seed", "1"], "leave out --seed"),
        (["--rescore", "/no/such", "--ray", "auto"], "leave out --ray"),
        (["--rescore", "/no/such"], "no run's folder"),
        (["shop", "--history", "3"], "--history says nothing to the task shop"),
        (["bfcl", "--data", "x", "--methods", "rag"], "methods: free, constrained, auto"),
        (["bfcl"], "bfcl has no built-in data"),
        (["bfcl", "--history", "3"], "--history says nothing to the task bfcl"),
        (["headlines", "--model", "/no/such/model"], "/no/such/model"),
    ],
)
@pytest.mark.usefixtures("trimtab_home")
def test_bad_input_is_one_line_and_code_2(arguments, said, capsys):
    assert cli.execute(["eval", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err


@pytest.mark.usefixtures("trimtab_home")
def test_a_folder_in_use_is_refused(flags, tmp_path, capsys):
    import filelock

    (tmp_path / "run").mkdir()
    with filelock.FileLock(tmp_path / "run/.lock"):
        assert cli.execute(["eval", *flags, "--out", str(tmp_path / "run")]) == 2
    assert "another process is writing" in capsys.readouterr().err
