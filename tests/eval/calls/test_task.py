"""A run of function calls: answered, scored, written as it goes, and resumed."""

import json
import os
import re
import signal
from dataclasses import replace

import pytest
from rich.console import Console

from trimtab.commands.console.calls_table import print_calls
from trimtab.envs.bfcl.cases import CallCase, CallCases, ExpectedCall
from trimtab.errors import TrimtabError
from trimtab.eval.calls.plan import call_methods
from trimtab.eval.calls.scoring import METRICS
from trimtab.eval.calls.summary import call_summary
from trimtab.eval.calls.task import CallTask
from trimtab.eval.runner import evaluate
from trimtab.eval.runs.record import read_run
from trimtab.steering.generation.requests import Completion
from trimtab.tools import Toolkit, ToolSpec

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "unit": {"enum": ["m", "km"]}},
    "required": ["n"],
}
TOOLS = Toolkit([ToolSpec("go", "Go.", SCHEMA), ToolSpec("stay", "Stay.", SCHEMA)])
NEVER = {"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]}
BAD = Toolkit([ToolSpec("odd", "Odd.", NEVER)])


def case(number, category="simple", tools=TOOLS, wanted="calls"):
    expected = (ExpectedCall("go", {"n": [number], "unit": ["", "m"]}),)
    said = ({"role": "user", "content": f"go {number}"},)
    return CallCase(f"{category}_{number}", category, said, tools, wanted,
                    expected if wanted == "calls" else ())  # fmt: skip


CASES = CallCases(
    (*(case(n) for n in range(6)), case(7, "irrelevance", wanted="no call")),
    {"x.json": "odd"},
    "f1",
)


def called(name, **arguments):
    made = {"name": name, "arguments": arguments}
    return f"<tool_call>\n{json.dumps(made)}\n</tool_call>"


def answer(request):
    """Right, with a wrong value, wrong type, another tool, twice, nothing; a call for number 7."""
    number = int(request.messages[-1]["content"].split()[1])
    if request.grammar is not None:
        return called("go", n=number)
    return {
        0: called("go", n=0),
        1: called("go", n=9, unit="m"),
        2: called("go", n="2", unit="mile", new=1),
        3: called("stay", n=3),
        4: called("go", n=4) + called("go", n=4),
        5: "I stay.",
        7: called("go", n=7),
    }[number]


class Model:
    def configuration(self):
        return {"name": "scripted", "fingerprint": "f", "dtype": "torch.float32"}

    def __init__(self, fails_after=None):
        self.batches = []
        self.fails_after = fails_after

    def generate(self, requests, **options):
        self.batches.append(requests)
        self.options = options
        if self.fails_after is not None and len(self.batches) > self.fails_after:
            raise KeyboardInterrupt
        return [Completion(answer(r), (1, 2, 3), 11, 1, "stop") for r in requests]

    def completions(self, requests, **options):
        yield from enumerate(self.generate(requests, **options))


def run_calls(model, data, *, folder, methods="free,constrained", **how):
    given = {k: how.pop(k) for k in ("on_record", "on_progress") if k in how}
    return evaluate(CallTask(model, data, **how), call_methods(methods), folder, **given)


def by_id(run, method):
    return {record.sample_id: record for record in run.records if record.method == method}


def test_answers_are_scored_and_kept(tmp_path):
    told = []
    model = Model()
    run = run_calls(model, CASES, folder=tmp_path / "run", on_record=told.append)
    assert (run.planned, len(run.records), run.interrupted) == (14, 14, False)
    assert len(told) == 14
    assert model.options == {"max_new_tokens": 256, "batch_size": 48}
    free, constrained = by_id(run, "free"), by_id(run, "constrained")
    scores = {name: tuple(record.scores[m] for m in METRICS) for name, record in free.items()}
    assert scores == {
        "simple_0": (1, 1, 1, 1),
        "simple_1": (0, 0, 1, 1),
        "simple_2": (0, 0, 0, 1),
        "simple_3": (0, 0, 1, 0),
        "simple_4": (0, 0, 1, 0),
        "simple_5": (0, 0, None, 0),
        "irrelevance_7": (0, 0, 1, 0),
    }
    assert all(constrained[f"simple_{n}"].scores["accuracy"] == 1 for n in range(6))
    assert [f["kind"] for f in free["simple_2"].detail["faults"]] == [
        "wrong type", "not in enum", "hallucinated"
    ]  # fmt: skip
    assert free["simple_4"].detail["problem"] == "wrong count"
    assert free["irrelevance_7"].detail["problem"] == "unwanted call"
    kept = read_run(tmp_path / "run")
    assert (kept.task, kept.metrics, kept.methods) == ("bfcl", METRICS, ("free", "constrained"))
    assert kept.records == run.records
    assert kept.configuration["data"]["left_out"] == {"x.json": "odd"}


def test_the_summary_and_the_tables_count_the_errors(tmp_path):
    run = run_calls(Model(), CASES, folder=tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert json.loads(json.dumps(call_summary(run.records, METRICS))).items() <= summary.items()
    [accuracy] = [
        each["mean"]
        for each in summary["by_category"]
        if (each["method"], each["category"], each["metric"]) == ("free", "all", "accuracy")
    ]
    assert accuracy == pytest.approx(1 / 7)
    assert summary["errors"]["free"] == {
        "no call": 1, "wrong tool": 1, "wrong count": 1, "unwanted call": 1,
        "argument: missing": 0, "argument: wrong type": 1, "argument: not in enum": 1,
        "argument: wrong value": 1, "argument: hallucinated": 1, "not answered": 0,
    }  # fmt: skip
    console = Console(record=True, width=100)
    print_calls(console, run.records, METRICS)
    shown = console.export_text()
    assert "irrelevance" in shown and "argument: not in enum" in shown
    assert "nan" not in shown  # of a single case there is a score, and no interval
    # A share of a few cases is uncertain, and still a share.
    numbers = [float(number) for number in re.findall(r"-?\d\.\d{3}", shown)]
    assert len(numbers) > 20 and min(numbers) == 0 and max(numbers) == 1


def test_a_run_that_was_broken_off_is_resumed(tmp_path):
    model = Model(fails_after=3)
    run = run_calls(model, CASES, folder=tmp_path / "run", batch_size=2)
    assert (len(run.records), run.interrupted) == (6, True)
    again = Model()
    run = run_calls(again, CASES, folder=tmp_path / "run", batch_size=2)
    assert (len(run.records), run.interrupted) == (14, False)
    assert sum(map(len, again.batches)) == 8
    assert len({(record.method, record.sample_id) for record in run.records}) == 14
    with pytest.raises(TrimtabError, match="another configuration"):
        run_calls(again, replace(CASES, fingerprint="f2"), folder=tmp_path / "run")


def test_a_case_that_cannot_be_answered_is_no_wrong_answer(tmp_path):
    data = CallCases((case(0), case(1, tools=BAD)), {}, "f")
    model = Model()
    run = run_calls(model, data, folder=tmp_path / "run", methods="constrained")
    right, broken = (by_id(run, "constrained")[f"simple_{n}"] for n in (0, 1))
    assert right.scores["accuracy"] == 1
    assert "'odd' cannot be constrained" in broken.error and broken.scores == {}
    summary = call_summary(run.records, METRICS)
    assert summary["by_category"][0]["mean"] == 1 and summary["by_category"][0]["cases"] == 1
    assert summary["errors"]["constrained"]["not answered"] == 1


@pytest.mark.parametrize(
    ("method", "category", "several", "text"),
    [
        ("free", "simple", None, None),
        ("constrained", "simple", False, False),
        ("constrained", "live_parallel", True, False),
        ("auto", "simple", True, True),
    ],
)
def test_each_method_has_its_grammar(tmp_path, method, category, several, text):
    model = Model()
    data = CallCases((case(1, category),), {}, "f")
    run_calls(model, data, folder=tmp_path / "run", methods=method)
    [[request]] = model.batches
    if method == "free":
        assert request.grammar is None
    else:
        assert ('more: ("\\n" call){0,7}' in request.grammar) == several
        assert ("TEXT" in request.grammar) == text
    assert [tool["function"]["name"] for tool in request.tools] == ["go", "stay"]


@pytest.mark.parametrize("methods", ["", "free,quick"])
def test_unknown_methods_are_refused(tmp_path, methods):
    with pytest.raises(TrimtabError, match="free, constrained, auto"):
        run_calls(Model(), CASES, folder=tmp_path / "run", methods=methods)


class Killed(Model):
    """A model whose process is killed when it has given so many answers."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def completions(self, requests, **options):
        for each in super().completions(requests, **options):
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            yield each


def test_a_killed_run_loses_only_what_was_under_way(tmp_path):
    child = os.fork()
    if not child:
        try:
            run_calls(Killed(5), CASES, folder=tmp_path / "run")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == 5
    again = Model()
    run = run_calls(again, CASES, folder=tmp_path / "run")
    assert (run.fresh, len(run.records)) == (9, 14)
    assert sum(map(len, again.batches)) == 9


def test_methods_share_the_prompts_of_a_batch_and_an_answers_seconds_are_its_own(tmp_path):
    class Timed(Model):
        def completions(self, requests, **options):
            for index, done in super().completions(requests, **options):
                yield index, replace(done, seconds=index + 0.5)

    model = Timed()
    run = run_calls(model, CASES, folder=tmp_path / "run", batch_size=4)
    for batch in model.batches:
        prompts = [json.dumps(request.messages) for request in batch]
        assert prompts[0::2] == prompts[1::2] and len(batch) <= 4
    assert [record.seconds for record in run.records][:4] == [0.5, 1.5, 2.5, 3.5]
