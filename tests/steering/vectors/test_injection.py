"""Steering against plain PyTorch: the formulas written out again, layer by layer, without hooks."""

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trimtab import TrimtabError
from trimtab.steering import Point, Steering, SteeringVectors
from trimtab.steering.decoder.families import parts_of
from trimtab.steering.decoder.sublayers import first_tensor
from trimtab.steering.vectors.injection import injected

PROMPT = torch.arange(5, 13)[None]  # 8 tokens


def vectors(*points: tuple[int, str], seed: int = 0, size: int = 32) -> SteeringVectors:
    generator = torch.Generator().manual_seed(seed)
    return SteeringVectors(
        {Point(*point): torch.randn(size, generator=generator) for point in points}  # type: ignore[arg-type]
    )


def logits(model: PreTrainedModel, ids: Tensor, rows: list, **kwargs) -> Tensor:
    lengths = kwargs.pop("prompt_lengths", None)
    with torch.inference_mode(), injected(parts_of(model), rows, lengths):
        return model(ids, **kwargs).logits


class EditedByHand:
    """An independent way to add: each sub-layer's own ``forward`` is wrapped, no hooks."""

    def __init__(self, model: PreTrainedModel, edits: dict[tuple[int, str], Callable]) -> None:
        self.edited = []
        for (layer, place), edit in edits.items():
            found = getattr(parts_of(model).layers[layer], place)
            module = found if place == "block" else found.module
            self.edited.append((module, module.forward))

            def forward(*args, original=module.forward, edit=edit, **kwargs):
                output = original(*args, **kwargs)
                changed = edit(first_tensor(output))
                return (changed, *output[1:]) if isinstance(output, tuple) else changed

            module.forward = forward

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None:
        for module, original in self.edited:
            module.forward = original


def test_adds_alpha_after_attention_and_beta_after_the_mlp(any_family: PreTrainedModel) -> None:
    own = vectors((1, "attn"), (1, "mlp"), (2, "block"))
    steering = Steering(own, {"attn": 0.7, "mlp": -1.3, "block": 0.4}, positions="all")
    alpha, beta, gamma = (
        s * own.values[p] for s, p in zip((0.7, -1.3, 0.4), own.points, strict=True)
    )
    edits = {
        (1, "attention"): lambda h: h + alpha,
        (1, "mlp"): lambda h: h + beta,
        (2, "block"): lambda h: h + gamma,
    }
    with EditedByHand(any_family, edits), torch.inference_mode():
        expected = any_family(PROMPT).logits
    torch.testing.assert_close(logits(any_family, PROMPT, [steering]), expected)


def test_mid_is_added_where_attn_is(llama: PreTrainedModel) -> None:
    attn = vectors((1, "attn"))
    mid = SteeringVectors({Point(1, "mid"): attn.values[Point(1, "attn")]})
    assert torch.equal(
        logits(llama, PROMPT, [Steering(attn)]), logits(llama, PROMPT, [Steering(mid)])
    )


@pytest.mark.parametrize(
    ("positions", "steered"),
    [
        ("all", range(8)),
        ("answer", range(4, 8)),
        (2, range(4, 6)),
        ("prompt", range(5)),
        ((2, 4), range(2, 4)),
    ],
)
def test_positions(llama: PreTrainedModel, positions, steered) -> None:
    own = vectors((2, "mlp"))
    where = torch.tensor([n in steered for n in range(8)])[None, :, None]
    edits = {(2, "mlp"): lambda h: h + where * own.values[Point(2, "mlp")]}
    with EditedByHand(llama, edits), torch.inference_mode():
        expected = llama(PROMPT).logits
    found = logits(llama, PROMPT, [Steering(own, positions=positions)], prompt_lengths=[5])
    torch.testing.assert_close(found, expected)


def test_relative_strength_cap_and_decay(llama: PreTrainedModel) -> None:
    own = vectors((1, "mlp"))
    vector = own.values[Point(1, "mlp")]
    unit = vector / vector.norm()
    decay = 0.5 ** torch.arange(8)[None, :, None]

    def relative(h: Tensor) -> Tensor:
        return h + 0.3 * decay * h.norm(dim=-1, keepdim=True) * unit

    with EditedByHand(llama, {(1, "mlp"): relative}), torch.inference_mode():
        expected = llama(PROMPT).logits
    found = logits(llama, PROMPT, [Steering(own, 0.3, positions="all", relative=True, decay=0.5)])
    torch.testing.assert_close(found, expected)

    def capped(h: Tensor) -> Tensor:
        bound = 0.1 * h.norm(dim=-1, keepdim=True)
        return h + unit * torch.minimum(bound, vector.norm())

    with EditedByHand(llama, {(1, "mlp"): capped}), torch.inference_mode():
        expected = llama(PROMPT).logits
    found = logits(llama, PROMPT, [Steering(own, positions="all", cap=0.1)])
    torch.testing.assert_close(found, expected)


