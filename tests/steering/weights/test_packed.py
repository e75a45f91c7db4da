"""Packed weights: the plain products, faster, and never those of weights that have changed."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from trimtab.steering.weights import packed
from trimtab.steering.weights.container import UsableMemory
from trimtab.steering.weights.packed import is_packed, pack_linears

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="needs PyTorch with oneDNN"
)


class Two(nn.Module):
    """A large layer with a bias, a large one without, and a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(512, 640)
        self.down = nn.Linear(640, 512, bias=False)
        self.small = nn.Linear(512, 8)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.small(self.down(self.up(hidden)))


@pytest.fixture
def model() -> Two:
    torch.manual_seed(0)
    return Two()


def plainly(model: Two, hidden: Tensor) -> Tensor:
    """In float64, by matrix products written out."""
    up, down, small = (
        layer.weight.detach().double() for layer in (model.up, model.down, model.small)
    )
    inner = (hidden.double() @ up.T + model.up.bias.detach().double()) @ down.T
    return inner @ small.T + model.small.bias.detach().double()


def agrees(model: Two, hidden: Tensor) -> bool:
    expected = plainly(model, hidden)
    size = float(expected.abs().amax()) if len(hidden) else 1.0
    with torch.inference_mode():
        return torch.allclose(model(hidden).double(), expected, atol=1e-5 * size)


@pytest.mark.parametrize("shape", [(1, 512), (3, 1, 512), (2, 31, 512), (0, 512)])
def test_the_products_are_the_plain_ones(model: Two, shape: tuple[int, ...]) -> None:
    assert not is_packed(model)
    assert pack_linears(model) == 2
    assert is_packed(model)
    hidden = torch.randn(shape)
    assert agrees(model, hidden)
    with torch.inference_mode():
        assert model(hidden).shape == (*shape[:-1], 8)
        apart = torch.randn(*shape[:-1], 1024)[..., ::2]  # not contiguous
        assert torch.allclose(model(apart), model(apart.contiguous()), atol=1e-5)


def _by_data(weight: nn.Parameter) -> None:
    weight.data += torch.randn(len(weight), 1) @ torch.randn(1, weight.shape[1])


def _by_copy(weight: nn.Parameter) -> None:
    with torch.no_grad():
        weight.copy_(torch.randn_like(weight))


def _by_one_number(weight: nn.Parameter) -> None:
    with torch.no_grad():
        weight[7, 13] = 100.0


def _by_other_data(weight: nn.Parameter) -> None:
    weight.data = torch.randn_like(weight)


@pytest.mark.parametrize("change", [_by_data, _by_copy, _by_one_number, _by_other_data])
def test_weights_that_have_changed_are_packed_anew(
    model: Two, change: Callable[[nn.Parameter], None]
) -> None:
    pack_linears(model)
    one, several = torch.randn(1, 512), torch.randn(4, 512)
    assert agrees(model, one) and agrees(model, several)
    change(model.up.weight)
    assert agrees(model, one) and agrees(model, several)
    model.down.weight = nn.Parameter(torch.randn(512, 640))
    assert agrees(model, one) and agrees(model, several)


def test_training_and_other_types_go_the_plain_way(model: Two) -> None:
    pack_linears(model)
    hidden = torch.randn(4, 512)
    assert agrees(model, hidden)
    model(hidden).sum().backward()
    assert model.up.weight.grad is not None
    model.double()
    with torch.inference_mode():
        assert torch.allclose(model(hidden.double()), plainly(model, hidden))
    model.float()
    assert agrees(model, hidden)


def test_hooks_see_and_change_what_a_packed_layer_gives(model: Two) -> None:
    pack_linears(model)
    hidden = torch.randn(4, 512)
    with torch.inference_mode():
        before = model(hidden)
        handle = model.down.register_forward_hook(lambda module, args, made: made + 1.0)
        added = model.small(torch.ones(1, 512)) - model.small(torch.zeros(1, 512))
        assert torch.allclose(model(hidden) - before, added, atol=1e-4)
        handle.remove()
        assert torch.equal(model(hidden), before)


def test_a_copy_is_a_model_of_its_own(model: Two) -> None:
    pack_linears(model)
    hidden = torch.randn(4, 512)
    assert agrees(model, hidden)
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert agrees(made, hidden)
        _by_copy(made.up.weight)
        assert agrees(made, hidden)
        assert not torch.allclose(plainly(made, hidden), plainly(model, hidden))
    assert agrees(model, hidden)


def test_what_would_not_gain_stays_as_it_is(model: Two) -> None:
    assert pack_linears(Two().bfloat16()) == 0
    assert pack_linears(Two().to("meta")) == 0
    model.up.forward = model.up.forward  # somebody's own
    assert pack_linears(model) == 1


def test_where_memory_is_short_there_are_no_copies(
    model: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "memory", lambda: UsableMemory(8_000_000, 4_000_000))
    assert pack_linears(model) == 2
    assert not is_packed(model)
    for tokens in (1, 4):
        assert agrees(model, torch.randn(tokens, 512))
    assert all(layer.forward._copy is None for layer in (model.up, model.down))


def test_an_adapter_that_is_merged_counts() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=512,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=600,
    )
    model = LlamaForCausalLM(config).eval()
    plain = copy.deepcopy(model)
    assert pack_linears(model) > 0
    tokens = torch.tensor([[5, 9, 3]])
    found = []
    for one in (model, plain):
        torch.manual_seed(1)
        wanted = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
        adapted = peft.get_peft_model(one, wanted)
        with torch.inference_mode():
            beside = adapted(tokens).logits
            adapted.merge_adapter()
            merged = adapted(tokens).logits
        found.append((beside, merged))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
