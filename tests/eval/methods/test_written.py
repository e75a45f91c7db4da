"""Texts that models wrote: generated once, in whatever company, and kept as they come."""

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.methods import written
from trimtab.eval.methods.written import WrittenTexts


def ask(text):
    return [{"role": "user", "content": text}]


@pytest.fixture
def model(scripted):
    made = scripted(lambda request: f"{request.messages[0]['content']} {request.draws[:4]}")
    return made


def test_each_is_written_once_and_answers_do_not_depend_on_company(model, tmp_path):
    texts = WrittenTexts(tmp_path / "t.sqlite")
    told = []
    first = texts.answers(
        model, [ask("a"), ask("bb"), ask("a")], max_new_tokens=5, progress=told.append
    )
    assert len(model.requests) == 2 and sum(told) == 3
    assert first[0] == first[2] != first[1]
    other = WrittenTexts(tmp_path / "t.sqlite")
    assert other.answers(model, [ask("bb"), ask("c")], max_new_tokens=5)[0] == first[1]
    assert [r.messages[0]["content"] for r in model.requests[2:]] == ["c"]


def test_several_answers_are_several_draws(model, tmp_path):
    texts = WrittenTexts(tmp_path / "t.sqlite")
    [three] = texts.answers(model, [ask("a")], count=3, max_new_tokens=5, temperature=1.0)
    assert len(set(three)) == 3
    [two] = texts.answers(model, [ask("a")], count=2, max_new_tokens=5, temperature=1.0)
    assert two == three[:2] and len(model.requests) == 3


@pytest.mark.parametrize(
    "other", [{"max_new_tokens": 6}, {"temperature": 0.5}, {"variant": "adapter"}]
)
def test_what_decides_the_text_is_part_of_its_key(model, tmp_path, other):
    texts = WrittenTexts(tmp_path / "t.sqlite")
    texts.answers(model, [ask("a")], max_new_tokens=5)
    texts.answers(model, [ask("a")], **{"max_new_tokens": 5, **other})
    assert len(model.requests) == 2


def test_each_text_is_told_as_it_ends(tmp_path, scripted):
    told = []

    def script(request):
        told.append(request.messages[0]["content"])
        return "text"

    prompts = [ask("a"), ask("bb"), ask("a")]
    WrittenTexts(tmp_path / "t.sqlite").answers(
        scripted(script), prompts, max_new_tokens=5, progress=told.append
    )
    assert told == [0, "a", 2, "bb", 1]


@pytest.mark.parametrize("at_once", [1, 2, 16])
def test_what_was_written_before_a_break_is_kept(scripted, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(written, "_KEPT_AT_ONCE", at_once)
    asked = []

    def script(request):
        asked.append(request.messages[0]["content"])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return "text"

    texts = WrittenTexts(tmp_path / "t.sqlite")
    prompts = [ask("x" * n) for n in range(1, 5)]
    with pytest.raises(KeyboardInterrupt):
        texts.answers(scripted(script), prompts, max_new_tokens=5)
    texts.answers(scripted(script), prompts, max_new_tokens=5)
    assert asked == ["x", "xx", "xxx", "xxx", "xxxx"]


def test_a_full_disk_is_one_line(model, tmp_path, monkeypatch):
    import sqlite3

    class Full(sqlite3.Connection):
        def executemany(self, *args):
            raise sqlite3.OperationalError("database or disk is full")

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **how: real(*a, factory=Full, **how))
    with pytest.raises(TrimtabError, match="cannot use .*disk is full; make room"):
        WrittenTexts(tmp_path / "t.sqlite").answers(model, [ask("a")], max_new_tokens=5)


def test_a_file_of_something_else_is_refused(model, tmp_path):
    path = tmp_path / "t.sqlite"
    path.write_text("years of work" * 100)
    with pytest.raises(TrimtabError, match="cannot use .*t.sqlite"):
        WrittenTexts(path).answers(model, [ask("a")], max_new_tokens=5)
