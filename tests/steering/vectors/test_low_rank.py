"""Low-rank interventions against LoReFT's formula as pyreft has it, written out without hooks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from trimtab import TrimtabError
from trimtab.steering import Point, SteeredModel, Steering, SteeringVectors
from trimtab.steering.decoder.families import parts_of
from trimtab.steering.decoder.sublayers import first_tensor
from trimtab.steering.generation.requests import Request
from trimtab.steering.reading.likelihood import answer_log_likelihoods
from trimtab.steering.reading.teacher_forcing import TokenizedExchange
from trimtab.steering.vectors.injection import injected
from trimtab.steering.vectors.low_rank import (
    Lora,
    LowRank,
    ModuleName,
    Shift,
    Stage,
    load_stages,
    save_stages,
)
from trimtab.steering.vectors.positions import PromptEdges, parse_positions, windows

PROMPT = torch.arange(5, 15)[None]  # 10 tokens


def low_rank(seed: int, rank: int = 3, size: int = 32) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    orthonormal, _ = torch.linalg.qr(torch.randn(size, rank, generator=generator))
    return LowRank(
        orthonormal.T.contiguous(),
        torch.randn(rank, size, generator=generator) / 3,
        torch.randn(rank, generator=generator),
    )


def as_pyreft(x: Tensor, phi: LowRank) -> Tensor:
    """``base + (learned_source(base) - rotated_base) @ rotate_layer.weight.T``."""
    rotate = phi.rotation.T  # pyreft keeps (hidden_size, rank)
    rotated_base = x @ rotate
    learned_source = torch.nn.functional.linear(x, phi.weight, phi.bias)
    return x + (learned_source - rotated_base) @ rotate.T


def by_hand(model: PreTrainedModel, ids: Tensor, edits: dict[int, Callable], **kwargs) -> Tensor:
    """The layers' own ``forward`` wrapped."""
    originals = []
    for layer, edit in edits.items():
        block = parts_of(model).layers[layer].block
        originals.append((block, block.forward))

        def forward(*args, original=block.forward, edit=edit, **kw):
            output = original(*args, **kw)
            changed = edit(first_tensor(output))
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        block.forward = forward
    try:
        with torch.inference_mode():
            return model(ids, **kwargs).logits
    finally:
        for block, original in originals:
            block.forward = original


def logits(model: PreTrainedModel, ids: Tensor, rows: list, **kwargs) -> Tensor:
    lengths = kwargs.pop("prompt_lengths", None)
    with torch.inference_mode(), injected(parts_of(model), rows, lengths):
        return model(ids, **kwargs).logits


def at(where: list[bool], edit: Callable) -> Callable:
    mask = torch.tensor(where)[None, :, None]
    return lambda x: torch.where(mask, edit(x), x)


def test_is_what_pyreft_computes_in_every_family(any_family: PreTrainedModel) -> None:
    one, two = low_rank(0), low_rank(1, rank=5)
    steering = Steering.by_stages([Stage({1: one, 2: two}, "all")])
    expected = by_hand(
        any_family, PROMPT, {1: lambda x: as_pyreft(x, one), 2: lambda x: as_pyreft(x, two)}
    )
    torch.testing.assert_close(logits(any_family, PROMPT, [steering]), expected)


def test_two_stages_compose_and_a_vector_lies_on_top(llama: PreTrainedModel) -> None:
    first, second, shift = low_rank(0), low_rank(1), Shift(torch.randn(32))
    vector = SteeringVectors({Point(1, "block"): torch.randn(32)})
    steering = Steering(
        vector,
        2.0,
        positions="all",
        stages=(Stage({1: first, 2: shift}, PromptEdges(2, 3)), Stage({1: second}, "answer")),
    )
    edges = at([n < 2 or n >= 7 for n in range(10)], lambda x: as_pyreft(x, first))
    answer = at([n >= 9 for n in range(10)], lambda x: as_pyreft(x, second))
    edits = {
        1: lambda x: answer(edges(x)) + 2 * vector.values[Point(1, "block")],
        2: at([n < 2 or n >= 7 for n in range(10)], lambda x: x + shift.bias),
    }
    torch.testing.assert_close(logits(llama, PROMPT, [steering]), by_hand(llama, PROMPT, edits))


