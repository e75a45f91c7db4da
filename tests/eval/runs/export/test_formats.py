"""What `trimtab export` writes where, and what it refuses."""

import pytest

from trimtab.cli import execute
from trimtab.commands.export import Format
from trimtab.errors import TrimtabError
from trimtab.eval.runs.export import FORMATS, export_run
from trimtab.eval.runs.export.formats import _named
from trimtab.eval.runs.record import read_run


def test_the_command_has_all_formats():
    assert [one.value for one in Format] == list(FORMATS)


def test_the_command_prints_what_it_wrote(text_run, tmp_path, capsys):
    folder = text_run()
    out = tmp_path / "out"
    arguments = ["--to", "lamp", "--out", str(out), "--method", "rag"]
    assert execute(["export", str(folder), *arguments]) == 0
    assert capsys.readouterr().out.strip() == str(out / "rag.json")
    assert [path.name for path in out.iterdir()] == ["rag.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "xml"], "'xml' is not one of"),
        (["--to", "csv", "--method", "pag"], "no method 'pag' in"),
        (["--to", "personalwab"], "expected a shopping run"),
        ([], "Missing option '--to'"),
    ],
)
def test_bad_input_is_told_in_one_line(text_run, capsys, arguments, said):
    assert execute(["export", str(text_run()), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_run_without_results_and_an_unknown_format_are_refused(text_run):
    with pytest.raises(TrimtabError, match="no results yet"):
        export_run(read_run(text_run([])), "csv")
    with pytest.raises(TrimtabError, match="no format 'xml'"):
        export_run(read_run(text_run(folder="full")), "xml")


def test_what_cannot_be_written_is_told_and_an_old_file_stays(text_run, tmp_path, monkeypatch):
    run = read_run(text_run())
    (tmp_path / "file").write_text("")
    with pytest.raises(TrimtabError, match="cannot write"):
        export_run(run, "csv", tmp_path / "file" / "records.csv")
    [path] = export_run(run, "csv")
    before = path.read_bytes()
    monkeypatch.setattr("trimtab.eval.runs.export.tables.without_formula", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_run(run, "csv")
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("fints", "fints.json"),
        ("rag(k=3,by=bm25)", "rag_k=3_by=bm25.json"),
        ("../../etc/passwd", "etc_passwd.json"),
        ("memory+steered", "memory+steered.json"),
    ],
)
def test_a_methods_file_lies_in_the_folder_whatever_its_name(method, name):
    assert _named(method) == name
