"""Function calls under any user's dictionary: what steering costs where it is not wanted."""

from pathlib import Path

import pytest
import torch

from trimtab.agent.shop.settings import TOOL_CHOICE
from trimtab.envs.bfcl import load_bfcl
from trimtab.errors import TrimtabError
from trimtab.eval.calls.plan import CallPlan, call_methods
from trimtab.eval.calls.task import CallTask
from trimtab.eval.runner import evaluate
from trimtab.steering import SteeredModel, SteeringDictionary
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of

DATA = Path(__file__).parents[2] / "data" / "bfcl"


@pytest.fixture(scope="module")
def model(word_model_folder):
    return SteeredModel.from_pretrained(str(word_model_folder), dtype="float32")


def stored(model, path, *users):
    uri = f"sqlite:///{path}"
    with SteeringStore(uri, model=model) as store:
        for seed, user in enumerate(users):
            points = points_of(TOOL_CHOICE.layers(model), TOOL_CHOICE.sites)
            store.put(
                SteeringDictionary(
                    user_id=user,
                    fingerprint=model.fingerprint,
                    points=points,
                    encoder_name=model.encoder.name,
                    entries=[Entry(user, user, "", "response", 1)],
                    keys=torch.nn.functional.normalize(torch.ones(1, 384)),
                    vectors=torch.full((1, len(points), 32), 1.0 + seed),
                )
            )
    return uri


def test_every_case_is_steered_by_a_user_who_is_drawn_for_it(model, tmp_path):
    uri = stored(model, tmp_path / "users.db", "ann", "bob", "eve")
    methods = call_methods("constrained", uri)
    assert [named.label for named in methods] == ["constrained", "constrained-steered"]
    asked = []

    class Watched(SteeredModel):
        def completions(self, requests, **options):
            asked.extend(requests)
            return super().completions(requests, **options)

    watched = Watched(model.hf, model.tokenizer, name=model.name)
    task = CallTask(watched, load_bfcl(DATA), max_new_tokens=32, plan={"seed": 1})
    run = evaluate(task, methods, tmp_path / "run")
    assert not any(record.error for record in run.records)
    picked = [r.steering and r.steering.picked[0].entry.sample_id for r in asked]
    steered = {user for user in picked if user is not None}
    assert picked.count(None) == len(picked) / 2  # every case is asked without as well
    assert steered <= {"ann", "bob", "eve"} and len(steered) > 1
    # The same draws for the same seed.
    treats = [methods[1].method.prepare(task.prepare(methods)) for _ in range(2)]
    sample = task.samples()[0].unseen()
    one, other = (treat(sample).steer(sample.user_id, sample.request) for treat in treats)
    assert one.picked[0].entry.sample_id == other.picked[0].entry.sample_id
    again = CallPlan.of({**run.run.configuration, "tests": None, "seed": 1, "plan": {"data": "x"}})
    assert again.methods == methods


def test_an_empty_store_is_refused(model, tmp_path):
    uri = stored(model, tmp_path / "users.db", "ann")
    with SteeringStore(uri, model=model) as store:
        store.forget("ann")
    [_, steered] = call_methods("free", uri)
    task = CallTask(model, load_bfcl(DATA))
    with pytest.raises(TrimtabError, match="nobody's dictionary to steer by"):
        steered.method.prepare(task.prepare([]))