@pytest.mark.parametrize("positions", ["all", "answer", "prompt", 2, (2, 6), PromptEdges(2, 3)])
def test_every_row_has_its_own_in_cached_decoding_of_padded_rows(
    llama: PreTrainedModel, positions
) -> None:
    """Rows left-padded, a token at a time, against each row alone in one pass without padding."""
    rows = [
        Steering.by_stages([Stage({1: low_rank(0), 3: low_rank(2, 1)}, positions)]),
        None,
        Steering.by_stages(
            [Stage({1: low_rank(3, rank=6)}, positions), Stage({2: Shift(torch.ones(32))}, "all")]
        ),
    ]
    prompts, answers = [list(range(5, 11)), list(range(20, 23)), list(range(30, 39))], [40, 41, 42]
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    found = []
    with torch.inference_mode(), injected(parts_of(llama), rows):
        cache = None
        for token in [None, *answers]:
            if token is not None:
                ids = torch.full((3, 1), token)
                mask = torch.cat([mask, mask.new_ones(3, 1)], dim=1)
            positions_ = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            out = llama(
                ids,
                attention_mask=mask,
                position_ids=positions_,
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            found.append(out.logits[:, -1])
    together = torch.stack(found, dim=1)
    for n, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        whole = torch.tensor([[*prompt, *answers]])
        alone = logits(llama, whole, [row], prompt_lengths=[len(prompt)])[:, len(prompt) - 1 :]
        torch.testing.assert_close(together[n : n + 1], alone, atol=1e-5, rtol=1e-4)


def test_answers_and_likelihoods_take_it_as_any_steering(tiny_steered: SteeredModel) -> None:
    texts = ["w10 w11 w12", "w20", "w30 w31 w32 w33 w34"]
    rows = [
        Steering.by_stages([Stage({1: low_rank(n, rank=2 + n)}, where)])
        for n, where in enumerate(("answer", PromptEdges(1, 2), "all"))
    ]
    requests = [
        Request([{"role": "user", "content": text}], steering=row)
        for text, row in zip(texts, rows, strict=True)
    ]
    together = tiny_steered.generate(requests, max_new_tokens=6)
    plain = tiny_steered.generate(
        [Request(request.messages) for request in requests], max_new_tokens=6
    )
    assert [c.tokens for c in together] != [c.tokens for c in plain]
    exchanges = [
        TokenizedExchange(tiny_steered.prompt_tokens(r.messages), (40, 41, 42)) for r in requests
    ]
    likely = answer_log_likelihoods(tiny_steered, exchanges, rows)
    for request, completion, item, nats in zip(requests, together, exchanges, likely, strict=True):
        # Greedy decoding without a cache, hook by hook.
        tokens = list(item.prompt)
        for chosen in completion.tokens:
            scores = logits(
                tiny_steered.hf,
                torch.tensor([tokens]),
                [request.steering],
                prompt_lengths=[len(item.prompt)],
            )
            assert int(scores[0, -1].argmax()) == chosen
            tokens.append(chosen)
        whole = torch.tensor([[*item.prompt, *item.answer]])
        scores = logits(
            tiny_steered.hf, whole, [request.steering], prompt_lengths=[len(item.prompt)]
        )
        chances = scores[0, len(item.prompt) - 1 : -1].log_softmax(-1)
        expected = chances.gather(-1, torch.tensor(item.answer)[:, None]).sum()
        torch.testing.assert_close(nats, expected, atol=1e-4, rtol=1e-5)


def test_holds_under_an_adapter(llama: PreTrainedModel) -> None:
    import copy

    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        copy.deepcopy(llama), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    ).eval()
    phi = low_rank(0)
    with torch.inference_mode():
        expected = by_hand(adapted, PROMPT, {1: lambda x: as_pyreft(x, phi)})
    found = logits(adapted, PROMPT, [Steering.by_stages([Stage({1: phi}, "all")])])
    torch.testing.assert_close(found, expected)


