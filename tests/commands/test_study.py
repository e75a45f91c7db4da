"""Whole commands on a tiny model and the gazette."""

import csv

import pytest

from trimtab.cli import execute
from trimtab.commands.studying import numbers
from trimtab.errors import TrimtabError

pytest.importorskip("matplotlib", reason="figures need the plots extra")


@pytest.fixture
def study(word_model_folder, trimtab_home, tmp_path, capsys):
    """Run `trimtab study` and give its exit code, what it printed, and its folder."""

    def run(*arguments, folder="out"):
        out = tmp_path / folder
        small = ["--model", str(word_model_folder), "--users", "3", "--history", "4"]
        code = execute(["study", *arguments, *small, "--out", str(out)])
        printed = capsys.readouterr()
        return code, printed.out + printed.err, out

    return run


def test_delta_writes_tables_and_a_figure(study):
    code, printed, out = study("delta", "--depths", "0.5", "--shown", "1")
    assert code == 0, printed
    assert {path.name for path in out.glob("delta*")} == {
        "delta.csv", "delta.json", "delta.png", "delta.svg", "delta-users.csv", "delta-users.json"
    }  # fmt: skip
    assert "rank for 80%" in printed and "nearest" in printed and "gazette-headlines" in printed


def test_layers_goes_on_where_it_was(study):
    grid = ("layers", "--depths", "0.5", "--strengths", "1,2", "--tests", "1")
    code, printed, out = study(*grid)
    assert code == 0, printed
    rows = list(csv.DictReader((out / "layers.csv").open()))
    assert [row["strength"] for row in rows] == ["1.0", "2.0"]
    results = (out / "runs/grid/results.jsonl").read_bytes()
    code, _, _ = study(*grid)
    assert code == 0 and (out / "runs/grid/results.jsonl").read_bytes() == results
    code, printed, _ = study(*grid[:-1], "2")
    assert code == 2 and "another configuration" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sparse", "--shares", "a,b"), "expected shares as numbers"),
        (("sparse", "headline"), "did you mean 'headlines'"),
        (("layers", "lamp-3"), "LaMP-3 has no built-in data"),
        (("latency", "--methods", "zero-shot"), "needs a method that steers"),
        (("heterogeneous", "--by", "colour"), "colour"),
        (("delta", "--shown", "0"), "at least one depth and one past sample"),
    ],
)
def test_bad_input_is_one_line(study, arguments, says):
    code, printed, _ = study(*arguments)
    assert code == 2
    assert says in printed
    assert "Traceback" not in printed


def test_numbers():
    assert numbers("5, 10%,0.5,", "shares") == [5.0, 10.0, 0.5]
    with pytest.raises(TrimtabError, match="expected depths as numbers with commas, got ''"):
        numbers("", "depths")
