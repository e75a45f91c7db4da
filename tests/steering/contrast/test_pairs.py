"""Pairs of both kinds, made from samples with their contexts."""

from collections.abc import Sequence

import pytest

from trimtab import TrimtabError
from trimtab.steering import SteeredModel
from trimtab.steering.contrast.context import Context, HistorySample
from trimtab.steering.contrast.pairs import (
    ContrastPair,
    Messages,
    context_pairs,
    model_answers,
    response_pairs,
)


def sample(name: str, timestamp: int = 0, output: str | None = None) -> HistorySample:
    return HistorySample(name, f"input of {name}", output or f"output of {name}", timestamp)


def prompt(input: str, shown: Sequence[HistorySample]) -> Messages:
    lines = [f"{s.input}: {s.output}" for s in shown]
    return [{"role": "user", "content": " | ".join([*lines, input])}]


CONTEXTS = {
    "ada": [
        Context(sample("first", 1), (), (sample("x"),)),
        Context(
            sample("a", 5), (sample("b"), sample("c"), sample("d")), (sample("x"), sample("y"))
        ),
        Context(sample("blank", 6, " \n"), (sample("b"),), (sample("x"),)),
    ],
    "bob": [],
}


def test_context_contrast_forces_the_same_output_after_both_contexts() -> None:
    pairs = context_pairs(CONTEXTS, prompt)
    assert pairs["bob"] == []
    (pair,) = pairs["ada"]  # the first has no C+, the last no output
    assert (pair.sample_id, pair.contrast, pair.timestamp) == ("a", "context", 5)
    assert pair.request == "input of a"
    assert pair.positive.answer == pair.negative.answer == "output of a"
    assert pair.positive.messages == prompt("input of a", [sample("b"), sample("c")])
    assert pair.negative.messages == prompt("input of a", [sample("x"), sample("y")])


def rejected(candidates: list[str], scores: dict[str, float], **how) -> list[ContrastPair]:
    asked: list[Messages] = []

    def answers(prompts: Sequence[Messages]) -> list[list[str]]:
        asked.extend(prompts)
        return [candidates for _ in prompts]

    def score(answer: str, own: str) -> float:
        assert own == "output of a"
        return scores[answer]

    pairs = response_pairs(
        {"ada": CONTEXTS["ada"][1:], "bob": []},
        prompt,
        answers,
        score=score,
        threshold=0.15,
        **how,
    )
    assert asked == [prompt("input of a", [sample("x"), sample("y")])]
    assert pairs["bob"] == []
    return pairs["ada"]


def test_response_contrast_rejects_bad_answers_only() -> None:
    scores = {"good": 0.5, "border": 0.15, "bad": 0.149, "worse": 0.0, "worst": 0.0}
    candidates = ["good", "border", " ", "bad", "bad", "worse", "worst"]
    pairs = rejected(candidates, scores)
    assert [pair.negative.answer for pair in pairs] == ["bad", "worse"]
    for pair in pairs:
        assert (pair.sample_id, pair.contrast, pair.timestamp) == ("a", "response", 5)
        assert pair.positive.answer == "output of a"
        assert pair.positive.messages == pair.negative.messages == prompt("input of a", [])
    assert [p.negative.answer for p in rejected(candidates, scores, limit=1)] == ["bad"]
    assert rejected(["good"], scores) == []


def test_model_answers_are_drawn_from_the_unsteered_model(tiny_steered: SteeredModel) -> None:
    prompts = [prompt(f"w{n} w20", []) for n in (30, 31, 32)]

    def drawn(**how) -> list[list[str]]:
        return [list(own) for own in model_answers(tiny_steered, max_new_tokens=6, **how)(prompts)]

    found = drawn(temperature=1.5, seed=1)
    assert [len(own) for own in found] == [2, 2, 2]
    assert any(one != other for one, other in found)
    assert found == drawn(temperature=1.5, seed=1) != drawn(temperature=1.5, seed=2)
    greedy = drawn(temperature=0.0, count=3)
    assert all(len(own) == 3 and len(set(own)) == 1 for own in greedy)


def test_bad_input_is_named() -> None:
    with pytest.raises(TrimtabError, match="limit of at least 1 rejected answer, got 0"):
        rejected(["bad"], {"bad": 0.0}, limit=0)
    with pytest.raises(TrimtabError, match="the answers to each of 2 prompts, got 0 lists"):
        response_pairs(CONTEXTS, prompt, lambda prompts: [], score=lambda a, b: 0.0, threshold=1)