def test_strength_zero_is_bit_identical(any_family: PreTrainedModel) -> None:
    with torch.inference_mode():
        plain = any_family(PROMPT).logits
    assert torch.equal(logits(any_family, PROMPT, [Steering(vectors((1, "mlp")), 0.0)]), plain)
    assert torch.equal(logits(any_family, PROMPT, [None]), plain)


@pytest.mark.parametrize("side", ["left", "right"])
def test_each_row_of_a_padded_batch_is_as_if_alone(any_family: PreTrainedModel, side) -> None:
    rows = [
        Steering(vectors((1, "attn"), (2, "mlp"), seed=1)),
        None,
        Steering(vectors((3, "mlp"), seed=2), 2.0, positions="all"),
    ]
    prompts = [torch.arange(5, 5 + n) for n in (8, 5, 3)]
    ids, mask = torch.zeros(3, 8, dtype=torch.long), torch.zeros(3, 8, dtype=torch.long)
    slots = []
    for row, prompt in enumerate(prompts):
        slot = slice(8 - len(prompt), 8) if side == "left" else slice(0, len(prompt))
        ids[row, slot], mask[row, slot] = prompt, 1
        slots.append(slot)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    together = logits(any_family, ids, rows, attention_mask=mask, position_ids=positions)
    for row, (prompt, slot) in enumerate(zip(prompts, slots, strict=True)):
        alone = logits(any_family, prompt[None], [rows[row]])
        torch.testing.assert_close(together[row, slot], alone[0], atol=1e-4, rtol=1e-4)


