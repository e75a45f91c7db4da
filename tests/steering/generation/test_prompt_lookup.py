"""Proposed tokens are checked in the step that is made anyway, and change no answer."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedTokenizerFast

from trimtab.steering import Point, Request, SteeredModel, Steering, SteeringVectors
from trimtab.steering.generation.generate import generate
from trimtab.steering.generation.prompt_lookup import PromptLookup
from trimtab.steering.generation.requests import Completion
from trimtab.steering.generation.row import Row

ASKS = ["a lamp", "a desk for a small room, please", "mugs", "what would I like, what?", "no"]
KINDS: dict[str, dict[str, Any]] = {
    "Qwen2": {},
    "Gemma2": {"sliding_window": 32},
    "Mistral": {"sliding_window": 24},
}


def words(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def test_what_followed_the_same_words_is_proposed() -> None:
    lookup = PromptLookup(words("a red lamp, a red"), chr)
    assert lookup.propose(9) == words(" l")
    assert lookup.propose(1) == words(" ")
    lookup.learn(2, 2)
    lookup.learn(4, 4)
    assert lookup.propose(9) == words(" lamp, a")
    lookup.learn(8, 0)
    assert lookup.propose(9) == words(" ")
    lookup.extend(words(" x"))
    assert lookup.propose(9) == []


def test_the_longest_match_decides_and_the_last_of_its_kind() -> None:
    assert PromptLookup(words("abcX.abcY.zbcZ.abc"), chr).propose(1) == words("Y")
    assert PromptLookup(words("abcX.zbcZ.qbc"), chr).propose(1) == words("Z")


def test_a_single_word_counts_only_where_it_is_asked_for() -> None:
    assert PromptLookup(words("bX.qb"), chr).propose(4) == words("X.")
    assert PromptLookup(words("bX.qb"), chr, least=2).propose(4) == []


def test_nothing_is_proposed_where_such_matches_are_mostly_wrong() -> None:
    lookup = PromptLookup(words("ax"), chr)
    lookup.extend(words("a"))
    assert lookup.propose(1) == words("x")
    lookup.extend(words("qaras"))  # after an "a" never what came after the last one
    lookup.extend(words("a"))
    assert lookup.propose(1) == []
    lookup.extend(words("sasa"))  # and by now the same again and again
    assert lookup.propose(1) == words("s")


def test_words_are_alike_with_and_without_a_space() -> None:
    alike = {0: "red", 1: "red", 2: "lamp", 9: ","}.__getitem__
    assert PromptLookup([0, 2, 9, 1], alike).propose(4) == [2, 9]


@pytest.fixture(scope="module")
def tokenizer(byte_tokenizer: Callable[..., Any]) -> PreTrainedTokenizerFast:
    """One token a byte, so that grammars can be followed."""
    return byte_tokenizer(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|end|>' }}{% endfor %}",
        special=("<|end|>",),
    )


def random_model(kind: str, tokenizer: PreTrainedTokenizerFast) -> SteeredModel:
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.3,
        **KINDS[kind],
    )
    torch.manual_seed(1)
    return SteeredModel(getattr(transformers, f"{kind}ForCausalLM")(config).eval(), tokenizer)


def string(least: int, most: int) -> str:
    return "start: %json " + json.dumps({"type": "string", "minLength": least, "maxLength": most})


def asked() -> list[Request]:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(2))
    vectors = SteeringVectors({Point(1, "mlp"): 4 * vector})
    steerings = [
        None,
        Steering(vectors),
        Steering(vectors, positions="all"),
        Steering(vectors, positions=6, decay=0.8),
    ]
    return [
        Request(
            [{"role": "user", "content": ask}],
            steering=steerings[n % 4],
            grammar=string(n % 3, 30 + n) if n % 2 else None,
        )
        for n, ask in enumerate(ASKS * 2)
    ]


class Oracle:
    """Proposes what an answer will be, and something else in its midst as often as not."""

    def __init__(self, answers: list[Completion]) -> None:
        self._answers = answers
        self._random = random.Random(0)
        self.proposed = self.kept = 0

    def proposals(self) -> Callable[[Row, int], list[int]]:
        def propose(row: Row, most: int) -> list[int]:
            if not row.options.lookup or row.finish is not None:
                return []
            left = row.options.max_new_tokens - len(row.tokens) - 1
            start, count = len(row.tokens), min(self._random.randint(0, 5), left)
            found = list(self._answers[row.index].tokens[start : start + max(count, 0)])
            if found and self._random.random() < 0.5:
                found[self._random.randrange(len(found))] = ord("k")
            if row.constraint is not None:
                found = found[: row.constraint.fitting(found)]
            self.proposed += len(found)
            return found

        return propose

    def checked(self) -> Callable[[Row, int, int], None]:
        def check(row: Row, proposed: int, kept: int) -> None:
            self.kept += kept

        return check


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_without(
    kind: str, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(kind, tokenizer)
    passes = 0

    def count(*args: Any) -> None:
        nonlocal passes
        passes += 1

    model.parts.decoder.register_forward_hook(count)
    for temperature, sizes in ((0.0, (1, 10)), (1.3, (1,))):
        options: dict[str, Any] = {"max_new_tokens": 24, "temperature": temperature, "logprobs": 1}
        expected = generate(model, asked(), lookup=False, batch_size=1, **options)
        oracle = Oracle(expected)
        with monkeypatch.context() as patch:
            patch.setattr(Row, "proposals", oracle.proposals())
            patch.setattr(Row, "checked", oracle.checked())
            for batch_size in sizes:
                passes, before = 0, passes
                found = generate(model, asked(), lookup=True, batch_size=batch_size, **options)
                assert [one.tokens for one in found] == [one.tokens for one in expected]
                for one, other in zip(found, expected, strict=True):
                    chances = [[each.logprob for each in made.logprobs] for made in (one, other)]
                    assert chances[0] == pytest.approx(chances[1], abs=1e-3)
                if batch_size == 1 and before:
                    assert passes < 0.8 * before
        assert oracle.proposed > oracle.kept > 40
        # What the rows propose themselves.
        found = generate(model, asked(), lookup=True, **options)
        assert [one.tokens for one in found] == [one.tokens for one in expected]


def test_an_answer_that_repeats_itself_takes_fewer_passes(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = random_model("Qwen2", tokenizer)
    rule = "start: /(a red lamp and ){9}/"  # the lookup must find what nothing forces
    request = Request([{"role": "user", "content": "x"}], grammar=rule)
    passes: dict[bool, int] = {}
    for lookup in (True, False):
        shapes: list[int] = []
        handle = model.parts.decoder.register_forward_hook(lambda *a, s=shapes: s.append(1))
        [made] = generate(model, [request], max_new_tokens=200, lookup=lookup, fast_forward=False)
        handle.remove()
        assert made.text == "a red lamp and " * 9
        passes[lookup] = len(shapes)
    assert passes[True] < passes[False] / 3
