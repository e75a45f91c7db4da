"""Weights as 8-bit integers: what they multiply to, and that all else works on them."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trimtab import TrimtabError
from trimtab.steering import Point, Request, SteeredModel, Steering, SteeringVectors
from trimtab.steering.weights.int8 import Int8Linear, quantise

WIDE, HIGH = 64, 96


def layer(*, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDE, HIGH, bias=bias)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 33), (3, 40)])
def test_few_tokens_and_many_multiply_to_the_rounded_matrix(
    shape: tuple[int, int], bias: bool
) -> None:
    plain = layer(bias=bias)
    made = Int8Linear(plain)
    # By hand: each row is rounded to whole multiples of a 127th of its largest number.
    steps = plain.weight.abs().amax(dim=1, keepdim=True) / 127
    by_hand = (plain.weight / steps).round() * steps
    hidden = drawn(*shape, WIDE)
    wanted = hidden @ by_hand.T + (plain.bias if bias else 0)
    found = made(hidden)
    assert found.shape == (*shape, HIGH) and found.dtype == torch.float32
    assert apart(found, wanted) < 0.02
    assert apart(found, plain(hidden)) < 0.02
    assert apart(made(hidden), hidden @ made.weight.T + (0 if made.bias is None else made.bias)) < (
        0.01 if shape[0] * shape[1] <= 32 else 1e-6
    )


def test_a_row_of_zeros_stays_one() -> None:
    plain = layer(bias=False)
    with torch.no_grad():
        plain.weight[3] = 0
    assert Int8Linear(plain)(drawn(1, WIDE))[0, 3] == 0


def test_what_trains_above_it_gets_its_gradient() -> None:
    made = Int8Linear(layer())
    hidden = drawn(1, WIDE).requires_grad_()
    made(hidden).sum().backward()
    torch.testing.assert_close(hidden.grad, made.weight.sum(dim=0)[None])


def test_every_family_answers_nearly_as_before_or_is_refused(
    any_family: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    plain = SteeredModel(any_family, tiny_tokenizer)
    made = SteeredModel(copy.deepcopy(any_family), tiny_tokenizer)
    if any_family.config.model_type == "gpt2":
        with pytest.raises(TrimtabError, match="no linear layers"):
            quantise(made.parts.decoder, "gpt2")
        return
    quantise(made.parts.decoder, "tiny")
    layers = [m for m in made.parts.decoder.modules() if isinstance(m, Int8Linear)]
    assert len(layers) >= 4 * 4
    assert not any(type(m) is nn.Linear for m in made.parts.layers[0].block.modules())
    tokens = torch.arange(10, 30)[None]
    with torch.inference_mode():
        one, other = (model.hf(input_ids=tokens).logits for model in (plain, made))
    assert 0 < apart(other, one) < 0.1


def test_steering_adds_the_same_to_them(
    llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = SteeredModel(copy.deepcopy(llama), tiny_tokenizer)
    quantise(model.parts.decoder, "tiny")
    vectors = SteeringVectors({Point(1, "mlp"): 3 * drawn(32)})
    steering = Steering(vectors, positions="all")
    messages = [{"role": "user", "content": "w20 w21 w22"}]
    [found] = model.generate([Request(messages, steering=steering)], max_new_tokens=5)
    tokens = list(model.prompt_tokens(messages))
    handle = model.hf.model.layers[1].mlp.register_forward_hook(
        lambda module, args, out: out + vectors.values[Point(1, "mlp")]
    )
    with torch.inference_mode():
        for _ in range(5):  # by hand, without a cache
            tokens.append(int(model.hf(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    handle.remove()
    assert list(found.tokens) == tokens[-5:]


def test_a_model_is_loaded_so_and_keeps_its_fingerprint(
    llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    llama.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    plain = SteeredModel.from_pretrained(str(tmp_path), dtype="float32", disk_prefixes=False)
    made = SteeredModel.from_pretrained(
        str(tmp_path), dtype="int8", device="cpu", disk_prefixes=False
    )
    assert made.fingerprint == plain.fingerprint
    assert any(isinstance(module, Int8Linear) for module in made.parts.decoder.modules())
    assert made.hf.dtype == torch.float32
    # Their numbers differ, so that neither takes what is kept of the other's.
    assert (made.precision, plain.precision) == ("int8", "torch.float32")
    assert made.configuration() == {**plain.configuration(), "dtype": "int8"}


def test_another_data_type_is_refused(llama: PreTrainedModel) -> None:
    with pytest.raises(TrimtabError, match="float32 on a processor .* got bfloat16 on cpu"):
        quantise(copy.deepcopy(llama).bfloat16().model, "tiny")
