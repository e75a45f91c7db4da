"""The engine against each request alone: what else is under way changes no answer."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from trimtab.errors import TrimtabError
from trimtab.serve.engine import Engine, EngineClosed, EngineFailure, QueueFull
from trimtab.serve.ticket import Ticket
from trimtab.steering import Exchange, Point, Request, SteeredModel, Steering, SteeringVectors
from trimtab.steering.generation.requests import Options
from trimtab.steering.reading.pace import Pace

ASKS = ["a lamp", "a desk for a small room, please", "mugs", "what else would I like?", "no"]
SYSTEM = "You help people who look for lamps, desks and mugs."
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tiny_tokenizer(byte_tokenizer: Callable[..., Any]) -> PreTrainedTokenizerFast:
    """One token a byte, and those of a chat."""
    return byte_tokenizer(
        TEMPLATE,
        marks=("<tool_call>", "</tool_call>"),
        additional_special_tokens=["<|im_start|>"],
    )


@pytest.fixture(scope="module")
def tiny_model(tiny_tokenizer: PreTrainedTokenizerFast) -> SteeredModel:
    """Two layers of 32 numbers, and a context of 2,048 tokens."""
    config = Qwen2Config(
        vocab_size=len(tiny_tokenizer) + 3,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=tiny_tokenizer.eos_token_id,
        pad_token_id=tiny_tokenizer.pad_token_id,
        bos_token_id=None,
        # Wide weights: a random model's logits should differ by more than rounding.
        initializer_range=0.3,
    )
    torch.manual_seed(1)
    hf = Qwen2ForCausalLM(config).eval()
    with torch.no_grad():  # nothing that the tokenizer cannot read
        hf.get_output_embeddings().weight[len(tiny_tokenizer) :] = 0
    return SteeredModel(hf, tiny_tokenizer, name="tiny")


def talk(ask: str, system: str = SYSTEM) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": ask}]


def push(seed: int, positions: Any = "answer") -> Steering:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(seed))
    return Steering(SteeringVectors({Point(1, "mlp"): 4 * vector}), positions=positions)


def string(least: int, most: int) -> str:
    return "start: %json " + json.dumps({"type": "string", "minLength": least, "maxLength": most})


@pytest.fixture
def engine(tiny_model: SteeredModel) -> Iterator[Engine]:
    made = Engine(tiny_model, max_rows=4, pass_tokens=16)
    yield made
    made.close(drain=False)


def mixed() -> list[tuple[Request, Options]]:
    """Requests that differ in all that a row has of its own."""
    steerings = [None, push(1), push(2, "all"), push(3, (5, 30))]
    return [
        (
            Request(
                talk(ASKS[n % 5] + " x" * (7 * n % 40)),
                steering=steerings[n % 4],
                grammar=string(n % 5, 9 + n) if n % 3 == 0 else None,
            ),
            Options(
                max_new_tokens=[3, 40, 11, 24, 7, 18][n % 6],
                temperature=[0.0, 0.0, 1.1][n % 3],
                top_p=[1.0, 0.9][n % 2],
                seed=n // 2,
                stop=("x",) if n % 4 == 1 else (),
                share_prefix=n % 7 != 0,
            ),
        )
        for n in range(24)
    ]


def alone(model: SteeredModel, request: Request, options: Options) -> Any:
    from dataclasses import asdict

    from trimtab.steering.generation.generate import generate

    [made] = generate(model, [request], **asdict(options) | {"share_prefix": False})
    return made


def test_each_request_is_answered_as_if_alone(engine: Engine, tiny_model: SteeredModel) -> None:
    asked = mixed()
    expected = [alone(tiny_model, *one) for one in asked]
    tickets = [engine.submit(*one) for one in asked]
    assert [ticket.result(60) for ticket in tickets] == expected
    statistics = engine.statistics
    assert statistics.running == statistics.waiting == 0
    assert max(statistics.step_rows) == 4
    assert statistics.prompt_tokens == sum(made.prompt_tokens for made in expected)
    assert statistics.new_tokens == sum(len(made.tokens) for made in expected)
    assert sum(statistics.finished.values()) == len(asked)
    assert 0 < statistics.kept_tokens < statistics.prompt_tokens


def test_requests_that_come_while_others_run_join_them(
    engine: Engine, tiny_model: SteeredModel
) -> None:
    asked = mixed()
    expected = [alone(tiny_model, *one) for one in asked]
    tickets: list[Ticket | None] = [None] * len(asked)

    def ask(n: int) -> None:
        for k in range(n, len(asked), 3):
            tickets[k] = engine.submit(*asked[k])
            tickets[k].result(60)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(3)]
    with tiny_model.lock:  # until each has asked once, so that they are sure to meet
        for thread in threads:
            thread.start()
        while engine.statistics.waiting < len(threads):
            assert all(thread.is_alive() for thread in threads)
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert [ticket.result(0) for ticket in tickets if ticket] == expected
    assert max(engine.statistics.step_rows) >= 2


@pytest.mark.parametrize("kind", ["window", "linear"])
def test_rows_of_other_caches_join(kind: str, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Rows that outgrow a sliding window are padded on their left; a state has no length."""
    shape: dict[str, Any] = {
        "vocab_size": len(tiny_tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "eos_token_id": tiny_tokenizer.eos_token_id,
        "pad_token_id": tiny_tokenizer.pad_token_id,
        "bos_token_id": None,
        "initializer_range": 0.3,
    }
    torch.manual_seed(1)
    hf: Any
    if kind == "window":
        hf = MistralForCausalLM(MistralConfig(**shape, sliding_window=48))
    else:
        layers = ["linear_attention", "full_attention"]
        hf = Qwen3NextForCausalLM(
            Qwen3NextConfig(
                **shape,
                layer_types=layers,
                num_experts=0,
                mlp_only_layers=[0, 1],
                head_dim=8,
                linear_key_head_dim=8,
                linear_value_head_dim=8,
                linear_num_key_heads=2,
                linear_num_value_heads=2,
            )
        )
    model = SteeredModel(hf.eval(), tiny_tokenizer)
    asked = mixed()[:9]
    expected = [alone(model, *one) for one in asked]
    engine = Engine(model, max_rows=3, pass_tokens=16)
    try:
        tickets = [engine.submit(*one) for one in asked]
        assert [ticket.result(60).tokens for ticket in tickets] == [e.tokens for e in expected]
        assert max(engine.statistics.step_rows) > 1
        # One that comes later does not wait for one that is long.
        later = Request(talk("mugs"), steering=push(1)), Options(5)
        expected = [alone(model, *later)]
        long = engine.submit(Request(talk("x"), grammar=string(1500, 1600)), Options(1700))
        asyncio.run(_one_piece(long))
        assert engine.submit(*later).result(60).tokens == expected[0].tokens
        assert not long.done
    finally:
        engine.close(drain=False)


def test_pieces_are_the_answer_for_asyncio_and_for_several_who_listen(engine: Engine) -> None:
    async def listen() -> None:
        ticket = engine.submit(Request(talk("mugs")), Options(max_new_tokens=30), logprobs=2)

        async def heard() -> list[Any]:
            return [piece async for piece in ticket]

        first, second = await asyncio.gather(heard(), heard())
        made = await ticket.completion()
        assert first == second
        assert len(first) > 1
        assert "".join(piece.text for piece in first) == made.text
        assert tuple(token for piece in first for token in piece.tokens) == made.tokens
        assert tuple(one for piece in first for one in piece.logprobs) == made.logprobs
        assert [one.token for one in made.logprobs] == list(made.tokens)
        assert ticket.queued_seconds <= ticket.first_token_seconds <= ticket.seconds

    asyncio.run(listen())


def test_a_cancelled_request_frees_its_row(tiny_model: SteeredModel) -> None:
    engine = Engine(tiny_model, max_rows=1)
    try:
        long = engine.submit(Request(talk("x"), grammar=string(1500, 1600)), Options(1700))
        waits = engine.submit(Request(talk("y")), Options(5))
        asyncio.run(_one_piece(long))
        long.cancel()
        assert waits.result(60).tokens
        made = long.result(60)
        assert made.finish == "cancelled"
        assert 0 < len(made.tokens) < 1500
        late = engine.submit(Request(talk("y")), Options(5))
        late.cancel()
        assert late.result(60).finish in ("cancelled", "length", "stop")
    finally:
        engine.close(drain=False)
    assert engine.statistics.running == 0


async def _one_piece(ticket: Ticket) -> None:
    async for _ in ticket:
        return


def test_a_deadline_ends_an_answer_with_what_there_is(engine: Engine) -> None:
    grammar = string(1500, 1600)
    request, options = Request(talk("x"), grammar=grammar), Options(1700)
    begun = engine.submit(request, options, deadline=time.monotonic() + 0.3)
    late = engine.submit(request, options, deadline=time.monotonic() - 1)
    assert begun.result(60).finish == late.result(60).finish == "deadline"
    assert len(begun.result(0).tokens) < 1500
    assert len(late.result(0).tokens) <= 1  # what the grammar forced


def test_a_full_queue_says_when_to_come_back(tiny_model: SteeredModel) -> None:
    engine = Engine(tiny_model, max_rows=1, max_waiting=2)
    try:
        with tiny_model.lock:
            kept = [engine.submit(Request(talk("x")), Options(4)) for _ in range(2)]
            with pytest.raises(QueueFull, match="ask again in") as full:
                engine.submit(Request(talk("x")), Options(4))
            assert 1 <= full.value.retry_after <= 60
            assert isinstance(full.value, TrimtabError)
            kept.append(engine.submit(Request(talk("x")), Options(4), beyond=True))
        assert all(ticket.result(60).tokens for ticket in kept)
        assert engine.statistics.turned_away == 1
    finally:
        engine.close()


def test_closing_drains_or_cancels(tiny_model: SteeredModel) -> None:
    engine = Engine(tiny_model, max_rows=2)
    tickets = [engine.submit(Request(talk(ask)), Options(12)) for ask in ASKS]
    engine.close(timeout=60)
    assert all(ticket.result(0).finish in ("stop", "length") for ticket in tickets)
    with pytest.raises(EngineClosed, match="takes no more"):
        engine.submit(Request(talk("x")))
    engine = Engine(tiny_model, max_rows=1)
    long = [engine.submit(Request(talk("x"), grammar=string(900, 999)), Options(1500))] * 2
    engine.close(drain=False)
    assert all(ticket.result(0).finish == "cancelled" for ticket in long)


def refusals() -> list[tuple[dict[str, Any], str]]:
    wrong = Steering(SteeringVectors({Point(1, "mlp"): torch.zeros(7)}))
    far = Steering(SteeringVectors({Point(9, "mlp"): torch.zeros(32)}))
    other = Steering(SteeringVectors({Point(1, "mlp"): torch.zeros(32)}), fingerprint="other")
    return [
        ({"grammar": "start: nowhere"}, "llguidance"),
        ({"messages": []}, "at least one message"),
        ({"steering": wrong}, "hidden size"),
        ({"steering": far}, "layer 9"),
        ({"steering": other}, "another model"),
        ({"messages": talk("x" * 3000)}, "context of 2048"),
    ]


@pytest.mark.parametrize(("changes", "told"), refusals())
def test_what_cannot_be_answered_is_refused_at_once(
    engine: Engine, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(TrimtabError, match=told) as refusal:
        engine.submit(Request(**{"messages": talk("x")} | changes))
    assert "\n" not in str(refusal.value)
    assert engine.submit(Request(talk("x")), Options(3)).result(60).tokens


def test_more_tokens_than_the_engine_holds_are_refused(tiny_model: SteeredModel) -> None:
    engine = Engine(tiny_model, max_tokens=200)
    try:
        with pytest.raises(TrimtabError, match="the engine's 200 tokens"):
            engine.submit(Request(talk("x")), Options(400))
    finally:
        engine.close()


def test_a_row_that_breaks_fails_alone(
    engine: Engine, tiny_model: SteeredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trimtab.steering.generation.constraints import Constraint

    steps = 0
    take = Constraint.take

    def breaks(self: Constraint, token: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise TrimtabError("the grammar cannot be followed any further")
        take(self, token)

    request, options = Request(talk("mugs")), Options(30)
    expected = alone(tiny_model, request, options)
    monkeypatch.setattr(Constraint, "take", breaks)
    broken = engine.submit(Request(talk("x"), grammar=string(20, 30)), Options(40))
    whole = engine.submit(request, options)
    with pytest.raises(TrimtabError, match="any further"):
        broken.result(60)
    assert whole.result(60) == expected
    assert engine.statistics.finished["refused"] == 1


def test_a_failure_of_code_is_logged_and_the_loop_goes_on(
    engine: Engine,
    tiny_model: SteeredModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from trimtab.steering.generation.decode_loop import Batch

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(Batch, "step", lambda self: 1 / 0)
        ticket = engine.submit(Request(talk("x")), Options(8))
        with pytest.raises(EngineFailure) as failure:
            ticket.result(60)
    assert isinstance(failure.value.__cause__, ZeroDivisionError)
    assert "ZeroDivisionError" in caplog.text and "Traceback" in caplog.text
    request, options = Request(talk("y"), steering=push(1)), Options(8)
    assert engine.submit(request, options).result(60) == alone(tiny_model, request, options)


def test_steering_around_a_request_is_added(engine: Engine, tiny_model: SteeredModel) -> None:
    options = Options(12)
    expected = alone(tiny_model, Request(talk("x"), steering=push(1)), options)
    with tiny_model.steered([push(1)]):
        assert engine.submit(Request(talk("x")), options).result(60) == expected
    assert engine.submit(Request(talk("x")), options).result(60) != expected


class Endless:
    """Requests without end: as soon as one is answered, the next is asked."""

    def __init__(self, engine: Engine, count: int) -> None:
        self._engine = engine
        self.answered = 0
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self.over.is_set():
            options = Options(60, temperature=1.0, seed=self.answered)
            self._engine.submit(Request(talk("x"), grammar=string(50, 60)), options).result(60)
            self.answered += 1

    def end(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()


def test_whoever_reads_and_whoever_is_answered_take_turns(
    engine: Engine, tiny_model: SteeredModel
) -> None:
    points = [Point(1, "mlp")]
    exchanges = [Exchange(talk("lamp " * 60), "a lamp " * 40)]
    expected = tiny_model.mean_activations(exchanges, points)
    asked = Endless(engine, 4)
    try:
        for _ in range(3):  # the reading ends although the answers never do
            with engine.in_turns() as pace:
                steps = engine.statistics.steps
                waits = []

                def between(pace: Pace = pace, waits: list[int] = waits) -> None:
                    before = engine.statistics.steps
                    pace.between()
                    waits.append(engine.statistics.steps - before)

                read = tiny_model.mean_activations(
                    exchanges, points, pace=replace(pace, between=between)
                )
            torch.testing.assert_close(read, expected, atol=1e-4, rtol=1e-4)
            # It waited for one turn of the loop at a time, and the answers for one pass.
            assert len(waits) > 20
            assert max(waits) <= 1
            assert engine.statistics.steps > steps
        with engine.in_turns() as pace:  # an answer ends although the reading goes on
            answered = asked.answered
            while asked.answered == answered:
                pace.between()
    finally:
        asked.end()


def test_who_reads_beside_a_closed_engine_ends(tiny_model: SteeredModel) -> None:
    engine = Engine(tiny_model)
    with pytest.raises(EngineClosed), engine.in_turns() as pace:
        closing = threading.Thread(target=engine.close)
        closing.start()
        while True:
            pace.between()
    closing.join()
    with pytest.raises(EngineClosed), engine.in_turns():
        raise AssertionError("it must not come here")
