"""The whole path of ``trimtab eval``, killed in the middle for real, and bad input."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from trimtab import cli
from trimtab.eval.evaluating import evaluate_command

COMMAND = [str(Path(sys.executable).with_name("trimtab")), "eval"]


@pytest.fixture
def flags(byte_model_path):
    return [
        "headlines", "--users", "3", "--tests", "1", "--history", "3", "--max-new-tokens", "4",
        "--methods", "zero-shot,rag(k=1),fints(depths=0.5)", "--model", str(byte_model_path),
        "--batch", "1",
    ]  # fmt: skip


@pytest.mark.usefixtures("trimtab_home")
def test_a_run_that_is_killed_goes_on_to_the_same_end(flags, tmp_path, capsys):
    results = tmp_path / "killed/results.jsonl"
    whole = [*flags, "--out", str(tmp_path / "whole")]
    assert cli.execute(["eval", *whole]) == 0
    expected = (tmp_path / "whole/results.jsonl").read_text().splitlines()
    assert len(expected) == 3 * 5

    process = subprocess.Popen(
        [*COMMAND, *flags, "--out", str(results.parent)],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while process.poll() is None and not (
        results.exists() and results.read_bytes().count(b"\n") > 2
    ):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = results.read_bytes()
    assert 2 < before.count(b"\n") < 15
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


@pytest.mark.usefixtures("trimtab_home")
def test_a_run_shows_its_controls_and_is_rescored(flags, tmp_path):
    console = Console(file=io.StringIO(), width=100)
    given = {"task": "headlines", "users": 3, "tests": 1, "history": 3, "max_new_tokens": 4}
    model = flags[flags.index("--model") + 1]
    out = tmp_path / "run"
    evaluate_command(
        {**given, "methods": "zero-shot,fints", "model": model}, out=out, console=console
    )
    text = console.file.getvalue()
    for line in ("3 users", "fints-other", "fints-population", "personal gain of fints", "rouge-l"):
        assert line in text
    again = Console(file=io.StringIO(), width=100)
    evaluate_command({}, rescore=out, console=again)
    assert again.file.getvalue().split("kept in")[0].split("scores")[1].split("of 12")[0] in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected a task"),
        (["hedlines"], "did you mean 'headlines'"),
        (["headlines", "--methods", "fint"], "did you mean 'fints'"),
        (["headlines", "--users", "0"], "users of at least 1"),
        (["headlines", "--batch", "0"], "at least 1 row"),
        (["headlines", "--repeats", "3"], "temperature above 0"),
        (["headlines", "--data", "/no/such"], "/no/such"),
        (["lamp-7"], "LaMP-7 has no built-in data"),
        (["headlines", "--study", "/no/such.toml"], "no study file"),
        (["headlines", "--settings", "/no/such.toml"], "no settings file"),
        (["headlines", "--resume", "x"], "--resume takes all from the run's folder"),
        (["--resume", "/no/such"], "no run's folder"),
        (["--rescore", "/no/such", "--seed", "1"], "leave out --seed"),
        (["--rescore", "/no/such"], "no run's folder"),
        (["shop", "--methods", "rag"], "--methods says nothing to the task shop"),
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
