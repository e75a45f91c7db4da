"""Every causal family that transformers can build is steered right, or refused in one line."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import trimtab
from trimtab import TrimtabError
from trimtab.steering import (
    Point,
    Request,
    SteeredModel,
    Steering,
    SteeringVectors,
    mean_activations,
)
from trimtab.steering.reading.teacher_forcing import TokenizedExchange
from trimtab.steering.vectors.steering_vectors import Site

VOCABULARY = 128

_SHAPE = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "embedding_size"), 32),
    **dict.fromkeys(("intermediate_size", "n_inner", "d_ff", "ffn_dim", "dim_ff", "dff"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 256),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 4),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("dense_intermediate_size", "shared_intermediate_size"), 16),
    **dict.fromkeys(("mamba_d_state", "ssm_state_size", "state_size", "mamba_d_head"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "mamba_head_dim"), 8),
    "num_key_value_heads": 2,
    "head_dim": 8,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "initializer_range": 0.3,
    "sliding_window": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "o_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    "index_n_heads": 4,
    "index_head_dim": 8,
    "index_topk": 64,
    "mamba_n_groups": 1,
    "n_groups": 1,
    "mamba_expand": 2,
    "mamba_d_ssm": 64,
    "mamba_chunk_size": 16,
    "mamba_dt_rank": 4,
    "hidden_size_per_layer_input": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_LINEAR = ["linear_attention"] * 3 + ["full_attention"]
_OWN: dict[str, dict[str, Any]] = {
    **{
        key: {"num_key_value_heads": 4}
        for key in (
            "axk1",
            "axk2",
            "deepseek_v3",
            "deepseek_v32",
            "dots3_note",
            "dots3_note_text",
            "glm4_moe_lite",
            "glm_moe_dsa",
            "minicpm3",
            "youtu",
        )
    },
    "deepseek_v2": {"num_key_value_heads": 4, "num_experts_per_tok": 2},
    "dots1": {
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
    },
    "kimi_linear": {
        "num_key_value_heads": 4,
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "layer_types": _LINEAR,
    },
    **{key: {"rotary_dim": 8} for key in ("codegen", "gptj")},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granite": {"residual_multiplier": 0.5, "logits_scaling": 8.0, "embedding_multiplier": 3.0},
    "cohere": {"logit_scale": 0.0625},
    "cohere2": {"logit_scale": 0.0625},
    "gemma2": {"final_logit_softcapping": 3.0},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8},
    "qwen3_next": {"layer_types": _LINEAR},
    "qwen3_5": {"layer_types": _LINEAR},
    "qwen3_5_text": {"layer_types": _LINEAR},
    "qwen3_5_moe": {"layer_types": _LINEAR},
    "qwen3_5_moe_text": {"layer_types": _LINEAR},
    "bailing_hybrid": {"layer_types": _LINEAR, "num_key_value_heads": 4},
    "bamba": {"attn_layer_indices": [1, 3]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    **{
        key: {"residual_multiplier": 0.5, "shared_intermediate_size": 16}
        for key in ("granitemoeshared", "granitemoe_swa")
    },
    "falcon_h1": {"ssm_out_multiplier": 0.5, "attention_out_multiplier": 0.7},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"] * 2,
        "num_local_experts": 0,
        "residual_multiplier": 0.5,
    },
    "reformer": {"is_decoder": True},
    **{
        key: {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2}
        for key in ("gemma3n", "gemma3n_text", "gemma4", "gemma4_text")
    },
    **{
        key: {"head_dim": 8, "num_key_value_heads": 2}
        for key in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral", "nemotron")
    },
    "zaya": {"num_experts_per_tok": 1},
}

FAMILIES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


class CannotBuild(Exception):
    """Why no tiny model of a family is made."""


def tiny(name: str) -> PreTrainedModel:
    """A tiny random model of a family, in float32.

    Raises:
        CannotBuild: The shape that is shrunk does not fit the family, or it needs another modality.
    """
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model_class = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name])
            config = _shrunk_config(CONFIG_MAPPING[name], model_class, _OWN.get(name, {}))
            with torch.device("meta"):
                size = sum(p.numel() for p in model_class(config).parameters())
            if size > 5_000_000:
                raise CannotBuild(f"{size:,} parameters are left when it is shrunk")
            model: PreTrainedModel = model_class(config).eval()
            for key, buffer in model.named_buffers():
                if key.endswith("layer_scalar"):  # all of them 1 in a model that was not trained
                    buffer.fill_(0.8)
    except CannotBuild:
        raise
    except Exception as error:  # a family's own code raises what it likes on a shape it dislikes
        raise CannotBuild(f"{type(error).__name__}: {str(error).strip()[:100]}") from error
    return model


def _shrunk_config(config_class: Any, model_class: Any, own: dict[str, Any]) -> Any:
    """A family's configuration in the tiny shape: of its text model, or of all its parts."""
    whole = config_class()
    text = whole.get_text_config(decoder=True)
    parts = {key: getattr(whole, key) for key in config_class.sub_configs}
    if model_class.config_class is not config_class or text not in parts.values():
        return type(text)(**_shrunk(text) | own)
    return config_class(
        **{
            key: _shrunk(part) | (own if part is text else {})
            for key, part in parts.items()
            if part is not None
        }
    )