def test_cached_decoding_steers_every_new_token(any_family: PreTrainedModel) -> None:
    steering = Steering(vectors((1, "attn"), (2, "mlp")), 1.5)
    ids = torch.arange(5, 15)[None]
    whole = logits(any_family, ids, [steering], prompt_lengths=[6])
    with torch.inference_mode(), injected(parts_of(any_family), [steering]):
        step = any_family(ids[:, :6], use_cache=True)
        found = [step.logits]
        for n in range(6, 10):
            step = any_family(
                ids[:, n : n + 1], past_key_values=step.past_key_values, use_cache=True
            )
            found.append(step.logits)
    torch.testing.assert_close(torch.cat(found, dim=1), whole, atol=1e-4, rtol=1e-4)
    plain = logits(any_family, ids, [None])
    torch.testing.assert_close(whole[:, :5], plain[:, :5])
    assert (whole[:, 5:] - plain[:, 5:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("how", [{"num_beams": 3}, {"num_return_sequences": 2, "do_sample": True}])
def test_beams_and_samples_share_their_rows_steering(llama: PreTrainedModel, how) -> None:
    rows = [Steering(vectors((2, "mlp"), seed=3), 20.0), None]
    ids = torch.stack([torch.arange(5, 11), torch.arange(20, 26)])
    width = how.get("num_return_sequences", 1)

    def generated(ids: Tensor, rows: list) -> Tensor:
        torch.manual_seed(1)
        with injected(parts_of(llama), rows):
            return llama.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, pad_token_id=0, **how
            )

    if "num_beams" in how:  # sampling draws differ with the batch, beams do not
        both = generated(ids, rows)
        assert torch.equal(both[:1], generated(ids[:1], rows[:1]))
        assert torch.equal(both[1:], generated(ids[1:], rows[1:]))
        assert not torch.equal(both[:1], generated(ids[:1], [None]))
    else:
        same, other = generated(ids, rows), generated(ids, [None, None])
        assert not torch.equal(same[:width], other[:width])


def test_bfloat16_follows_float32(llama: PreTrainedModel) -> None:
    steering = Steering(vectors((1, "mlp")), positions="all")
    halved = copy.deepcopy(llama).to(torch.bfloat16)
    half = logits(halved, PROMPT, [steering]).float()
    full = logits(llama, PROMPT, [steering])
    assert (half - full).norm() < 0.03 * full.norm()


def hooks(model: PreTrainedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_leaves_no_hook_behind_after_errors_and_nesting(llama: PreTrainedModel) -> None:
    before = hooks(llama)
    one, two = Steering(vectors((1, "mlp"))), Steering(vectors((2, "attn"), seed=4))
    with pytest.raises(RuntimeError), injected(parts_of(llama), [one]):
        raise RuntimeError
    assert hooks(llama) == before
    with injected(parts_of(llama), [one]):
        nested = logits(llama, PROMPT, [two])
        assert hooks(llama) > before
    both = Steering(SteeringVectors({**one.vectors.values, **two.vectors.values}))
    torch.testing.assert_close(nested, logits(llama, PROMPT, [both]))
    assert hooks(llama) == before


def test_two_threads_steer_their_own_passes_only(llama: PreTrainedModel) -> None:
    rows = [Steering(vectors((1, "mlp"), seed=n), 3.0) for n in range(2)]
    alone = [logits(llama, PROMPT, [row]) for row in rows]
    inside = threading.Barrier(2)
    found: dict[int, Tensor] = {}

    def run(n: int) -> None:
        with torch.inference_mode(), injected(parts_of(llama), [rows[n]]):
            inside.wait()
            found[n] = llama(PROMPT).logits
            inside.wait()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(2):
        torch.testing.assert_close(found[n], alone[n])


def test_bad_input_is_named(llama: PreTrainedModel) -> None:
    with pytest.raises(TrimtabError, match="layer 9.*layers 0 to 3"):
        logits(llama, PROMPT, [Steering(vectors((9, "mlp")))])
    with pytest.raises(TrimtabError, match="multiple"):
        logits(llama, PROMPT, [Steering(vectors((1, "mlp"))), None])
    with pytest.raises(TrimtabError, match="one hidden size"):
        logits(
            llama,
            PROMPT.repeat(2, 1),
            [Steering(vectors((1, "mlp"))), Steering(vectors((1, "mlp"), size=16))],
        )
    with pytest.raises(TrimtabError, match="NaN or infinity"):
        SteeringVectors({Point(0, "mlp"): torch.tensor([float("nan")])})
    with pytest.raises(TrimtabError, match="finite strengths"):
        Steering(vectors((1, "mlp")), float("inf"))
    with pytest.raises(TrimtabError, match="expected positions"):
        Steering(vectors((1, "mlp")), positions="end")  # type: ignore[arg-type]
    with pytest.raises(TrimtabError, match="max_norm and decay of at least 0, .* max_norm -1"):
        Steering(vectors((1, "mlp")), max_norm=-1)
    with pytest.raises(TrimtabError, match="max_norm or relative, not both"):
        Steering(vectors((1, "mlp")), max_norm=1, relative=True)


def test_the_norm_of_all_vectors_together_is_bounded(llama: PreTrainedModel) -> None:
    own = vectors((1, "attn"), (2, "mlp"), (3, "mlp"))
    strength = {"attn": 2.0, "mlp": -3.0}
    factors = (2.0, -3.0, -3.0)
    pushed = {p: f * v for f, (p, v) in zip(factors, own.values.items(), strict=True)}
    total = torch.cat(list(pushed.values())).norm().item()

    def bounded(**how) -> Tensor:
        return logits(llama, PROMPT, [Steering(own, strength, positions="all", **how)])

    def by_hand(gain: Tensor | float) -> Tensor:
        edits = {
            (point.layer, "attention" if point.site == "attn" else "mlp"): (
                lambda h, push=push: h + gain * push
            )
            for point, push in pushed.items()
        }
        with EditedByHand(llama, edits), torch.inference_mode():
            return llama(PROMPT).logits

    torch.testing.assert_close(bounded(max_norm=total / 4), by_hand(0.25))
    assert torch.equal(bounded(max_norm=1.01 * total), bounded())
    assert torch.equal(bounded(max_norm=0.0), logits(llama, PROMPT, [None]))
    # Decay begins where the bound ends: 1, 1/2, 1/4, ... cut at 1/4, and 1, 2, 4, ... at 3.
    fading, growing = (factor ** torch.arange(8.0)[None, :, None] for factor in (0.5, 2.0))
    torch.testing.assert_close(
        bounded(max_norm=total / 4, decay=0.5), by_hand(fading.clamp(max=0.25))
    )
    torch.testing.assert_close(
        bounded(max_norm=3 * total, decay=2.0), by_hand(growing.clamp(max=3))
    )
    sizes = Steering(own, strength, max_norm=total / 4).pushes()
    assert sum(size**2 for size in sizes.values()) ** 0.5 == pytest.approx(total / 4, rel=1e-5)


def test_bounds_hold_for_their_own_row_only(llama: PreTrainedModel) -> None:
    own = vectors((1, "mlp"), (2, "attn"))
    rows = [Steering(own, 3.0), Steering(own, 3.0, max_norm=0.5), Steering(own, 3.0, cap=0.05)]
    together = logits(llama, PROMPT.repeat(3, 1), rows)
    for n, row in enumerate(rows):
        torch.testing.assert_close(together[n : n + 1], logits(llama, PROMPT, [row]))
    assert (together[0] - together[1]).abs().max() > 1e-2


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_same_in_every_autograd_mode(llama: PreTrainedModel, mode) -> None:
    with torch.inference_mode():  # where a dictionary's vectors come from
        own = vectors((1, "attn"), (2, "mlp"))
    steering = Steering(own, 2.0, cap=0.5)
    expected = logits(llama, PROMPT, [steering])
    with mode(), injected(parts_of(llama), [steering]):
        found = llama(PROMPT).logits
    assert torch.equal(found.detach(), expected)
    assert found.is_inference() == (mode is torch.inference_mode)


@pytest.mark.parametrize(
    "how",
    [
        {"decay": 0.7},
        {"relative": True, "cap": 0.2},
        {"positions": (2, 6), "max_norm": 1.0},
        {"positions": "all", "decay": 0.9, "cap": 0.1},
    ],
)
def test_every_option_holds_in_cached_decoding_of_padded_rows(llama: PreTrainedModel, how) -> None:
    """One pass over the whole row, without padding or cache, against a token at a time."""
    rows = [None, Steering(vectors((1, "attn"), (2, "mlp")), 2.0, **how)]
    lengths = (6, 4)
    whole = [torch.arange(5 + 20 * n, 5 + 20 * n + length + 4) for n, length in enumerate(lengths)]
    expected = [
        logits(llama, ids[None], [row], prompt_lengths=[length])[0]
        for ids, row, length in zip(whole, rows, lengths, strict=True)
    ]
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    tokens = torch.stack([whole[0][:6], torch.nn.functional.pad(whole[1][:4], (2, 0))])
    cache = None
    with torch.inference_mode(), injected(parts_of(llama), rows):
        for step in range(4):
            output = llama(
                tokens,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :],
                past_key_values=cache,
                use_cache=True,
            )
            for row, length in enumerate(lengths):
                torch.testing.assert_close(
                    output.logits[row, -1], expected[row][length - 1 + step], atol=1e-4, rtol=1e-4
                )
            cache = output.past_key_values
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            tokens = torch.stack([whole[0][6 + step], whole[1][4 + step]])[:, None]


def test_left_padded_generation_of_transformers_is_each_row_alone(llama: PreTrainedModel) -> None:
    rows = [None, Steering(vectors((2, "mlp"), seed=3), 20.0)]
    prompts = [torch.arange(5, 11), torch.arange(20, 23)]
    ids, mask = torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, 6, dtype=torch.long)
    for n, prompt in enumerate(prompts):
        ids[n, 6 - len(prompt) :], mask[n, 6 - len(prompt) :] = prompt, 1

    def generated(ids: Tensor, mask: Tensor, rows: list) -> Tensor:
        with injected(parts_of(llama), rows):
            found = llama.generate(
                ids, attention_mask=mask, max_new_tokens=6, min_new_tokens=6, do_sample=False
            )
        return found[:, ids.shape[1] :]

    together = generated(ids, mask, rows)
    for n, prompt in enumerate(prompts):
        alone = generated(prompt[None], torch.ones_like(prompt)[None], rows[n : n + 1])
        assert torch.equal(together[n], alone[0])
    assert not torch.equal(together, generated(ids, mask, [None, None]))


