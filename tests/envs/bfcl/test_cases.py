"""BFCL's files: read as published, its types turned into JSON Schema, and bad ones told."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from trimtab.agent.calling.calls import call_grammar
from trimtab.envs.bfcl.cases import ExpectedCall, json_schema, load_bfcl
from trimtab.errors import TrimtabError

DATA = Path(__file__).parents[4] / "shared" / "data" / "bfcl"
real = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/bfcl")

FUNCTION = {
    "name": "math.power",
    "description": "Raise.",
    "parameters": {
        "type": "dict",
        "properties": {
            "base": {"type": "float"},
            "at": {"type": "tuple", "items": {"type": "float"}},
            "what": {"type": "any", "description": "Anything.", "optional": True},
            "more": {"type": "dict", "properties": {"type": {"type": "string"}}},
        },
        "required": ["base"],
    },
}


def case(number, function=FUNCTION):
    said = [[{"role": "user", "content": f"ask {number}"}]]
    return {"id": f"c{number}", "question": said, "function": [function]}


def answer(number):
    return {"id": f"c{number}", "ground_truth": [{"math.power": {"base": [number], "at": [""]}}]}


def write(folder, name, cases, answers=None):
    (folder / "possible_answer").mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(map(json.dumps, cases)))
    if answers is not None:
        (folder / "possible_answer" / name).write_text("\n".join(map(json.dumps, answers)))


@pytest.fixture
def folder(tmp_path):
    numbers = range(6)
    write(tmp_path, "BFCL_v4_simple_python.json", map(case, numbers), map(answer, numbers))
    write(tmp_path, "BFCL_v3_irrelevance.json", [case(7)])
    write(tmp_path, "BFCL_v3_live_relevance.json", [case(8)])
    write(tmp_path, "BFCL_v4_simple_java.json", [case(9)], [answer(9)])
    write(tmp_path, "BFCL_v4_multi_turn_base.json", [{"id": "m", "question": [[], []]}])
    return tmp_path


def test_types_become_json_schema():
    schema = json_schema(FUNCTION["parameters"])
    assert schema == {
        "type": "object",
        "properties": {
            "base": {"type": "number"},
            "at": {"type": "array", "items": {"type": "number"}},
            "what": {"description": "Anything."},
            "more": {"type": "object", "properties": {"type": {"type": "string"}}},
        },
        "required": ["base"],
    }
    Draft202012Validator.check_schema(schema)


def test_a_folder_is_read_and_what_is_left_out_is_told(folder):
    read = load_bfcl(folder)
    assert read.categories == ("irrelevance", "live_relevance", "simple_python")
    first = read.cases[2]
    assert (first.id, first.category, first.wanted) == ("c0", "simple_python", "calls")
    assert first.messages == ({"role": "user", "content": "ask 0"},)
    assert first.tools.names == ["math.power"]
    assert first.expected == (ExpectedCall("math.power", {"base": [0], "at": [""]}),)
    assert [case.wanted for case in read.cases[:2]] == ["no call", "any call"]
    assert read.left_out == {
        "BFCL_v4_simple_java.json": "parameter types of another language",
        "BFCL_v4_multi_turn_base.json": "its cases bring no functions",
    }


def test_one_file_is_read_alone(folder):
    assert load_bfcl(folder / "BFCL_v4_simple_python.json").categories == ("simple_python",)


def test_the_fingerprint_follows_the_answers(folder):
    before = load_bfcl(folder).fingerprint
    assert load_bfcl(folder).fingerprint == before
    write(folder, "BFCL_v4_simple_python.json", map(case, range(6)), map(answer, range(1, 7)))
    with pytest.raises(TrimtabError, match="line 1 is no case: 'c0' is missing"):
        load_bfcl(folder)
    answers = [{**answer(0), "ground_truth": [{"math.power": {"base": [9]}}]}]
    write(folder, "BFCL_v4_simple_python.json", [case(0)], answers)
    assert load_bfcl(folder).fingerprint != before


def test_some_cases_are_chosen_by_a_seed(folder):
    read = load_bfcl(folder)
    chosen = read.chosen(["simple_python"], count=3, seed=1)
    assert chosen == read.chosen(["simple_python"], count=3, seed=1)
    assert len(chosen.cases) == 3
    drawn = [[case.id for case in read.chosen(count=3, seed=seed).cases] for seed in range(8)]
    assert len(set(map(tuple, drawn))) > 1
    with pytest.raises(TrimtabError, match="got parallel"):
        read.chosen(["parallel"])
    with pytest.raises(TrimtabError, match="from 1 to 8 cases, got 9"):
        read.chosen(count=9)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1: expected a JSON object"),
        ("[1]", "expected one JSON object a line"),
        (json.dumps({**case(0), "function": [{"name": "f"}]}), "'parameters' is missing"),
        (json.dumps({**case(0), "question": [[], []]}), "line 1 is no case"),
        (json.dumps(case(0, {**FUNCTION, "name": "no name"})), "expected a tool name"),
        (json.dumps(case(0, {**FUNCTION, "parameters": {"type": "str"}})), "line 1 is no case"),
    ],
)
def test_a_bad_line_is_told(tmp_path, text, told):
    write(tmp_path, "BFCL_v4_simple.json", [], [answer(0)])
    (tmp_path / "BFCL_v4_simple.json").write_text(text)
    with pytest.raises(TrimtabError, match=told) as caught:
        load_bfcl(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_missing_answers_are_told(tmp_path):
    with pytest.raises(TrimtabError, match="there is no"):
        load_bfcl(tmp_path / "gone")
    with pytest.raises(TrimtabError, match="no cases to read"):
        load_bfcl(tmp_path)
    questions = [{"id": "1", "input": "Paraphrase the following tweet without any", "profile": []}]
    (tmp_path / "dev_questions.json").write_text(json.dumps(questions))
    with pytest.raises(
        TrimtabError, match="expected one JSON object a line, .*; this looks like LaMP-7"
    ):
        load_bfcl(tmp_path)
    (tmp_path / "dev_questions.json").unlink()
    write(tmp_path, "BFCL_v4_simple.json", [case(0)])
    with pytest.raises(TrimtabError, match="has no answers: expected .*possible_answer"):
        load_bfcl(tmp_path)


def test_line_separators_within_a_question_end_no_line(tmp_path):
    question = "two\u2028lines\x85and\x1ca mug"
    made = {**case(0), "question": [[{"role": "user", "content": question}]]}
    write(tmp_path, "BFCL_v4_simple.json", [case(0)], [answer(0)])
    text = json.dumps(made, ensure_ascii=False).replace("\\u001c", "") + "\r\n"
    (tmp_path / "BFCL_v4_simple.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    [read] = load_bfcl(tmp_path).cases
    assert read.messages[0]["content"] == question.replace("\x1c", "")


@real
def test_the_published_cases_are_read():
    read = load_bfcl(DATA)
    counts = {name: sum(c.category == name for c in read.cases) for name in read.categories}
    assert counts == {"multiple": 200, "simple_python": 400}
    assert not read.left_out


@real
def test_calls_of_every_published_tool_can_be_constrained():
    for one in load_bfcl(DATA).cases:
        call_grammar(one.tools.schemas(), parallel=True, or_text=True)
