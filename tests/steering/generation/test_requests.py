"""Generation against transformers' own, one request at a time: batches must change nothing."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trimtab import TrimtabError
from trimtab.steering import Point, SteeredModel, Steering, SteeringVectors
from trimtab.steering.decoder.forward import run
from trimtab.steering.generation import decode_loop
from trimtab.steering.generation.choosing import take_next
from trimtab.steering.generation.generate import generate, stream
from trimtab.steering.generation.requests import Completion, Options, Request
from trimtab.steering.generation.row import Row

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYSTEM = "You help people who look for lamps, desks, mugs and many other things in a big shop."
ASKS = ["a lamp", "a desk for a small room, please", "mugs", "what else would I like to buy?", "no"]
SPACING = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
SCHEMAS = [
    {"type": "object", "properties": {"query": {"type": "string", "maxLength": 12}}},
    {"enum": ["red lamp", "blue lamp", "mug"]},
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 3},
    {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    {
        "type": "object",
        "properties": {
            "filters": {
                "type": "object",
                "properties": {"brand": {"const": "Ärla"}, "price": {"type": "number"}},
                "required": ["brand", "price"],
                "additionalProperties": False,
            },
        },
        "required": ["filters"],
        "additionalProperties": False,
    },
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A small byte-level tokenizer with real merges."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    )
    written = [SYSTEM, *ASKS, *map(json.dumps, SCHEMAS), '{"name": "search", "arguments": {"']
    inner.train_from_iterator(written * 3, trainer)
    inner.add_tokens([AddedToken("<tool_call>"), AddedToken("</tool_call>")])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = TEMPLATE
    return fast


def random_model(kind: str, tokenizer: PreTrainedTokenizerFast, **changes: Any) -> PreTrainedModel:
    """A tiny model with a vocabulary wider than the tokenizer's, as many real ones have."""
    config = getattr(transformers, f"{kind}Config")(
        **{
            "vocab_size": len(tokenizer) + 27,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            # Wide weights: a random model's logits should differ by more than rounding.
            "initializer_range": 0.3,
            **changes,
        }
    )
    torch.manual_seed(1)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():  # nothing that the tokenizer cannot read
        model.get_output_embeddings().weight[len(tokenizer) :] = 0
    return model


@pytest.fixture(scope="module")
def qwen(tokenizer: PreTrainedTokenizerFast) -> SteeredModel:
    return SteeredModel(random_model("Qwen2", tokenizer), tokenizer)


def talk(ask: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ask}]


def grammar(schema: dict[str, Any]) -> str:
    return "start: %json " + json.dumps({**schema, "x-guidance": SPACING}, ensure_ascii=False)


def alone(model: SteeredModel, ask: str, count: int) -> tuple[int, ...]:
    """What transformers itself generates, without the token that ends it."""
    text = model.tokenizer.apply_chat_template(
        talk(ask), tokenize=False, add_generation_prompt=True
    )
    ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    made = model.hf.generate(ids, do_sample=False, max_new_tokens=count)[0, ids.shape[1] :]
    return tuple(token for token in made.tolist() if token != model.tokenizer.eos_token_id)


