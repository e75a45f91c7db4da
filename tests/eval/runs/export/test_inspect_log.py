"""Inspect's logs, held to the parts of its schema that are used, and to Inspect where it is."""

import json

import jsonschema
import pytest

from trimtab.eval.runs.export import export_run

NUMBER = {"type": "number"}
WHOLE = {"type": "integer"}
TEXT = {"type": "string"}


def an_object(required="", closed=True, **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": not closed,
    }


def a_list(items):
    return {"type": "array", "items": items}


def by_name(values):
    return {"type": "object", "additionalProperties": values}


USAGE = an_object(input_tokens=WHOLE, output_tokens=WHOLE, total_tokens=WHOLE)
CALL = an_object(
    "id function arguments",
    id=TEXT,
    function=TEXT,
    arguments=by_name({}),
    type={"const": "function"},
)
MESSAGE = an_object(
    "role content",
    role={"enum": ["system", "user", "assistant", "tool"]},
    content=TEXT,
    tool_calls=a_list(CALL),
    tool_call_id=TEXT,
    function=TEXT,
)
SAMPLE = an_object(
    "id epoch input target",
    id=TEXT,
    epoch=WHOLE,
    input={"anyOf": [TEXT, a_list(MESSAGE)]},
    target=TEXT,
    messages=a_list(MESSAGE),
    output=an_object(
        model=TEXT,
        choices=a_list(an_object("message", message=MESSAGE, stop_reason={"const": "stop"})),
        completion=TEXT,
        usage=USAGE,
        time=NUMBER,
    ),
    scores=by_name(an_object("value", value=NUMBER, answer=TEXT)),
    metadata=by_name({}),
    model_usage=by_name(USAGE),
    total_time=NUMBER,
    error=an_object(
        "message traceback traceback_ansi", message=TEXT, traceback=TEXT, traceback_ansi=TEXT
    ),
)
SPEC = an_object(
    "created task dataset model config",
    eval_id=TEXT,
    run_id=TEXT,
    created={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"},
    task=TEXT,
    task_id=TEXT,
    task_display_name=TEXT,
    tags=a_list(TEXT),
    solver=TEXT,
    solver_args=by_name({}),
    dataset=an_object(
        name=TEXT, samples=WHOLE, sample_ids=a_list(TEXT), shuffled={"type": "boolean"}
    ),
    model=TEXT,
    config=an_object(),
    packages=by_name(TEXT),
    metadata=by_name({}),
    scorers=a_list(an_object("name", name=TEXT)),
)
RESULTS = an_object(
    total_samples=WHOLE,
    completed_samples=WHOLE,
    scores=a_list(
        an_object(
            "name scorer",
            name=TEXT,
            scorer=TEXT,
            scored_samples=WHOLE,
            unscored_samples=WHOLE,
            metrics=by_name(an_object("name value", name=TEXT, value=NUMBER)),
        )
    ),
)
LOG = an_object(
    "eval",
    version={"const": 2},
    status={"const": "success"},
    eval=SPEC,
    plan=an_object(name=TEXT, steps=a_list(an_object("solver", solver=TEXT, params=by_name({})))),
    results=RESULTS,
    stats=an_object(started_at=TEXT, completed_at=TEXT, model_usage=by_name(USAGE)),
    samples=a_list(SAMPLE),
)
"""The fields that we write, as ``EvalLog.model_json_schema()`` of inspect_ai 0.3 has them."""


def test_a_log_fits_inspects_schema_and_says_what_the_records_do(odd_run):
    paths = export_run(odd_run, "inspect")
    assert len(paths) == len(odd_run.methods)
    for path, method in zip(paths, odd_run.methods, strict=True):
        log = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(LOG).validate(log)
        records = odd_run.of[method]
        assert log["eval"]["solver"] == method
        assert [sample["id"] for sample in log["samples"]] == list(records)
        scored = [r.scores["rouge-1"] for r in records.values() if not r.error]
        mean = log["results"]["scores"][0]["metrics"]["mean"]["value"]
        assert mean == pytest.approx(sum(scored) / len(scored))
    failed = json.loads(paths[1].read_text(encoding="utf-8"))["samples"][0]
    assert failed["error"]["message"].startswith("fire") and failed["scores"] == {}


def test_an_episode_is_shown_with_its_calls_and_what_came_back(text_run, odd_run):
    from dataclasses import replace

    from trimtab.eval.runs.record import read_run

    step = {"call": {"name": "search", "arguments": {"query": "x"}}, "text": "", "content": "1. A"}
    said = {"call": None, "text": "Which?", "content": "the red one"}
    records = [
        replace(record, detail={"episode": {"steps": [said, step]}})
        for record in odd_run.of["fints"].values()
    ]
    [path] = export_run(read_run(text_run(records)), "inspect")
    log = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(LOG).validate(log)
    *_, asked, call, result = log["samples"][0]["messages"]
    assert asked == {"role": "assistant", "content": "Which?"}
    assert call["tool_calls"][0]["function"] == "search"
    assert (result["role"], result["content"]) == ("tool", "1. A")
    assert result["tool_call_id"] == call["tool_calls"][0]["id"]


def test_the_same_run_gives_the_same_logs(odd_run, tmp_path):
    once = export_run(odd_run, "inspect", tmp_path / "a")
    again = export_run(odd_run, "inspect", tmp_path / "b")
    assert [path.name for path in once] == [path.name for path in again]
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_inspect_itself_reads_them(odd_run):
    log = pytest.importorskip("inspect_ai.log", reason="needs `pip install inspect_ai`")
    export_run(odd_run, "inspect")
    listed = log.list_eval_logs(str(odd_run.path / "inspect"))
    assert len(listed) == len(odd_run.methods)
    for one in listed:
        read = log.read_eval_log(one.name)
        assert read.status == "success"
        assert {sample.id for sample in read.samples} == set(odd_run.of[read.eval.solver])
