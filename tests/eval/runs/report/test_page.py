"""The page as a file: whole, escaped, and in need of nothing else."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.runs.record import Record, read_run
from trimtab.eval.runs.report import render_report, write_report


class Read(HTMLParser):
    """What a browser would make of a page: its tags, and the text of its scripts."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts, self.policy = [], [], ""
        self._script = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.append((tag, named))
        self._script = tag == "script"
        if self._script:
            self.scripts.append("")
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"]

    def handle_endtag(self, tag):
        self._script = self._script and tag != "script"

    def handle_data(self, text):
        if self._script:
            self.scripts[-1] += text

    @property
    def data(self):
        return json.loads(self.scripts[0])


def test_nothing_is_fetched_and_no_other_script_may_run(text_run):
    page = Read(render_report(read_run(text_run())))
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "base")
        assert attributes.get("src") is None
        assert attributes.get("href", "#")[:1] == "#" or attributes["href"] == "data:,"
        assert not any(name.startswith("on") for name in attributes)
    data, script = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.policy
    assert "default-src 'none'" in page.policy
    assert data.isascii() and "<" not in data


def test_hostile_texts_add_no_tag_and_come_out_as_they_were(text_run, hostile_run):
    run = read_run(hostile_run)
    rendered = render_report(run)
    rendered.encode()  # half a surrogate pair is gone from what is HTML
    page = Read(rendered)
    assert len(page.scripts) == 2
    assert {"img", "iframe", "b"}.isdisjoint(tag for tag, _ in page.tags)
    texts = page.data["texts"]
    assert {record.output for record in run.records} <= set(texts)
    assert "49" not in re.findall(r"\d+", page.data["samples"][2]["id"])  # no template ran


def test_a_text_that_comes_often_is_kept_once(text_run):
    page = Read(render_report(read_run(text_run())))
    texts = page.data["texts"]
    assert len(texts) == len(set(texts))
    assert texts.count("You write headlines.") == 1
    sample = page.data["samples"][3]
    assert texts[sample["answers"][0]["prompt"][0][1]] == "You write headlines."


def test_personal_gain_is_told_in_words(text_run):
    page = render_report(read_run(text_run()))
    assert '<strong class="verdict yes">personal gain</strong>' in page


def test_it_lies_in_the_runs_folder_or_where_it_is_asked_for(text_run, tmp_path):
    run = read_run(text_run())
    assert write_report(run) == run.path / "report.html"
    out = write_report(run, tmp_path / "deep" / "mine.html")
    assert out.read_text(encoding="utf-8") == (run.path / "report.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_made_leaves_the_old_one(text_run, monkeypatch):
    run = read_run(text_run())
    write_report(run).write_text("old")
    monkeypatch.setattr("trimtab.eval.runs.report.page.browser_data", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(run)
    assert (run.path / "report.html").read_text() == "old"


def test_a_run_without_results_and_a_place_that_is_no_folder_are_refused(text_run, tmp_path):
    with pytest.raises(TrimtabError, match="no results yet"):
        write_report(read_run(text_run([])))
    (tmp_path / "file").write_text("")
    with pytest.raises(TrimtabError, match="cannot write"):
        write_report(read_run(text_run(folder="full")), tmp_path / "file" / "report.html")


def test_repeats_have_a_table_of_their_own_and_single_answers_none(text_run):
    def record(n, repeat):
        again = f"#{repeat}" if repeat else ""
        return Record(
            "zero-shot",
            f"s{n}{again}",
            f"u{n}",
            scores={"accuracy": float(repeat <= n)},
            detail={"repeat": repeat},
        )

    drawn = [record(n, repeat) for n in range(3) for repeat in range(3)]
    page = render_report(read_run(text_run(drawn, "drawn", task="lamp-2n", metrics=["accuracy"])))
    assert "3 draws of every sample" in page and "pass^3" in page
    # 1, 2 and 3 of three draws are right: all of them at one sample of three.
    row = page[page.index("3 draws of every sample") :]
    cells = re.findall(r'<td class="num">([^<]*)</td>', row)[:4]
    assert [cells[0], cells[3]] == ["0.667", "0.333"]
    once = [record(n, 0) for n in range(3)]
    assert "pass^" not in render_report(read_run(text_run(once, "once", metrics=["accuracy"])))
