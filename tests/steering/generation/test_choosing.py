"""Choices for all rows at once: the same on any device, in one small copy however many rows."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from trimtab.steering import Request, SteeredModel
from trimtab.steering.generation import choosing
from trimtab.steering.generation.choosing import take_next
from trimtab.steering.generation.constraints import constraints_of
from trimtab.steering.generation.requests import Options
from trimtab.steering.generation.row import Row


@pytest.fixture(scope="module")
def model(byte_tokenizer: Callable[..., Any]) -> SteeredModel:
    tokenizer = byte_tokenizer("{{ messages[0]['content'] }}", special=("<|end|>",))
    config = Qwen2Config(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=tokenizer.eos_token_id,
    )
    return SteeredModel(Qwen2ForCausalLM(config), tokenizer)


def rows_of(model: SteeredModel, count: int) -> list[Row]:
    """Rows of every kind: free and bound, greedy and drawn, with and without log-probabilities."""
    bound = "start: %json " + json.dumps({"type": "string", "maxLength": 60})
    return [
        Row(
            model,
            n,
            Request(
                [{"role": "user", "content": "x"}],
                grammar=[None, bound, 'start: ("a" | "b")+', None][n % 4],
            ),
            Options(
                temperature=[0.0, 0.0, 1.2][n % 3],
                top_p=[1.0, 0.7][n % 2],
                logprobs=[None, 3][n // 2 % 2],
                max_new_tokens=40 if n % 5 else 24,
            ),
        )
        for n in range(count)
    ]


def logits_of(count: int, step: int) -> Tensor:
    logits = 3 * torch.randn(count, 300, generator=torch.Generator().manual_seed(step))
    logits[:, 257:] = -torch.inf  # what the tokenizer cannot read
    return logits


def run(model: SteeredModel, count: int, only: int | None = None) -> list[Row]:
    """Rows after 30 steps; all of them together, or one alone."""
    rows = rows_of(model, count)
    for step in range(30):
        going = [n for n, row in enumerate(rows) if row.finish is None and only in (None, n)]
        logits = logits_of(count, step)[going]
        take_next([rows[n] for n in going], logits, constraints_of(model))
    return rows


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose as on a device that is no processor."""
    monkeypatch.setattr(choosing, "_on_processor", choosing._on_device)


@pytest.mark.usefixtures("elsewhere")
def test_a_device_chooses_what_the_processor_does(
    model: SteeredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = run(model, 24)
    monkeypatch.undo()
    here = run(model, 24)
    assert [row.tokens for row in there] == [row.tokens for row in here]
    assert [row.logprobs for row in there] == [row.logprobs for row in here]
    assert len({tuple(row.tokens) for row in here}) > 12


@pytest.mark.parametrize("device", [False, True])
def test_a_row_goes_on_as_if_it_were_alone(
    model: SteeredModel, device: bool, request: pytest.FixtureRequest
) -> None:
    if device:
        request.getfixturevalue("elsewhere")
    together = run(model, 12)
    for n in range(12):
        assert run(model, 12, only=n)[n].tokens == together[n].tokens


@pytest.mark.parametrize("device", [False, True])
def test_a_row_whose_logits_are_no_numbers_fails_alone(
    model: SteeredModel, device: bool, request: pytest.FixtureRequest
) -> None:
    if device:
        request.getfixturevalue("elsewhere")
    rows, logits = rows_of(model, 12), logits_of(12, 0)
    logits[3:9, 40] = torch.nan  # of every kind of row
    take_next(rows, logits, constraints_of(model))
    failed = [row.error is not None for row in rows]
    assert failed == [3 <= n < 9 for n in range(12)]
    assert "not numbers (NaN)" in str(rows[3].error)


@contextmanager
def copies() -> Iterator[Counter[str]]:
    """Counts whatever takes a value out of a tensor, as a copy from a device would."""
    counts: Counter[str] = Counter()
    names = ["cpu", "tolist", "item", "numpy", "__bool__", "__int__", "__float__", "__index__"]
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            plain = getattr(Tensor, name)

            def counted(self: Tensor, *args: Any, plain: Any = plain, name: str = name) -> Any:
                counts[name] += 1
                return plain(self, *args)

            patch.setattr(Tensor, name, counted)
        yield counts


@pytest.mark.usefixtures("elsewhere")
def test_copies_do_not_grow_with_the_rows(model: SteeredModel) -> None:
    found = {}
    for count in (12, 48):
        rows = rows_of(model, count)
        with copies() as counts:
            take_next(rows, logits_of(count, 0), constraints_of(model))
        found[count] = dict(counts)
    assert found[12] == found[48] == {"tolist": 2}  # choices, and log-probabilities
    greedy = [Row(model, 0, Request([{"role": "user", "content": "x"}]), Options())] * 9
    with copies() as counts:
        take_next(greedy, logits_of(9, 0), None)
    assert counts == {"tolist": 1}


def test_log_probabilities_are_those_of_the_whole_vocabulary(model: SteeredModel) -> None:
    rows = rows_of(model, 4)
    logits = logits_of(4, 3)
    expected = logits.log_softmax(-1)
    take_next(rows, logits.clone(), constraints_of(model))
    for n in (2, 3):
        [*_, last] = rows[n].logprobs
        assert last.logprob == pytest.approx(float(expected[n, last.token]), abs=1e-5)
        values, tokens = expected[n].topk(3)
        assert [token for token, _ in last.top] == tokens.tolist()
        assert [value for _, value in last.top] == pytest.approx(values.tolist(), abs=1e-5)