def _shrunk(config: Any) -> dict[str, Any]:
    renamed = getattr(type(config), "attribute_map", {})
    known = config.to_dict()
    return {
        key: value
        for key, value in _SHAPE.items()
        if (key in known and known[key] is not None) or key in renamed
    }


NEVER_REFUSED = {
    "apertus", "bamba", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "falcon",
    "falcon_h1", "gemma", "gemma2", "gemma3", "gemma3_text", "gemma4", "gemma4_text", "glm4",
    "gpt2", "gpt_neox", "gpt_oss", "granite", "granitemoe", "granitemoehybrid",
    "granitemoeshared", "jamba", "kimi_linear", "lfm2", "lfm2_moe", "llama", "llama4",
    "llama4_text", "ministral3", "mistral", "mixtral", "nanochat", "olmo2", "olmo3", "olmoe",
    "opt", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_5_moe_text", "qwen3_5_text",
    "qwen3_moe", "qwen3_next", "seed_oss", "smollm3", "stablelm", "starcoder2",
}  # fmt: skip
STEERED = "read and steered right"
TRIED_WITH = "5.23"
"""The version of transformers whose families are told below and in the docs."""
_OUTCOMES = {
    STEERED: """
        afmoe apertus arcee aria_text axk1 axk2 bailing_hybrid bamba biogpt bitnet bloom
        codegen cohere cohere2 cohere2_moe ctrl cwm deepseek_v2 deepseek_v3 deepseek_v32
        diffllama doge dots1 emu3 ernie4_5 ernie4_5_moe exaone4 exaone_moe falcon falcon_h1
        flex_olmo flint fuyu gemma gemma2 gemma3 gemma3_text gemma4 gemma4_text
        gemma4_unified gemma4_unified_text glm glm4 glm4_moe glm4_moe_lite glm_moe_dsa
        got_ocr2 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj
        granite granite_swa granitemoe granitemoe_swa granitemoehybrid granitemoeshared
        helium hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax inkling_text internlm3
        iquestcoder jais2 jamba jetmoe kimi_linear kolibri1 laguna lfm2 lfm2_moe lfm3 llama
        llama4 llama4_text mellum mimo_v2_flash minicpm3 minimax_m2 minimax_m3_vl_text
        ministral ministral3 mistral mixtral modernbert-decoder moshi
        moss_transcribe_diarize mpt nanochat nemotron olmo olmo2 olmo3 olmo_hybrid olmoe opt
        persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text
        qwen3_5_text qwen3_moe qwen3_next recurrent_gemma seed_oss smollm3 solar_open
        stablelm starcoder2 vaultgemma xglm youtu zaya
    """,
    "refused: its layers hand on several residual streams": """
        deepseek_v4 gemma3n_text hy_v4
    """,
    "refused: its layers add what one module returns": """
        falcon_mamba mamba mamba2 nemotron_h
    """,
    "refused: its layers norm the residual stream itself": """
        openai-gpt prophetnet trocr xlnet
    """,
    "refused: no two modules of a layer add up to what it adds": """
        beam inkling2_text minimax rwkv xlm
    """,
    "refused: its layers do not run once a pass": """
        mllama
    """,
    "refused: no decoder of its own holds its layers in a list": """
        bart bert bert-generation big_bird bigbird_pegasus blenderbot-small camembert cpmant
        data2vec-text electra ernie hrm_text longcat_flash marian mbart megatron-bert mvp
        pegasus rembert roberta roberta-prelayernorm roformer xlm-roberta xlm-roberta-xl
        xmod
    """,
    "refused: does not run on plain tokens alone": """
        musicgen musicgen_melody xlstm
    """,
    "not built: too large when shrunk": """
        blenderbot blt dots3_note dots3_note_text git phi4_multimodal roc_bert
    """,
    "not built: wants a package that is not installed": """
        gemma3n
    """,
    "not built: does not take the shrunk shape": """
        cohere_compass_text dbrx gemma4_assistant gemma4_unified_assistant plbart qwen4_exp
        qwen4_exp_text reformer whisper zamba zamba2
    """,
}
OUTCOMES = {outcome: names.split() for outcome, names in _OUTCOMES.items()}
ASKS = [[{"role": "user", "content": "w20 w21"}], [{"role": "user", "content": "w30 w31 w32 w33"}]]
IDS = torch.arange(5, 14)[None]
ROOM = 4