def test_steers_under_an_active_adapter(llama: PreTrainedModel) -> None:
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        copy.deepcopy(llama),
        peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "down_proj"]),
    ).eval()
    generator = torch.Generator().manual_seed(0)
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:  # zeros at first, so that a new adapter changes nothing
            weights.data = 0.2 * torch.randn(weights.shape, generator=generator)
    layers = adapted.base_model.model.model.layers
    parts = parts_of(adapted)
    assert [layer.block for layer in parts.layers] == list(layers)
    assert parts.decoder is adapted.base_model.model.model

    own = vectors((1, "attn"), (2, "mlp"))
    steering = Steering(own, {"attn": 1.5, "mlp": -2.0}, positions="all")
    found = logits(adapted, PROMPT, [steering])
    with adapted.disable_adapter():
        without = logits(adapted, PROMPT, [steering])
    assert (found - without).abs().max() > 1e-2

    # The adapter's weights put into the model's own, the vectors into the sub-layers by hand.
    merged = adapted.merge_and_unload()
    edits = {
        (1, "attention"): lambda h: h + 1.5 * own.values[Point(1, "attn")],
        (2, "mlp"): lambda h: h - 2.0 * own.values[Point(2, "mlp")],
    }
    with EditedByHand(merged, edits), torch.inference_mode():
        expected = merged(PROMPT).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
