"""The command line: one clear line and the right exit code for whatever goes wrong."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from trimtab import TrimtabError, cli
from trimtab.steering.weights import known as weights

pytestmark = pytest.mark.usefixtures("trimtab_home")


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert cli.execute(arguments) == 0
        assert "models" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["--version"]) == 0
    assert capsys.readouterr().out == f"trimtab {version('trimtab')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "No such command 'fly'"),
        (["models", "pull", "--fast"], "No such option: --fast"),
        (["models", "pull", "qwen2.5-codr"], "did you mean 'qwen2.5-coder-0.5b-instruct'?"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (TrimtabError("this\nand that"), 2, "error: this and that\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (typer.Exit(3), 3, ""),
    ],
)
def test_what_a_command_raises(
    raised: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def pull(name: str, shows: object) -> Path:
        raise raised

    monkeypatch.setattr(weights, "pull", pull)
    assert cli.execute(["models", "pull"]) == code
    assert capsys.readouterr().err == said


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "pull", lambda name, shows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.execute(["models", "pull"])


def test_models_says_which_are_here(
    monkeypatch: pytest.MonkeyPatch, trimtab_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "is_ready", lambda name: name == "smollm2-135m-instruct")
    assert cli.execute(["models"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "role", "download", "licence", "here", "folder"]
    found = {row.split()[0]: " ".join(row.split()[1:]) for row in rows}
    folder = trimtab_home / "models" / "smollm2-135m-instruct"
    assert found["smollm2-135m-instruct"] == f"fast tests 98 MB Apache-2.0 yes {folder}"
    assert found["qwen2.5-coder-0.5b-instruct"] == "default 491 MB Apache-2.0 no"


def test_pull_takes_names_and_has_a_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "pull", lambda name, shows: Path("/there") / name)
    assert cli.execute(["models", "pull"]) == 0
    assert cli.execute(["models", "pull", "a", "b"]) == 0
    assert capsys.readouterr().out.split() == [
        f"/there/{weights.DEFAULT_MODEL}",
        "/there/a",
        "/there/b",
    ]


def test_installed_command_exits_without_a_traceback() -> None:
    command = Path(sys.executable).with_name("trimtab")
    done = subprocess.run([command, "models", "pull", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown model 'nonsense'")
    assert done.stderr.count("\n") == 1


def test_a_library_that_logs_all_it_does_is_not_heard() -> None:
    """bm25s sets its own logger to debug: nobody who runs a shop wants to read that."""
    code = """
import logging
from trimtab import cli
cli.execute(["--version"])
library = logging.getLogger("library")
library.setLevel(logging.DEBUG)
library.debug("building an index")
library.warning("an index is broken")
logging.getLogger("trimtab.eval").info("half done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines() == ["an index is broken", "half done"]