def model_of(name: str, tokenizer: PreTrainedTokenizerFast) -> SteeredModel:
    try:
        hf = tiny(name)
    except CannotBuild as error:
        told(name, "not built: ", str(error))
        pytest.skip(str(error))
    try:
        return SteeredModel(hf, tokenizer)
    except TrimtabError as error:
        assert "\n" not in str(error)
        assert name not in NEVER_REFUSED
        told(name, "refused: ", str(error))
        pytest.skip(f"refused: {error}")


KINDS = {
    "has an encoder": "has an encoder",
    "its layers hand on several residual streams": "several residual streams at once",
    "its layers add what one module returns": "a layer adds what one module returns",
    "its layers norm the residual stream itself": "norm the residual stream itself",
    "no two modules of a layer add up to what it adds": "is not known: no two sub-modules",
    "its layers do not run once a pass": "do not run once a pass",
    "no decoder of its own holds its layers in a list": "no decoder of its own",
    "does not run on plain tokens alone": "cannot be run on plain tokens alone",
    "answers otherwise with a cache or in a padded batch": "answers otherwise with a cache",
    "too large when shrunk": "parameters are left when it is shrunk",
    "wants a package that is not installed": "ImportError",
    "does not take the shrunk shape": "",
}
"""What a reason is called in the docs, and how it is known; the first that fits."""


def told(name: str, outcome: str, why: str = "") -> None:
    """A family comes out as ``OUTCOMES`` says, with the version of transformers that it is of."""
    if not transformers.__version__.startswith(f"{TRIED_WITH}."):
        return
    if why:
        outcome += next(kind for kind, sign in KINDS.items() if re.search(sign, why))
    assert name in OUTCOMES.get(outcome, ()), f"{name}: {outcome} {why}"


def some_steering(model: SteeredModel, positions: str = "answer") -> Steering:
    random = torch.Generator().manual_seed(3)
    hidden = model.hf.config.get_text_config().hidden_size
    points = [Point(2, "attn"), Point(2, "mlp")]
    vectors = {point: 6 * torch.randn(hidden, generator=random) for point in points}
    return Steering(SteeringVectors(vectors), positions=positions)  # type: ignore[arg-type]


@torch.inference_mode()
def logits(model: SteeredModel, rows: Sequence[Steering | None] | None = None) -> Tensor:
    if rows is None:
        return model.hf(input_ids=IDS, use_cache=False).logits
    with model.steered(rows):
        return model.hf(input_ids=IDS, use_cache=False).logits


@torch.inference_mode()
def added_by_hand(model: SteeredModel, steering: Steering) -> Tensor:
    """The logits when the vectors are added to the stream by hooks of this test's own."""
    layer = model.parts.layers[2]
    handles = []
    for point, vector in steering.vectors.values.items():

        def add(module: object, args: object, output: object, vector: Tensor) -> object:
            if isinstance(output, tuple):
                return (output[0] + vector, *output[1:])
            assert isinstance(output, Tensor)
            return output + vector

        place = layer.attention if point.site == "attn" else layer.mlp
        hook = partial(add, vector=vector / place.scale)
        handles.append(place.module.register_forward_hook(hook))
    try:
        return logits(model)
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def check_likeliest(
    model: SteeredModel, ask: list[dict[str, str]], steering: Steering | None, tokens: Sequence[int]
) -> None:
    """Each token is the likeliest one after those before it, in one full pass without a cache."""
    prompt = model.prompt_tokens(ask)
    with model.steered([steering], prompt_lengths=[len(prompt)]):
        found = model.hf(input_ids=torch.tensor([[*prompt, *tokens]]), use_cache=False).logits[0]
    likeliest = found[len(prompt) - 1 :].argmax(dim=-1).tolist()
    assert likeliest[: len(tokens)] == list(tokens)
    assert len(tokens) == ROOM or likeliest[len(tokens)] in model.ends