def test_lora_beside_a_module_is_what_peft_computes(llama: PreTrainedModel) -> None:
    import copy

    from peft import LoraConfig, get_peft_model

    expected, rows = [], []
    for seed in range(2):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"], init_lora_weights=False
        )
        adapted = get_peft_model(copy.deepcopy(llama), config).eval()
        with torch.inference_mode():
            expected.append(adapted(PROMPT).logits)
        terms = {}
        for layer, block in enumerate(parts_of(adapted).layers):
            for name in ("self_attn.q_proj", "self_attn.v_proj"):
                module = block.block.get_submodule(name)
                down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
                terms[ModuleName(layer, name)] = Lora(down.detach(), up.detach(), 3.0)
        rows.append(Steering.by_stages([Stage(positions="all", modules=terms)]))
    found = logits(llama, PROMPT.repeat(3, 1), [rows[0], None, rows[1]])
    torch.testing.assert_close(found[0], expected[0][0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1:2], logits(llama, PROMPT, [None]))
    torch.testing.assert_close(found[2], expected[1][0], atol=1e-5, rtol=1e-4)
    with pytest.raises(TrimtabError, match="'self_attn.other', which layer 1"):
        term = {ModuleName(1, "self_attn.other"): Lora(torch.ones(1, 32), torch.ones(32, 1))}
        logits(llama, PROMPT, [Steering.by_stages([Stage(modules=term)])])


def test_saved_and_read_again(tmp_path: Path) -> None:
    stages = [
        Stage({1: low_rank(0), 3: Shift(torch.randn(32))}, PromptEdges(4, 4)),
        Stage({2: low_rank(1)}, (2, 6)),
        Stage(
            {0: low_rank(2)},
            "all",
            {ModuleName(1, "self_attn.q_proj"): Lora(torch.ones(2, 32), torch.ones(32, 2), 0.5)},
        ),
    ]
    path = tmp_path / "phi.safetensors"
    save_stages(path, stages, fingerprint="abc")
    read = load_stages(path, fingerprint="abc")
    assert [stage.positions for stage in read] == [stage.positions for stage in stages]
    assert [stage.parameters for stage in read] == [stage.parameters for stage in stages]
    for one, other in zip(stages, read, strict=True):
        for layer, phi in one.layers.items():
            for name, tensor in phi.tensors().items():
                assert torch.equal(tensor, other.layers[layer].tensors()[name])
    [(place, term)] = read[2].modules.items()
    assert place == (1, "self_attn.q_proj")
    assert (term.scale, term.down.shape, term.up.shape) == (0.5, (2, 32), (32, 2))
    with pytest.raises(TrimtabError, match="another model"):
        load_stages(path, fingerprint="xyz")
    with pytest.raises(TrimtabError, match="cannot read"):
        load_stages(tmp_path / "none.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(TrimtabError, match="holds no interventions"):
        load_stages(tmp_path / "other.safetensors")


def test_the_windows_of_positions() -> None:
    assert windows(PromptEdges(2, 3), 10) == ((0, 2), (7, 10))
    assert windows(PromptEdges(4, 4), 6) == ((0, 4), (4, 6))  # each token once
    assert windows(PromptEdges(9, 9), 6) == ((0, 6), (6, 6))
    assert windows(PromptEdges(0, 3), 10) == ((7, 10), (0, 0))
    assert parse_positions("f4+l2") == PromptEdges(4, 2)
    assert parse_positions("l3") == PromptEdges(0, 3)
    assert parse_positions("4") == 4
    assert parse_positions("all") == "all"
    with pytest.raises(TrimtabError, match=r"f4\+l4 or l4; got 'end'"):
        parse_positions("end")
    starts = Steering.by_stages([Stage({1: low_rank(0)}, PromptEdges(0, 4))])
    assert starts.start(10) == 6
    assert Steering.by_stages([Stage({1: low_rank(0)}, "answer")]).start(10) == 9


def test_bad_input_is_named(llama: PreTrainedModel) -> None:
    with pytest.raises(TrimtabError, match="layer 9.*layers 0 to 3"):
        logits(llama, PROMPT, [Steering.by_stages([Stage({9: low_rank(0)})])])
    with pytest.raises(TrimtabError, match="one hidden size in a batch"):
        rows = [Steering.by_stages([Stage({1: low_rank(0, size=n)})]) for n in (16, 32)]
        logits(llama, PROMPT.repeat(2, 1), rows)
    phi = low_rank(0)
    with pytest.raises(TrimtabError, match="orthonormal rows"):
        LowRank(2 * phi.rotation, phi.weight, phi.bias)
    with pytest.raises(TrimtabError, match=r"shape \(rank, hidden_size\)"):
        LowRank(phi.rotation, phi.weight[:1], phi.bias)
    with pytest.raises(TrimtabError, match="NaN or infinity"):
        LowRank(phi.rotation, phi.weight * float("nan"), phi.bias)
    with pytest.raises(TrimtabError, match="not both 0"):
        PromptEdges(0, 0)
    with pytest.raises(TrimtabError, match="at layers of at least 0"):
        Stage({})
