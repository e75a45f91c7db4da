"""Models and tokenizers as people bring them: steered right, or refused in one line."""

import copy
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from trimtab import TrimtabError
from trimtab.steering import (
    Exchange,
    Point,
    Request,
    SteeredModel,
    Steering,
    SteeringVectors,
    mean_activations,
)
from trimtab.steering.reading.teacher_forcing import TokenizedExchange

SHAPE: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ROOM = 6
IDS = torch.arange(5, 14)[None]


def qwen(**changed: Any) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**(SHAPE | changed))).eval()


def push(size: float = 6.0, hidden: int = 32, **options: Any) -> Steering:
    made = torch.Generator().manual_seed(3)
    values = {
        Point(2, site): size * torch.randn(hidden, generator=made) for site in ("attn", "mlp")
    }
    return Steering(SteeringVectors(values), **options)  # type: ignore[arg-type]


def ask(*words: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": " ".join(f"w{word}" for word in words)}]


SHORT, LONG = ask(20), ask(*range(10, 110))


@torch.inference_mode()
def decoded_anew(model: SteeredModel, asked: Any, steering: Steering | None) -> tuple[int, ...]:
    """Greedy decoding that runs everything again for every token, without a cache."""
    ids = list(model.prompt_tokens(asked))
    start = len(ids)
    while len(ids) < start + ROOM:
        with model.steered([steering], prompt_lengths=[start]):
            found = model.hf(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        if int(found.argmax()) in model.ends:
            break
        ids.append(int(found.argmax()))
    return tuple(ids[start:])


def check_steered(model: SteeredModel, asks: Sequence[Any] = (SHORT, LONG)) -> None:
    """Batches, single rows and what has run before give what a full pass a token gives."""
    steerings = (None, push(), push(0.5, relative=True))
    wanted = [decoded_anew(model, asked, each) for asked in asks for each in steerings]
    assert len(set(wanted)) > len(asks)  # steering changes something
    requests = [Request(asked, steering=each) for asked in asks for each in steerings]
    assert [a.tokens for a in model.generate(requests, max_new_tokens=ROOM)] == wanted
    alone = [model.generate([request], max_new_tokens=ROOM)[0].tokens for request in requests]
    assert alone == wanted


def refused(message: str, make: Any) -> None:
    with pytest.raises(TrimtabError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


# ---- vocabularies ------------------------------------------------------------------------------


def test_a_vocabulary_that_is_padded(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = SteeredModel(qwen(vocab_size=192), tiny_tokenizer)
    check_steered(model)
    for answer in model.generate([Request(SHORT), Request(LONG)], max_new_tokens=20):
        assert isinstance(answer.text, str)


def test_a_vocabulary_that_is_smaller_than_the_tokenizers(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = SteeredModel(qwen(vocab_size=100), tiny_tokenizer)
    check_steered(model, [SHORT, ask(*range(10, 90))])
    message = "holds 'w109', token 109 of the tokenizer, but the model has embeddings for 100"
    refused(message, lambda: model.generate([Request(ask(30, 109))]))
    refused(message, lambda: model.tokenized(Exchange(SHORT, "w109")))


def test_tied_embeddings_that_are_resized(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    hf = qwen(tie_word_embeddings=True)
    hf.resize_token_embeddings(136)
    check_steered(SteeredModel(hf, tiny_tokenizer))


# ---- ends and padding --------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["generation_config", "config", "tokenizer"])
def test_whoever_names_an_end_is_heard(tiny_tokenizer: PreTrainedTokenizerFast, where: str) -> None:
    hf = qwen(eos_token_id=[5, 6] if where == "config" else None)
    free = SteeredModel(hf, tiny_tokenizer).generate([Request(SHORT)], max_new_tokens=8)[0].tokens
    end = free[3]
    tokenizer = copy.deepcopy(tiny_tokenizer)
    if where == "tokenizer":
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    elif where == "config":
        hf = qwen(eos_token_id=[5, end])
    else:
        hf.generation_config.eos_token_id = [7, end]
    model = SteeredModel(hf, tokenizer)
    [answer] = model.generate([Request(SHORT)], max_new_tokens=8)
    assert answer.tokens == free[: free.index(end)] and answer.finish == "stop"


@pytest.mark.parametrize("pad", [None, "</s>"])
def test_no_padding_token_or_the_end_as_one(
    tiny_tokenizer: PreTrainedTokenizerFast, pad: str | None
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.pad_token = pad
    check_steered(SteeredModel(qwen(pad_token_id=None), tokenizer))


# ---- windows and contexts ----------------------------------------------------------------------


def test_a_window_shorter_than_the_prompt(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    hf = MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8)).eval()
    # The second and third begin with 25 tokens that are run once.
    check_steered(
        SteeredModel(hf, tiny_tokenizer),
        [SHORT, ask(*range(10, 40)), ask(*range(10, 35), 90, 91)],
    )


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_more_tokens_than_the_context(family: str, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    small = GPT2LMHeadModel(
        GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    )
    model = SteeredModel(
        small if family == "gpt2" else qwen(max_position_embeddings=64), tiny_tokenizer
    )
    refused(
        "a prompt of 103 tokens and an answer of up to 6 do not fit the model's context of 64",
        lambda: model.generate([Request(LONG)], max_new_tokens=6),
    )
    refused(
        "of 105 tokens together do not fit the model's context of 64",
        lambda: model.mean_activations([Exchange(LONG, "w20 w21")], [Point(1, "mlp")]),
    )


# ---- data types and devices --------------------------------------------------------------------


def test_norms_in_float32_inside_bfloat16(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    hf = qwen().to(torch.bfloat16)
    for module in hf.modules():
        if type(module).__name__ == "Qwen2RMSNorm":
            module.float()

            def in_its_own(x: torch.Tensor, norm: Any = module) -> torch.Tensor:
                return nn.functional.rms_norm(x.float(), (x.shape[-1],), norm.weight).to(x.dtype)

            module.forward = in_its_own  # type: ignore[method-assign]
    check_steered(SteeredModel(hf, tiny_tokenizer))


def test_norms_that_the_model_itself_cannot_run(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    hf = qwen().to(torch.bfloat16)
    for module in hf.modules():
        if type(module).__name__ == "Qwen2RMSNorm":
            module.float()
    refused("cannot be run on plain tokens", lambda: SteeredModel(hf, tiny_tokenizer))


def test_moved_to_another_data_type_after_loading(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = SteeredModel(qwen(), tiny_tokenizer)
    asks = [LONG, ask(*range(10, 100), 3)]  # a beginning that is kept
    check_steered(model, asks)
    model.hf.to(torch.float64)
    check_steered(model, asks)
    read = model.mean_activations([Exchange(asked, "w20") for asked in asks], [Point(2, "mid")])
    fresh = SteeredModel(qwen().double(), tiny_tokenizer)
    torch.testing.assert_close(
        read, fresh.mean_activations([Exchange(asked, "w20") for asked in asks], [Point(2, "mid")])
    )


def test_weights_that_are_nowhere(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with torch.device("meta"):
        empty = qwen()
    refused(
        "such as model.embed_tokens.weight, are on the meta",
        lambda: SteeredModel(empty, tiny_tokenizer),
    )
    half = qwen()
    half.model.layers[2].mlp.down_proj.to("meta")
    refused(
        "1 weights of the model, such as model.layers.2.mlp",
        lambda: SteeredModel(half, tiny_tokenizer),
    )


@pytest.mark.parametrize("where", ["model.norm", "lm_head", "model.layers.1.mlp.up_proj"])
def test_weights_that_are_no_numbers(where: str, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    hf = qwen()
    with torch.no_grad():
        hf.get_submodule(where).weight.fill_(float("nan"))  # type: ignore[operator,union-attr]
    refused("computes NaN on plain tokens in float32", lambda: SteeredModel(hf, tiny_tokenizer))


def test_an_answer_that_overflows(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = SteeredModel(qwen(), tiny_tokenizer)
    broken = replace(push(1e30), strength=1e30)
    refused(
        "not numbers", lambda: model.generate([Request(SHORT, steering=broken)], max_new_tokens=4)
    )


# ---- wrappers ----------------------------------------------------------------------------------


def test_adapters_that_add_tokens_of_their_own(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    peft = pytest.importorskip("peft")
    for config in (
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    ):
        adapted = peft.get_peft_model(qwen(), config)
        make = partial(SteeredModel, adapted, tiny_tokenizer)
        refused("tokens of its own before every prompt", make)


def test_an_adapter(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        qwen(), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    )
    check_steered(SteeredModel(adapted, tiny_tokenizer))


# ---- vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_vectors_of_any_data_type(
    dtype: torch.dtype, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = SteeredModel(qwen(), tiny_tokenizer)
    steering = push()
    values = {point: vector.to(dtype) for point, vector in steering.vectors.values.items()}
    found = model.generate(
        [Request(SHORT, steering=Steering(SteeringVectors(values)))], max_new_tokens=4
    )
    rounded = {point: vector.float() for point, vector in values.items()}
    wanted = Request(SHORT, steering=Steering(SteeringVectors(rounded)))
    assert found == model.generate([wanted], max_new_tokens=4)


def test_vectors_of_another_width_or_depth(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = SteeredModel(qwen(), tiny_tokenizer)
    for steering, message in (
        (push(hidden=16), "vectors of 32 numbers, the model's hidden size"),
        (Steering(SteeringVectors({Point(9, "mlp"): torch.ones(32)})), "layer 9"),
        (replace(push(), fingerprint="another"), "another model"),
    ):
        asked = [Request(SHORT, steering=steering)]
        refused(message, partial(model.generate, asked, max_new_tokens=4))

        def plainly() -> None:
            with model.steered([steering]), torch.inference_mode():  # noqa: B023
                model.hf(IDS)

        refused(message, plainly)


def test_a_relative_strength_means_the_same_under_a_multiplier(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    torch.manual_seed(0)
    scaled = GraniteForCausalLM(GraniteConfig(**SHAPE, residual_multiplier=0.25)).eval()
    # The same function without the multiplier: what it scales is scaled in the weights.
    plain = GraniteForCausalLM(GraniteConfig(**SHAPE, residual_multiplier=1.0)).eval()
    plain.load_state_dict(scaled.state_dict())
    with torch.no_grad():
        for layer in plain.model.layers:
            layer.self_attn.o_proj.weight *= 0.25
            layer.mlp.down_proj.weight *= 0.25
    models = [SteeredModel(hf, tiny_tokenizer) for hf in (scaled, plain)]
    for steering in (push(0.7, relative=True), push(), push(cap=0.4)):
        found = []
        for model in models:
            with torch.inference_mode(), model.steered([steering], prompt_lengths=[4]):
                found.append(model.hf(IDS).logits)
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found[0], scaled(IDS).logits, atol=1e-2)
    points = [Point(2, site) for site in ("attn", "mid", "mlp", "block")]  # type: ignore[arg-type]
    sample = [TokenizedExchange((5, 6, 7), (8, 9))]
    torch.testing.assert_close(*(mean_activations(model.parts, sample, points) for model in models))


# ---- threads -----------------------------------------------------------------------------------


def test_threads_steer_one_model_each_in_its_own_way(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = SteeredModel(qwen(), tiny_tokenizer)
    steerings = [None, push(), push(-6.0), push(3.0, positions="all")]
    requests = [Request(LONG, steering=each) for each in steerings]
    wanted = [model.generate([request], max_new_tokens=ROOM)[0] for request in requests]
    found: dict[int, list[Any]] = {n: [] for n in range(4)}

    def work(n: int) -> None:
        for _ in range(3):
            found[n] += model.generate([requests[n]], max_new_tokens=ROOM)
            model.mean_activations([Exchange(SHORT, "w20 w21")], [Point(1, "mlp")])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answers == [wanted[n]] * 3 for n, answers in found.items())


# ---- files -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    qwen().save_pretrained(tmp_path / "tiny")
    tiny_tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20_000])


def pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10\n"
    (folder / "model.safetensors").write_text(text)


def incomplete(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def other_shape(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(
        config.replace('"intermediate_size": 64', '"intermediate_size": 48')
    )


@pytest.mark.parametrize("damage", [cut, pointer, incomplete, no_tokenizer, no_json, other_shape])
def test_a_folder_that_is_damaged(damage: Any, folder: Path) -> None:
    damage(folder)
    refused(str(folder), lambda: SteeredModel.from_pretrained(str(folder), device="cpu"))


def test_a_model_that_is_none(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    hf: PreTrainedModel = qwen()
    for wrong in (hf.model, None, "qwen"):
        refused("expected a causal language model", lambda: SteeredModel(wrong, tiny_tokenizer))  # type: ignore[arg-type]  # noqa: B023
