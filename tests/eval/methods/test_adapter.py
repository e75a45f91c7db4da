"""A LoRA adapter: on inside its context alone, loaded once, and part of what is kept."""

import shutil

import pytest
import torch

from trimtab.errors import TrimtabError
from trimtab.eval.methods.adapter import Adapter
from trimtab.steering import Request, SteeredModel

peft = pytest.importorskip("peft", reason="LoRA adapters need peft: pip install 'trimtab[lora]'")


@pytest.fixture
def model(byte_model_path, letters):
    """A model of the test's own: adapters stay in it."""
    own = SteeredModel.from_pretrained(str(byte_model_path), dtype=torch.float32)
    own.encoder = letters
    return own


@pytest.fixture(scope="session")
def adapter_path(byte_model_path, tmp_path_factory):
    made = tmp_path_factory.mktemp("lora")
    hf = SteeredModel.from_pretrained(str(byte_model_path), dtype=torch.float32).hf
    wrapped = peft.get_peft_model(hf, peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(1)
    for name, weights in wrapped.named_parameters():
        if "lora_B" in name:  # zeros at first, so that a new adapter changes nothing
            torch.nn.init.normal_(weights, std=0.5)
    wrapped.save_pretrained(made)
    return made


def answers(model):
    return model.generate([Request([{"role": "user", "content": "hello"}])], max_new_tokens=12)


def test_it_is_on_inside_the_context_alone_and_loaded_once(
    model, byte_model_path, adapter_path, monkeypatch
):
    before = answers(model)
    fingerprint = SteeredModel(model.hf, model.tokenizer).fingerprint
    adapter = Adapter.at(adapter_path)
    with adapter.active(model):
        inside = answers(model)
    assert inside != before and answers(model) == before
    alone = SteeredModel.from_pretrained(str(byte_model_path), dtype=torch.float32)
    whole = peft.PeftModel.from_pretrained(alone.hf, adapter_path).merge_and_unload()
    assert inside == answers(SteeredModel(whole, model.tokenizer))
    monkeypatch.setattr(type(model.hf), "load_adapter", None)
    with Adapter.at(adapter_path).active(model):
        assert answers(model) == inside
    assert model.fingerprint == fingerprint


def test_fints_on_an_adapter_is_read_and_steered_under_it(model, adapter_path, writers, tmp_path):
    from trimtab.envs.texts.dataset import TextDataset
    from trimtab.eval.methods.registry import parse_methods
    from trimtab.eval.runner import evaluate
    from trimtab.eval.texts.plan import TextPlan
    from trimtab.eval.texts.task import TextTask

    line = f"fints,fints(adapter={adapter_path}),fints(adapter={adapter_path},strength=0)"
    plan = TextPlan("headlines", tuple(parse_methods(line)), max_new_tokens=6)
    task = TextTask(plan, model, TextDataset("letters", writers), cache=tmp_path / "cache")
    found = evaluate(task, plan.methods, tmp_path / "run").records
    assert not any(record.error for record in found)
    of = {named.label: [r for r in found if r.method == named.label] for named in plan.methods}
    plain, steered, unsteered = of.values()
    assert [r.detail.get("variant") for r in plain] == [None] * 4
    assert {r.detail["variant"] for r in steered} == {Adapter.at(adapter_path).key}
    # Read under the adapter: other activations than the model's own.
    assert [p["norms"] for r in steered for p in r.picked] != [
        p["norms"] for r in plain for p in r.picked
    ]
    with Adapter.at(adapter_path).active(model):
        [alone] = model.generate([Request(unsteered[0].prompt)], max_new_tokens=6)
    assert unsteered[0].output == alone.text.strip()
    assert [r.scores["log-likelihood"] for r in steered] != [
        r.scores["log-likelihood"] for r in unsteered
    ]


def test_what_is_no_adapter_is_refused(model, adapter_path, tmp_path, byte_model_path):
    with pytest.raises(TrimtabError, match="no LoRA adapter.*adapter_config.json"):
        Adapter.at(byte_model_path)
    other = tmp_path / "other"
    shutil.copytree(adapter_path, other)
    text = (other / "adapter_config.json").read_text()
    (other / "adapter_config.json").write_text(text.replace('"r": 2', '"r": 4'))
    with (
        pytest.raises(TrimtabError, match="was it trained for this model"),
        Adapter.at(other).active(model),
    ):
        pass