def counting(model: SteeredModel) -> tuple[contextlib.AbstractContextManager[None], list[tuple]]:
    """A context that writes down the shape of the tokens of each forward pass."""
    shapes: list[tuple[int, ...]] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        shapes.append(tuple(kwargs["input_ids"].shape))

    @contextlib.contextmanager
    def watched() -> Iterator[None]:
        handle = model.parts.decoder.register_forward_pre_hook(note, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    return watched(), shapes


@pytest.mark.parametrize("kind", ["Qwen2", "Llama", "Qwen3", "Gemma2", "Phi3", "Olmo2"])
def test_a_batch_answers_as_each_request_alone(
    kind: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = SteeredModel(random_model(kind, tokenizer), tokenizer)
    expected = [alone(model, ask, 12) for ask in ASKS]
    requests = [Request(talk(ask)) for ask in ASKS]
    for share_prefix in (True, False):
        for batch_size in (1, 3, 48):
            made = generate(
                model,
                requests,
                max_new_tokens=12,
                batch_size=batch_size,
                share_prefix=share_prefix,
            )
            assert [completion.tokens for completion in made] == expected


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_either_attention_answers_alike(attention: str, tokenizer: PreTrainedTokenizerFast) -> None:
    hf = random_model("Qwen2", tokenizer)
    hf.set_attn_implementation(attention)
    model = SteeredModel(hf, tokenizer)
    requests = [Request(talk(ask), grammar=grammar(SCHEMAS[4])) for ask in ASKS]
    made = generate(model, requests, max_new_tokens=48)
    assert [m.text for m in made] == [
        generate(model, [request], max_new_tokens=48, share_prefix=False)[0].text
        for request in requests
    ]
    assert hf.config._attn_implementation == attention


def test_a_sliding_window_counts_no_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    hf = random_model("Mistral", tokenizer, sliding_window=24)
    model = SteeredModel(hf, tokenizer)
    requests = [Request(talk(ask)) for ask in ASKS]
    made = generate(model, requests, max_new_tokens=12)
    assert [completion.tokens for completion in made] == [alone(model, a, 12) for a in ASKS]
    bound = [Request(talk(ask), grammar=grammar(SCHEMAS[4])) for ask in ASKS]
    together = generate(model, bound, max_new_tokens=48)
    assert [m.text for m in together] == [
        generate(model, [one], max_new_tokens=48)[0].text for one in bound
    ]


def test_the_end_token_stops_a_row_and_the_others_go_on(qwen: SteeredModel) -> None:
    long = alone(qwen, ASKS[0], 12)
    hf = qwen.hf
    before = hf.generation_config.eos_token_id
    hf.generation_config.eos_token_id = [before, long[4]]
    try:
        model = SteeredModel(hf, qwen.tokenizer)
        made = generate(model, [Request(talk(ask)) for ask in ASKS], max_new_tokens=12)
    finally:
        hf.generation_config.eos_token_id = before
    assert made[0].tokens == long[: long.index(long[4])]
    assert made[0].finish == "stop"
    for completion, ask in zip(made, ASKS, strict=True):
        whole = alone(qwen, ask, 12)
        assert completion.tokens == whole[: len(completion.tokens)]
        assert completion.finish == "length" or completion.tokens != whole


def test_common_prefixes_run_once_and_are_kept(tokenizer: PreTrainedTokenizerFast) -> None:
    model = SteeredModel(random_model("Llama", tokenizer), tokenizer)
    requests = [Request(talk(ask)) for ask in ASKS]
    watched, shapes = counting(model)
    with watched:
        first = generate(model, requests, max_new_tokens=2)
        passes = list(shapes)
        second = generate(model, requests, max_new_tokens=2)
    assert first == second
    (one, prefix), (rows, rest) = passes[:2]
    assert (one, rows) == (1, len(ASKS))
    assert prefix > 20
    assert prefix + rest == max(completion.prompt_tokens for completion in first)
    assert shapes[len(passes) :] == passes[1:]  # the second time the prefix is there already


def test_one_prompt_runs_once_for_rows_that_differ_in_steering(qwen: SteeredModel) -> None:
    vectors = SteeringVectors({Point(1, "mlp"): torch.full((32,), 2.0)})
    requests = [
        Request(talk(ask), steering=Steering(vectors * factor), grammar=grammar(SCHEMAS[4]))
        for ask in ("a lamp for a desk " * 4, "many other mugs for a small room " * 3)
        for factor in (-1.0, 0.0, 1.0)
    ]
    watched, shapes = counting(qwen)
    with watched:
        together = generate(qwen, requests, max_new_tokens=40)
    prefix, distinct, every = shapes[:3]
    assert (prefix[0], distinct[0], every[0]) == (1, 2, 6)
    assert distinct[1] > 30 > every[1]  # the prompts' own words; then what the grammar forces
    assert len({completion.tokens for completion in together}) > 2
    for request, completion in zip(requests, together, strict=True):
        assert completion == generate(qwen, [request], max_new_tokens=40, share_prefix=False)[0]


def test_a_conversation_goes_on_from_what_has_run(tokenizer: PreTrainedTokenizerFast) -> None:
    model = SteeredModel(random_model("Llama", tokenizer), tokenizer)
    first = talk("a lamp")
    generate(model, [Request(first)], max_new_tokens=3)
    longer = [*first, {"role": "assistant", "content": "red?"}, {"role": "user", "content": "blue"}]
    watched, shapes = counting(model)
    with watched:
        made = generate(model, [Request(longer)], max_new_tokens=3)
    assert shapes[0][1] < made[0].prompt_tokens / 2
    fresh = SteeredModel(model.hf, tokenizer)
    assert generate(fresh, [Request(longer)], max_new_tokens=3, share_prefix=False) == made


def test_adapters_get_no_prefix_of_another(tokenizer: PreTrainedTokenizerFast) -> None:
    hf = random_model("Llama", tokenizer)
    model = SteeredModel(hf, tokenizer)
    requests = [Request(talk(ask)) for ask in ASKS]
    hf.peft_config = {}
    before = generate(model, requests, max_new_tokens=4)
    with torch.no_grad():
        hf.model.layers[0].mlp.down_proj.weight.mul_(-3)
    after = generate(model, requests, max_new_tokens=4)
    assert after != before
    assert after == generate(model, requests, max_new_tokens=4, share_prefix=False)


@pytest.mark.parametrize("positions", ["answer", "all", "prompt", (40, 45)])
def test_each_row_is_steered_as_if_alone(qwen: SteeredModel, positions: Any) -> None:
    torch.manual_seed(0)
    steerings: list[Steering | None] = [
        Steering(SteeringVectors({Point(1, "mlp"): torch.randn(32) * 4}), positions=positions)
        for _ in ASKS
    ]
    steerings[2] = None
    requests = [
        Request(talk(ask), steering=steering, grammar=grammar(SCHEMAS[n % len(SCHEMAS)]))
        if n % 2
        else Request(talk(ask), steering=steering)
        for n, (ask, steering) in enumerate(zip(ASKS, steerings, strict=True))
    ]
    options: dict[str, Any] = {"max_new_tokens": 24}
    together = generate(qwen, requests, **options)
    for request, completion in zip(requests, together, strict=True):
        [single] = generate(qwen, [request], share_prefix=False, **options)
        assert completion == single
    unsteered = generate(
        qwen, [Request(r.messages, grammar=r.grammar) for r in requests], **options
    )
    assert together[0].tokens != unsteered[0].tokens
    assert together[2] == unsteered[2]


def test_rows_that_finish_early_change_nothing_for_the_rest(qwen: SteeredModel) -> None:
    # Rows end after 1 to 40 tokens, so that the batch is cut down several times.
    bounds = [1, 2, 30, 3, 12, 1, 4, 40, 2]
    requests = [
        Request(
            talk(ASKS[n % len(ASKS)]),
            grammar=grammar({"type": "string", "minLength": size, "maxLength": size}),
        )
        for n, size in enumerate(bounds)
    ]
    watched, shapes = counting(qwen)
    with watched:
        together = generate(qwen, requests, max_new_tokens=200)
    heights = [rows for rows, _ in shapes[1:]]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) > 3
    for request, completion, size in zip(requests, together, bounds, strict=True):
        assert completion == generate(qwen, [request], max_new_tokens=200)[0]
        assert len(json.loads(completion.text)) == size


def test_rows_that_wait_take_the_places_of_those_that_finish(qwen: SteeredModel) -> None:
    sizes = [1, 60, 2, 3, 50, 1, 2, 1, 40, 2, 1, 3]
    vectors = SteeringVectors({Point(1, "mlp"): torch.full((32,), 3.0)})
    requests = [
        Request(
            talk(ASKS[n % len(ASKS)]),
            grammar=grammar({"type": "string", "minLength": size, "maxLength": size}),
            steering=[None, Steering(vectors), Steering(vectors, positions="all")][n % 3],
        )
        for n, size in enumerate(sizes)
    ]
    watched, shapes = counting(qwen)
    with watched:
        together = generate(qwen, requests, max_new_tokens=200, batch_size=4)
    assert max(rows for rows, _ in shapes) == 4
    # Were they answered four by four, each four would take as long as its longest.
    assert len(shapes) < len(generate(qwen, requests[1:2], max_new_tokens=200)[0].tokens) * 2
    for request, completion in zip(requests, together, strict=True):
        assert completion == generate(qwen, [request], max_new_tokens=200, share_prefix=False)[0]


def test_threads_that_share_a_model_get_their_own_answers(qwen: SteeredModel) -> None:
    vectors = SteeringVectors({Point(1, "mlp"): torch.full((32,), 3.0)})
    requests = [
        Request(talk(ASKS[n % len(ASKS)]), grammar=grammar(SCHEMAS[n % 3]), steering=steering)
        for n, steering in enumerate([None, Steering(vectors)] * 4)
    ]
    expected = [generate(qwen, [request], max_new_tokens=24) for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        for _ in range(3):
            found = list(pool.map(lambda r: generate(qwen, [r], max_new_tokens=24), requests))
            assert found == expected
    assert qwen.hf.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("positions", ["answer", "all"])
def test_steering_reaches_the_tokens_that_it_names(qwen: SteeredModel, positions: Any) -> None:
    torch.manual_seed(3)
    vectors = SteeringVectors({Point(1, "mlp"): torch.randn(32) * 3})
    steering = Steering(vectors, positions=positions)
    changed = 0
    for ask in ASKS:
        with qwen.steered([steering]):  # whose prompt is what the first pass holds
            expected = alone(qwen, ask, 12)
        [made] = generate(qwen, [Request(talk(ask), steering=steering)], max_new_tokens=12)
        assert made.tokens == expected
        changed += made.tokens != alone(qwen, ask, 12)
    assert changed > 2


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_constrained_answers_always_fit_their_schema(
    qwen: SteeredModel, temperature: float
) -> None:
    requests = [Request(talk(ask), grammar=grammar(schema)) for schema in SCHEMAS for ask in ASKS]
    for completion, request in zip(
        generate(qwen, requests, max_new_tokens=64, temperature=temperature, seed=3),
        requests,
        strict=True,
    ):
        schema = json.loads(request.grammar.removeprefix("start: %json "))
        value = json.loads(completion.text)
        jsonschema.validate(value, schema)
        if schema == {**SCHEMAS[4], "x-guidance": SPACING}:
            assert completion.text.startswith('{"filters": {"brand": "Ärla", "price": ')


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_forced_tokens_cost_no_pass_and_change_nothing(
    qwen: SteeredModel, temperature: float
) -> None:
    requests = [Request(talk(ask), grammar=grammar(schema)) for schema in SCHEMAS for ask in ASKS]
    options: dict[str, Any] = {"max_new_tokens": 64, "temperature": temperature}
    runs: dict[bool, list[Completion]] = {}
    passes = {}
    for fast_forward in (True, False):
        watched, shapes = counting(qwen)
        with watched:
            runs[fast_forward] = generate(qwen, requests, fast_forward=fast_forward, **options)
        passes[fast_forward] = len(shapes)
    assert [made.tokens for made in runs[True]] == [made.tokens for made in runs[False]]
    assert sum(made.forced_tokens for made in runs[True]) > 100
    assert not any(made.forced_tokens for made in runs[False])
    assert passes[True] < passes[False]


def test_what_one_row_is_forced_to_pads_the_others_by_few(
    qwen: SteeredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = 'start: "the red lamp of the big shop" / [a-z]{2}/ " and many other things" /[a-z]/'
    free = "start: /[a-z ]{60}/"
    requests = [Request(talk("a lamp"), grammar=text) for text in (long, *[free] * 7)]
    expected = [generate(qwen, [one], max_new_tokens=64)[0].tokens for one in requests]
    padding: list[int] = []
    widths: list[int] = []

    def watched(decoder: Any, tokens: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        padding.append(tokens.numel() - int(mask[:, -tokens.shape[1] :].sum()))
        widths.append(tokens.shape[1])
        return run(decoder, tokens, mask, cache)

    monkeypatch.setattr(decode_loop, "run", watched)
    made = generate(qwen, requests, max_new_tokens=64)
    assert [one.tokens for one in made] == expected
    assert made[0].forced_tokens > 20
    assert max(padding) <= 16  # a processor computes them all
    assert max(widths[2:]) > 1  # and still a few forced tokens ride along


def test_a_literal_that_is_a_token_of_its_own_is_that_token(qwen: SteeredModel) -> None:
    text = 'start: call\ncall: "<tool_call>" "\\n" ("red" | "blue") "\\n" "</tool_call>"\n'
    [made] = generate(qwen, [Request(talk("a lamp"), grammar=text)], max_new_tokens=20)
    marks = qwen.tokenizer.convert_tokens_to_ids(["<tool_call>", "</tool_call>"])
    assert [made.tokens[0], made.tokens[-1]] == marks
    assert made.text in ("<tool_call>\nred\n</tool_call>", "<tool_call>\nblue\n</tool_call>")
    assert made.finish == "stop"


def test_what_is_forced_altogether_needs_no_model(qwen: SteeredModel) -> None:
    watched, shapes = counting(qwen)
    with watched:
        [made] = generate(qwen, [Request(talk("x"), grammar='start: "red lamp"')])
    assert made.text == "red lamp"
    assert made.forced_tokens == len(made.tokens)
    assert shapes == []


def test_an_answer_without_room_is_closed_and_still_fits(qwen: SteeredModel) -> None:
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 200},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
        "required": ["text", "tags"],
        "additionalProperties": False,
    }
    requests = [Request(talk(ask), grammar=grammar(schema)) for ask in ASKS]
    made = generate(qwen, requests, max_new_tokens=300)
    # Without the minimum, a random model that rambles is cut anywhere.
    rambling = [
        Request(talk(ask), grammar=grammar({"type": "array", "items": {"type": "string"}}))
        for ask in ASKS
    ]
    for completion in [*made, *generate(qwen, rambling, max_new_tokens=40)]:
        json.loads(completion.text)
        assert len(completion.tokens) <= 300
    [cut] = generate(
        qwen, [Request(talk("x"), grammar=grammar({"type": "string", "minLength": 500}))],
        max_new_tokens=10,
    )  # fmt: skip
    assert cut.finish == "length"
    assert len(cut.tokens) == 10


def test_draws_do_not_depend_on_the_batch(qwen: SteeredModel) -> None:
    requests = [Request(talk(ask)) for ask in ASKS]
    options: dict[str, Any] = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 0.9}
    together = generate(qwen, requests, seed=5, **options)
    assert together == generate(qwen, requests, seed=5, batch_size=2, **options)
    assert together != generate(qwen, requests, seed=6, **options)
    same = generate(qwen, [requests[0]] * 4, seed=5, **options)
    assert len({completion.tokens for completion in same}) > 1


def test_draws_follow_the_chances_and_never_what_has_none(qwen: SteeredModel) -> None:
    options = Options(temperature=1.0)
    logits = torch.tensor([0.0, -torch.inf, 1.0, -torch.inf, 2.0, -torch.inf])
    first = max(qwen.ends) + 1  # no token before it ends an answer
    counts = torch.zeros(6)
    for name in range(3000):
        row = Row(qwen, 0, Request(talk(ASKS[0]), draws=str(name)), options)
        take_next([row], pad(logits, (first, 0), value=-torch.inf)[None], None)
        counts[row.tokens[0] - first] += 1
    assert counts[[1, 3, 5]].sum() == 0
    torch.testing.assert_close(counts / 3000, logits.softmax(-1), atol=0.03, rtol=0)


def test_named_draws_do_not_depend_on_the_place_in_the_list(qwen: SteeredModel) -> None:
    options: dict[str, Any] = {"max_new_tokens": 6, "temperature": 1.0, "seed": 5}
    requests = [Request(talk(ASKS[0]), draws=name) for name in ("a", "b", "c")]
    together = generate(qwen, requests, **options)
    assert generate(qwen, requests[::-1], **options) == together[::-1]
    assert generate(qwen, requests[1:2], **options) == together[1:2]
    assert len({found.tokens for found in together}) > 1


def test_top_p_leaves_only_the_likeliest(qwen: SteeredModel) -> None:
    requests = [Request(talk(ask)) for ask in ASKS]
    greedy = generate(qwen, requests, max_new_tokens=6)
    assert generate(qwen, requests, max_new_tokens=6, temperature=2.0, top_p=1e-6) == greedy


def test_a_stop_text_ends_the_answer_before_it(qwen: SteeredModel) -> None:
    [whole] = generate(qwen, [Request(talk("a lamp"))], max_new_tokens=12)
    stop = whole.text[4:7]
    [made] = generate(qwen, [Request(talk("a lamp"))], max_new_tokens=12, stop=(stop,))
    assert made.text == whole.text[: whole.text.index(stop)]
    assert made.finish == "stop"


def test_an_empty_stop_text_is_refused(qwen: SteeredModel) -> None:
    with pytest.raises(TrimtabError, match="stop texts of at least one character"):
        generate(qwen, [Request(talk("a lamp"))], stop=("e", ""))


@pytest.mark.parametrize("room", [3, 4, 5, 9, 30])
@pytest.mark.parametrize("stop", [(), ("e",), ("or",), ("wor", "never")])
def test_an_answer_ends_in_the_same_token_whether_a_grammar_forces_many_at_once(
    qwen: SteeredModel, room: int, stop: tuple[str, ...]
) -> None:
    request = Request(talk("a lamp"), grammar='start: /[ab]/ "hello wor" ("ld" | "m holes")')
    options = {"max_new_tokens": room, "stop": stop, "logprobs": 0}
    [fast] = generate(qwen, [request], **options)
    [slow] = generate(qwen, [request], fast_forward=False, **options)
    assert (fast.text, fast.tokens, fast.finish) == (slow.text, slow.tokens, slow.finish)
    assert len(fast.tokens) <= room and not any(each in fast.text for each in stop)
    assert fast.logprobs and len(fast.logprobs) == len(fast.tokens)
    chosen = sum(each.logprob != 0 for each in fast.logprobs)
    assert fast.forced_tokens == len(fast.tokens) - chosen


def drained(pieces: Any) -> tuple[list[str], Completion]:
    texts = []
    while True:
        try:
            texts.append(next(pieces))
        except StopIteration as end:
            return texts, end.value


@pytest.mark.parametrize("length", [0, 3, 4])
def test_a_stream_is_the_answer_in_pieces(qwen: SteeredModel, length: int) -> None:
    request = Request(talk("a desk for a small room, please"))
    [whole] = generate(qwen, [request], max_new_tokens=12)
    middle = len(whole.text) // 2
    options: dict[str, Any] = {
        "max_new_tokens": 12,
        # Of a stop text that comes in several pieces, none may be shown.
        "stop": (whole.text[middle : middle + length],) if length else (),
    }
    [expected] = generate(qwen, [request], **options)
    pieces, completion = drained(stream(qwen, request, **options))
    assert completion == expected
    assert "".join(pieces) == expected.text
    assert len(pieces) > 1
    assert (expected == whole) == (length == 0)


def test_a_stream_leaves_the_model_alone_between_pieces(qwen: SteeredModel) -> None:
    vectors = SteeringVectors({Point(1, "mlp"): torch.full((32,), 3.0)})
    other = Request(talk("mugs"))
    [expected] = generate(qwen, [other], max_new_tokens=6)
    pieces = stream(qwen, Request(talk("a lamp"), steering=Steering(vectors)), max_new_tokens=6)
    next(pieces)
    assert generate(qwen, [other], max_new_tokens=6) == [expected]


def test_special_tokens_are_not_shown_but_marks_of_calls_are(qwen: SteeredModel) -> None:
    marked = PreTrainedTokenizerFast(
        tokenizer_object=qwen.tokenizer.backend_tokenizer,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<tool_call>", "</tool_call>"],
    )
    marked.chat_template = TEMPLATE
    model = SteeredModel(qwen.hf, marked)
    rule = 'start: call\ncall: "<tool_call>" "x" "<|im_start|>" "</tool_call>"\n'
    [made] = generate(model, [Request(talk("x"), grammar=rule)])
    assert made.text == "<tool_call>x</tool_call>"
    assert len(made.tokens) == 4


def test_nothing_is_asked() -> None:
    assert generate(SimpleNamespace(parts=SimpleNamespace(decoder=None)), []) == []


def refusals() -> Sequence[tuple[Callable[[SteeredModel], Any], str]]:
    ask = [Request(talk("x"))]
    return [
        (lambda m: generate(m, ask, max_new_tokens=500), "do not fit the model's context of 512"),
        (lambda m: generate(m, [Request(talk("lamp " * 600))]), "context of 512 tokens"),
        (lambda m: generate(m, ask, max_new_tokens=0), "max_new_tokens of at least 1"),
        (lambda m: generate(m, ask, temperature=-1), "temperature of at least 0"),
        (lambda m: generate(m, ask, top_p=0), "top_p above 0"),
        (lambda m: generate(m, ask, batch_size=0), "batch_size and batch_tokens of at least 1"),
        (lambda m: generate(m, [Request(talk("x"), grammar="start: nowhere")]), "llguidance"),
    ]


@pytest.mark.parametrize(("ask", "told"), refusals())
def test_what_cannot_be_done_is_refused_in_one_line(
    qwen: SteeredModel, ask: Callable[[SteeredModel], Any], told: str
) -> None:
    with pytest.raises(TrimtabError, match=told) as refusal:
        ask(qwen)
    assert "\n" not in str(refusal.value)


def test_a_tokenizer_that_cannot_be_followed_is_refused(tiny_steered: SteeredModel) -> None:
    request = Request([{"role": "user", "content": "w7 w8"}], grammar='start: "w9"')
    with pytest.raises(TrimtabError, match="constrained decoding needs a fast tokenizer") as told:
        generate(tiny_steered, [request], max_new_tokens=8)
    assert "\n" not in str(told.value)
