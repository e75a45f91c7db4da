"""Capture against a plain full forward pass, one sample at a time."""

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from trimtab import TrimtabError
from trimtab.steering import Point, mean_activations
from trimtab.steering.decoder.caches import holds_keys_only
from trimtab.steering.decoder.families import parts_of
from trimtab.steering.decoder.sublayers import first_tensor
from trimtab.steering.reading.pace import Pace
from trimtab.steering.reading.teacher_forcing import TokenizedExchange, shared_prefix
from trimtab.steering.vectors.steering_vectors import SITES, points_of

SYSTEM = tuple(range(10, 40))
FORCED = [
    TokenizedExchange((*SYSTEM, 41, 42, 43), (50, 51)),
    TokenizedExchange((*SYSTEM, 41, 42, 43), (52, 53, 54, 55)),
    TokenizedExchange((*SYSTEM, 44), (56,)),
    TokenizedExchange((*SYSTEM, *range(60, 70)), (57, 58, 59)),
    TokenizedExchange(SYSTEM, (3, 4)),
]


def read_plainly(model: PreTrainedModel, sample: TokenizedExchange, point: Point) -> torch.Tensor:
    """Full forward pass with logits, everything from scratch."""
    layer = parts_of(model).layers[point.layer]
    kept: dict[str, torch.Tensor] = {}
    handles = [
        module.register_forward_hook(
            lambda m, a, out, name=name: kept.__setitem__(name, first_tensor(out))
        )
        for name, module in {
            "attn": layer.attention.module,
            "mlp": layer.mlp.module,
            "block": layer.block,
        }.items()
    ]
    with torch.inference_mode():
        states = model(
            torch.tensor([[*sample.prompt, *sample.answer]]), output_hidden_states=True
        ).hidden_states
    for handle in handles:
        handle.remove()
    value = states[point.layer] + kept["attn"] if point.site == "mid" else kept[point.site]
    return value[0, len(sample.prompt) :].mean(dim=0)


def test_equals_one_plain_pass_a_sample(any_family: PreTrainedModel) -> None:
    points = points_of([0, 2], SITES)
    found = mean_activations(parts_of(any_family), FORCED, points, token_budget=70)
    assert found.shape == (len(FORCED), 8, 32)
    for row, sample in enumerate(FORCED):
        for column, point in enumerate(points):
            torch.testing.assert_close(
                found[row, column], read_plainly(any_family, sample, point), atol=1e-4, rtol=1e-4
            )
    # In passes of few tokens the same is read.
    between: list[None] = []
    pace = Pace(5, lambda: between.append(None))
    paced = mean_activations(parts_of(any_family), FORCED, points, token_budget=70, pace=pace)
    torch.testing.assert_close(paced, found, atol=1e-4, rtol=1e-4)
    assert len(between) > 12 or not holds_keys_only(any_family.config)


@pytest.mark.parametrize(
    ("family", "window"),
    [
        ("Mistral", {}),
        ("Qwen2", {"use_sliding_window": True, "max_window_layers": 1}),
        ("Gemma2", {"head_dim": 8}),
    ],
)
def test_rows_that_outgrow_a_sliding_window_are_read_right(family: str, window: dict) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        sliding_window=8,
        **window,
    )
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    points = points_of([1, 2], ["mid", "mlp"])
    found = mean_activations(parts_of(model), FORCED, points)
    for row, sample in enumerate(FORCED):
        for column, point in enumerate(points):
            torch.testing.assert_close(
                found[row, column], read_plainly(model, sample, point), atol=1e-4, rtol=1e-4
            )


def test_batching_does_not_change_what_is_read(llama: PreTrainedModel) -> None:
    points = points_of([1], ["mid", "mlp"])
    wide = mean_activations(parts_of(llama), FORCED, points)
    narrow = mean_activations(parts_of(llama), FORCED, points, token_budget=1)
    torch.testing.assert_close(wide, narrow, atol=1e-5, rtol=1e-4)


def test_stops_before_later_layers_and_the_vocabulary(llama: PreTrainedModel) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("ran further than it had to")

    handles = [
        module.register_forward_pre_hook(fail)
        for module in (parts_of(llama).layers[2].block, llama.lm_head)
    ]
    try:
        mean_activations(parts_of(llama), FORCED, points_of([1], ["block"]))
    finally:
        for handle in handles:
            handle.remove()


def test_a_shared_prompt_runs_once(llama: PreTrainedModel) -> None:
    seen = []
    handle = (
        parts_of(llama)
        .layers[0]
        .attention.module.register_forward_hook(
            lambda m, a, out: seen.append(first_tensor(out).shape[:2].numel())
        )
    )
    mean_activations(parts_of(llama), FORCED[:2], points_of([0], ["mlp"]))
    handle.remove()
    # 32 prompt tokens once, then per row the last prompt token and the padded answer.
    assert sum(seen) == 32 + 2 * 5


def test_many_answers_to_one_prompt_stay_within_the_budget(llama: PreTrainedModel) -> None:
    prompt = tuple(range(10, 20))
    many = [TokenizedExchange(prompt, tuple(range(20, 22 + n % 5))) for n in range(40)]
    points = points_of([1], ["mid", "block"])
    seen = []
    handle = (
        parts_of(llama)
        .layers[0]
        .attention.module.register_forward_hook(
            lambda m, a, out: seen.append(first_tensor(out).shape[:2].numel())
        )
    )
    found = mean_activations(parts_of(llama), many, points, token_budget=100)
    handle.remove()
    assert max(seen) <= 100
    expected = mean_activations(parts_of(llama), many, points, token_budget=10**6)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([(1,) * 20, (1,) * 30], 19),
        ([(1,) * 20], 0),
        ([(1,) * 8, (1,) * 9], 0),
        ([(*range(18), 5), (*range(18), 7, 8), (*range(18), 7, 9)], 18),
    ],
)
def test_shared_prefix(prompts, expected) -> None:
    assert shared_prefix(prompts) == expected


def test_bad_input_is_named(llama: PreTrainedModel) -> None:
    parts = parts_of(llama)
    with pytest.raises(TrimtabError, match="layer 4 was asked for.*0 to 3"):
        mean_activations(parts, FORCED, points_of([4], ["mlp"]))
    with pytest.raises(TrimtabError, match="sample 1 has 2 and 0"):
        mean_activations(parts, [FORCED[0], TokenizedExchange((3, 4), ())], points_of([0], ["mlp"]))
    with pytest.raises(TrimtabError, match="nothing to force"):
        mean_activations(parts, [], points_of([0], ["mlp"]))
    with pytest.raises(TrimtabError, match="sites out of attn, mid, mlp, block"):
        points_of([0], ["head"])  # type: ignore[list-item]