@torch.inference_mode()
def read_by_hand(model: SteeredModel, sample: TokenizedExchange, layer: int) -> Tensor:
    """What a layer's MLP adds, averaged over the answer, in one plain pass."""
    place = model.parts.layers[layer].mlp
    kept: list[Tensor] = []

    def keep(module: object, args: object, output: Any, scale: float) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        kept.append(scale * hidden.reshape(-1, hidden.shape[-1]))

    handles = [
        module.register_forward_hook(partial(keep, scale=scale))
        for module, scale in (*place.before, (place.module, place.scale))
    ]
    model.hf(input_ids=torch.tensor([[*sample.prompt, *sample.answer]]), use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.stack(kept).sum(dim=0)[len(sample.prompt) :].mean(dim=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_read_and_steered_right_or_refused(
    name: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = model_of(name, tiny_tokenizer)
    samples = [
        TokenizedExchange(model.prompt_tokens(ask), (40 + n, 50, 60)) for n, ask in enumerate(ASKS)
    ]
    read = mean_activations(model.parts, samples, [Point(2, "mlp")])
    for row, sample in zip(read[:, 0], samples, strict=True):
        torch.testing.assert_close(row, read_by_hand(model, sample, 2), rtol=1e-3, atol=1e-3)
    steering = some_steering(model, "all")
    plain = logits(model)
    assert torch.equal(logits(model, [replace(steering, strength=0.0)]), plain)
    steered = logits(model, [steering])
    torch.testing.assert_close(steered, added_by_hand(model, steering), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(steered, plain, atol=1e-2)
    asked = [(ask, each) for ask in ASKS for each in (None, some_steering(model))]
    requests = [Request(ask, steering=each) for ask, each in asked]
    together = [answer.tokens for answer in model.generate(requests, max_new_tokens=ROOM)]
    for (ask, each), tokens in zip(asked, together, strict=True):
        check_likeliest(model, ask, each, tokens)
    for request, tokens in zip(requests[1:], together[1:], strict=True):
        assert model.generate([request], max_new_tokens=ROOM)[0].tokens == tokens
    told(name, STEERED)


def test_the_docs_tell_how_every_family_came_out() -> None:
    docs = Path(trimtab.__file__).parent / "docs" / "field.md"
    section = docs.read_text(encoding="utf-8").partition("## Model families")[2].partition("\n## ")
    rows = [line.strip("| ").split(" | ") for line in section[0].splitlines() if "`" in line]
    table = {row[0]: re.findall("`([^`]+)`", row[-1]) for row in rows if len(row) == 3}
    assert table == OUTCOMES
    assert {row[0]: int(row[1]) for row in rows if len(row) == 3} == {
        outcome: len(names) for outcome, names in OUTCOMES.items()
    }
    listed = [name for names in OUTCOMES.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(OUTCOMES[STEERED]) >= NEVER_REFUSED
    if transformers.__version__.startswith(f"{TRIED_WITH}."):
        assert set(listed) == set(FAMILIES)


NORMS_BEFORE_THE_MLP = {
    "granite": "post_attention_layernorm",
    "granitemoeshared": "post_attention_layernorm",
    "granitemoe_swa": "post_attention_layernorm",
    "falcon_h1": "pre_ff_layernorm",
    "gemma4_text": "pre_feedforward_layernorm",
    "llama4_text": "post_attention_layernorm",
    "opt": "final_layer_norm",
}


@pytest.mark.parametrize("name", NORMS_BEFORE_THE_MLP)
def test_what_attention_and_the_mlp_add_is_in_the_streams_own_scale(
    name: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = model_of(name, tiny_tokenizer)
    block = model.parts.layers[2].block

    @torch.inference_mode()
    def streams(steering: Steering | None = None) -> tuple[Tensor, Tensor]:
        """The stream after attention, which the norm before the MLP takes, and after the layer."""
        kept: list[Tensor] = []
        norm = block.get_submodule(NORMS_BEFORE_THE_MLP[name])
        handles = [
            norm.register_forward_pre_hook(lambda m, args: kept.append(args[0].reshape(9, -1))),
            block.register_forward_hook(
                lambda m, args, output: kept.append(
                    (output[0] if isinstance(output, tuple) else output).reshape(9, -1)
                )
            ),
        ]
        with model.steered([steering]):
            model.hf(input_ids=IDS, use_cache=False)
        for handle in handles:
            handle.remove()
        return kept[0], kept[1]

    mid, after = streams()
    sample = [TokenizedExchange(tuple(IDS[0, :4].tolist()), tuple(IDS[0, 4:].tolist()))]
    sites: tuple[Site, ...] = ("mid", "mlp", "block")
    read = mean_activations(model.parts, sample, [Point(2, site) for site in sites])[0]
    torch.testing.assert_close(read[0], mid[4:].mean(dim=0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(read[2], after[4:].mean(dim=0), rtol=1e-4, atol=1e-4)
    vector = torch.linspace(-2, 2, 32)
    moved = streams(Steering(SteeringVectors({Point(2, "attn"): vector}), positions="all"))[0]
    torch.testing.assert_close(moved - mid, vector.expand(9, -1), rtol=1e-4, atol=1e-4)
    if name != "gemma4_text":  # there something follows the MLP
        torch.testing.assert_close(read[1], read[2] - read[0], rtol=1e-3, atol=1e-3)
        moved = streams(Steering(SteeringVectors({Point(2, "mlp"): vector}), positions="all"))[1]
        torch.testing.assert_close(moved - after, vector.expand(9, -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["granite", "cohere2", "gemma2", "granitemoehybrid"])
def test_logits_are_scaled_and_capped_as_the_model_does(
    name: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = model_of(name, tiny_tokenizer)
    with torch.inference_mode():
        hidden = model.parts.decoder(input_ids=IDS).last_hidden_state
        torch.testing.assert_close(model.logits(hidden), model.hf(input_ids=IDS).logits)


@pytest.mark.parametrize("name", ["qwen2", "granite", "qwen3_5_text"])
def test_an_undeclared_family_is_recognised_in_bfloat16(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trimtab.steering.decoder.families import FAMILIES as DECLARED
    from trimtab.steering.decoder.families import parts_of

    monkeypatch.delitem(DECLARED, name, raising=False)
    hf = tiny(name)
    with torch.no_grad():
        hf.get_input_embeddings().weight *= 300  # a stream that dwarfs what a layer adds
    wanted = parts_of(hf)
    found = parts_of(hf.to(torch.bfloat16))
    assert [(a.attention, a.mlp) for a in found.layers] == [
        (b.attention, b.mlp) for b in wanted.layers
    ]


COMPILED = "is compiled, and compiled code leaves steering out"


def test_a_model_compiled_inside_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    hf = tiny("qwen2")
    hf.model.layers[0].compile(backend="eager")
    with pytest.raises(TrimtabError, match=COMPILED):
        SteeredModel(hf, tiny_tokenizer)


def test_a_model_compiled_as_a_whole_is_steered_or_refused(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    expected = SteeredModel(tiny("qwen2"), tiny_tokenizer)
    hf = tiny("qwen2")
    hf.compile(backend="eager")
    model = SteeredModel(hf, tiny_tokenizer)
    request = [Request(ASKS[0], steering=some_steering(expected))]
    assert model.generate(request, max_new_tokens=5) == expected.generate(request, max_new_tokens=5)
    with pytest.raises(TrimtabError, match=COMPILED), model.steered([None]):
        pass


def test_offloaded_weights_are_steered_alike(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    from accelerate import cpu_offload

    whole = SteeredModel(tiny("qwen2"), tiny_tokenizer)
    away = tiny("qwen2")
    cpu_offload(away, execution_device=torch.device("cpu"))
    model = SteeredModel(away, tiny_tokenizer)
    assert next(away.parameters()).device.type == "meta"
    assert model.fingerprint == whole.fingerprint
    request = [Request(ASKS[0], steering=some_steering(whole))]
    assert model.generate(request, max_new_tokens=5) == whole.generate(request, max_new_tokens=5)
