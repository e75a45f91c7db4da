"""Loading, recognising and reading a model."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trimtab import TrimtabError
from trimtab.steering import Exchange, Point, Request, SteeredModel, Steering, SteeringVectors

IDS = torch.arange(5, 15)[None]


@pytest.fixture
def folder(llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    llama.save_pretrained(tmp_path / "tiny")
    tiny_tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_loads_a_local_folder(folder: Path, tiny_steered: SteeredModel) -> None:
    loaded = SteeredModel.from_pretrained(str(folder), dtype="float32", device="cpu")
    assert loaded.name == str(folder)
    with torch.inference_mode():
        assert torch.equal(loaded.hf(IDS).logits, tiny_steered.hf(IDS).logits)
    messages = [{"role": "user", "content": "w20 w21"}]
    assert loaded.prompt_tokens(messages) == tiny_steered.prompt_tokens(messages)
    assert not loaded.hf.training
    assert not any(weights.requires_grad for weights in loaded.hf.parameters())


def test_the_fingerprint_is_the_weights_and_not_the_dtype(
    folder: Path, tiny_steered: SteeredModel
) -> None:
    default = SteeredModel.from_pretrained(str(folder), device="cpu", dtype="bfloat16")
    assert default.hf.dtype == torch.bfloat16
    assert default.fingerprint == tiny_steered.fingerprint
    default.hf.save_pretrained(folder)  # now stored in bfloat16, as most models are
    for dtype in (torch.float32, torch.float16):
        loaded = SteeredModel.from_pretrained(str(folder), dtype=dtype)
        assert loaded.hf.dtype == dtype and loaded.fingerprint == tiny_steered.fingerprint


@pytest.mark.parametrize("changed", [0, 3])
def test_other_weights_have_another_fingerprint(tiny_steered: SteeredModel, changed: int) -> None:
    other = copy.deepcopy(tiny_steered.hf)
    other.model.layers[changed].mlp.down_proj.weight.data *= 1.05
    found = SteeredModel(other, tiny_steered.tokenizer, name="changed")
    assert found.fingerprint != tiny_steered.fingerprint
    tiny_steered.check_fingerprint(tiny_steered.fingerprint, "the dictionary")
    with pytest.raises(
        TrimtabError,
        match=f"the dictionary was built with another model .*{tiny_steered.fingerprint}.*changed",
    ):
        found.check_fingerprint(tiny_steered.fingerprint, "the dictionary")


def test_layers_by_depth(tiny_steered: SteeredModel) -> None:
    assert tiny_steered.layer_count == 4
    assert [tiny_steered.layer_at(depth) for depth in (0, 0.24, 0.25, 0.72, 0.99, 1)] == [
        *(0, 0, 1, 2, 3, 3)
    ]
    of_32_layers = SimpleNamespace(layer_count=32)
    assert SteeredModel.layer_at(of_32_layers, 0.72) == 23  # type: ignore[arg-type]


def test_logits_are_the_models_own(
    any_family: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = SteeredModel(any_family, tiny_tokenizer)
    with torch.inference_mode():
        hidden = model.parts.decoder(IDS).last_hidden_state
        torch.testing.assert_close(model.logits(hidden), any_family(IDS).logits)


def test_an_exchange_is_prompt_and_answer_tokens(tiny_steered: SteeredModel) -> None:
    exchange = tiny_steered.tokenized(Exchange([{"role": "user", "content": "w20"}], "w21 w22"))
    assert exchange.prompt == (3, 20, 2, 4)  # user: w20 </s> assistant:
    assert exchange.answer == (21, 22)


def test_mean_activations_are_per_exchange_and_point(tiny_steered: SteeredModel) -> None:
    exchanges = [
        Exchange([{"role": "user", "content": f"w{20 + n}"}], "w21 w22 w23") for n in range(3)
    ]
    told: list[int] = []
    found = tiny_steered.mean_activations(
        exchanges, [Point(1, "block"), Point(2, "block")], progress=told.append
    )
    assert found.shape == (3, 2, 32) and sum(told) == 3
    for row, exchange in enumerate(exchanges):
        made = tiny_steered.tokenized(exchange)
        with torch.inference_mode():
            states = tiny_steered.hf(
                torch.tensor([[*made.prompt, *made.answer]]), output_hidden_states=True
            ).hidden_states
        for column, layer in enumerate((1, 2)):
            expected = states[layer + 1][0, len(made.prompt) :].mean(dim=0)
            torch.testing.assert_close(found[row, column], expected, atol=1e-4, rtol=1e-4)


def test_an_adapted_model_is_another_model_and_answers(tiny_steered: SteeredModel) -> None:
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        copy.deepcopy(tiny_steered.hf), peft.LoraConfig(r=2, target_modules=["q_proj", "up_proj"])
    )
    generator = torch.Generator().manual_seed(0)
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            weights.data = 0.3 * torch.randn(weights.shape, generator=generator)
    model = SteeredModel(adapted, tiny_steered.tokenizer, name="adapted")
    assert model.fingerprint != tiny_steered.fingerprint
    vectors = SteeringVectors({Point(2, "mlp"): torch.linspace(-3, 3, 32)})
    requests = [
        Request([{"role": "user", "content": f"w{20 + n} w30"}], steering=steering)
        for n, steering in enumerate((None, Steering(vectors, 3.0)))
    ]
    found = model.generate(requests, max_new_tokens=8)
    plain = tiny_steered.generate(requests, max_new_tokens=8)
    merged = SteeredModel(adapted.merge_and_unload(), tiny_steered.tokenizer)
    assert found == merged.generate(requests, max_new_tokens=8)
    assert found != plain


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("nobody/no-such-model", "no-such-model", str(tmp_path / "empty")):
        with pytest.raises(TrimtabError, match="model") as caught:
            SteeredModel.from_pretrained(name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
