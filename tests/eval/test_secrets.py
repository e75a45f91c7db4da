"""Nothing of a test sample's output reaches a dictionary, a prompt, a kept text or a tuning."""

import dataclasses
import sqlite3
from dataclasses import replace

import pytest

from trimtab.envs.texts.dataset import TextDataset
from trimtab.eval.methods.registry import METHODS, parse_methods, with_controls
from trimtab.eval.runner import evaluate
from trimtab.eval.texts.histories import blind
from trimtab.eval.texts.kinds import get_task
from trimtab.eval.texts.plan import TextPlan
from trimtab.eval.texts.task import TextTask
from trimtab.eval.texts.users import TextUsers
from trimtab.steering import SteeredModel

SECRET = "xyzzyplugh"
EVERY = ",".join(METHODS) + ",fints(context=2,contrast=any,keys=input+answer),pag(k=2)"


@pytest.fixture
def planted(writers):
    """The writers with a secret in every test's output, and pasts with and without inputs."""
    return tuple(
        replace(
            user,
            tests=tuple(replace(t, output=f"{SECRET}{n} {SECRET}") for t in user.tests),
            history=tuple(replace(s, input="") if n == 0 else s for s in user.history),
        )
        for n, user in enumerate(writers)
    )


def texts_in(value):
    """Every text in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_in(key)
            yield from texts_in(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from texts_in(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from texts_in(getattr(value, field.name))


def test_a_secret_in_the_golds_is_nowhere_but_in_the_golds(
    byte_model, planted, tmp_path, monkeypatch
):
    seen = []
    for name in ("generate", "mean_activations", "prompt_tokens"):
        real = getattr(SteeredModel, name)

        def spied(self, first, *rest, _real=real, **how):
            seen.append(first)
            return _real(self, first, *rest, **how)

        monkeypatch.setattr(SteeredModel, name, spied)
    real_encode = type(byte_model.encoder).encode
    monkeypatch.setattr(
        type(byte_model.encoder),
        "encode",
        lambda self, texts: (seen.append(list(texts)), real_encode(self, texts))[1],
    )
    plan = TextPlan("headlines", tuple(with_controls(parse_methods(EVERY))), max_new_tokens=5)
    cache = tmp_path / "cache"
    task = TextTask(plan, byte_model, TextDataset("planted", planted), cache=cache)
    run = evaluate(task, plan.methods, tmp_path / "run")
    assert len(run.records) == len(plan.methods) * 4 and not any(r.error for r in run.records)

    looked_at = [text for item in seen for text in texts_in(item)]
    assert len(looked_at) > 1000  # the spies did see what there was to see
    assert not [text for text in looked_at if SECRET in text]
    for record in run.records:
        assert SECRET in record.gold
        others = [getattr(record, f.name) for f in dataclasses.fields(record) if f.name != "gold"]
        assert not [text for text in texts_in(others) if SECRET in text]
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".sqlite", ".safetensors"}
    for path in files:
        assert SECRET.encode() not in path.read_bytes()
    with sqlite3.connect(cache / "texts.sqlite") as texts:
        assert texts.execute("SELECT count(*) FROM texts").fetchone()[0] > 20


def test_a_bench_holds_no_test_output_even_to_look_for_it(byte_model, planted, tmp_path):
    prepared = TextUsers(byte_model, get_task("headlines"), planted, folder=tmp_path)
    assert all(test.output == "" for user in prepared.users.values() for test in user.tests)
    assert not [t for user in prepared.users.values() for t in texts_in(user) if SECRET in t]
    assert blind(planted[0]).tests[0].input == planted[0].tests[0].input


def test_a_tests_own_input_makes_no_entry(byte_model, planted, tmp_path):
    prepared = TextUsers(byte_model, get_task("headlines"), planted, folder=tmp_path)
    asked = {test.input for user in planted for test in user.tests}
    for kind in ("context", "response", "neutral"):
        pairs = [pair for own in prepared.pairs(kind).values() for pair in own]
        assert pairs
        assert not [t for pair in pairs for t in texts_in(pair) for a in asked if a in t]
