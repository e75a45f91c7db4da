import csv
import json
import math

import pytest
from rich.console import Console

from trimtab.commands.console.finding import print_findings
from trimtab.eval.figures import new_figure
from trimtab.eval.studies.finding import Finding, keep

pytest.importorskip("matplotlib", reason="figures need the plots extra")

FOUND = Finding(
    "demo",
    "a [title]",
    ("what", "number", "share"),
    (("a, b", 3, 0.123456789), ("[c]", None, math.nan)),
    ("a note",),
)


def test_what_is_kept_has_full_numbers(tmp_path):
    figure, [panel] = new_figure(1, width=2, height=2)
    panel.plot([1, 2])
    files = keep(FOUND, figure, tmp_path / "new")
    assert [path.name for path in files] == ["demo.csv", "demo.json", "demo.png", "demo.svg"]
    rows = list(csv.reader(files[0].open()))
    assert rows == [["what", "number", "share"], ["a, b", "3", "0.123456789"], ["[c]", "", ""]]
    plain = json.loads(files[1].read_text())
    assert plain["rows"] == [["a, b", 3, 0.123456789], ["[c]", None, None]]
    assert plain["notes"] == ["a note"]
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in files[3].read_bytes()


def test_a_table_without_a_figure(tmp_path):
    assert len(keep(FOUND, None, tmp_path)) == 2


def test_what_is_shown_is_rounded_and_as_written(tmp_path):
    console = Console(width=200, record=True, force_terminal=False)
    print_findings([FOUND], [tmp_path / "x.csv"], console)
    text = console.export_text()
    assert "a [title]" in text and "[c]" in text and "0.1235" in text and "–" in text
    assert "a note" in text and "x.csv" in text
