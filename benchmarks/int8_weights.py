"""What weights as 8-bit integers save a decoded token, and how often the next token is another."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch

from benchmarks.protocol import Benchmark, Figure, Missing, Setting, interleaved
from benchmarks.speed_prompts import requests, story
from trimtab.steering import SteeredModel
from trimtab.steering.generation.generate import generate

_TOPICS = ("a lighthouse", "a bakery", "a glacier", "a violin")


def run(setting: Setting) -> Iterator[Figure]:
    plain = setting.model()
    if plain.device.type != "cpu" or plain.hf.dtype != torch.float32:
        raise Missing("it is for processors that are at their best in float32")
    made = SteeredModel.from_pretrained(setting.model_name, dtype="int8", disk_prefixes=False)
    few, many = setting.size(4, 2), setting.size(28, 6)
    for rows in (1, 4):
        asked = requests([story(topic) for topic in _TOPICS[:rows]], [None] * rows)
        ways = {
            f"{name} {tokens}": lambda model=model, tokens=tokens, asked=asked: generate(
                model, asked, max_new_tokens=tokens
            )
            for name, model in (("int8", made), ("float32", plain))
            for tokens in (few, many)
        }
        times = interleaved(ways, setting.size(3, 1))
        # A token's own time is what the longer answer takes more than the shorter one.
        token = {
            name: [
                (long - short) / (many - few)
                for long, short in zip(times[f"{name} {many}"], times[f"{name} {few}"], strict=True)
            ]
            for name in ("int8", "float32")
        }
        sides = [statistics.median(each) * 1000 for each in token.values()]
        yield Figure(
            f"a token in int8 / in float32, batch {rows}",
            statistics.median(
                one / other for one, other in zip(token["int8"], token["float32"], strict=True)
            ),
            at_most=0.6 if rows == 1 else None,
            detail=f"{sides[0]:,.1f} ms / {sides[1]:,.1f} ms, medians of {len(token['int8'])}",
        )
    yield Figure("the share of likeliest next tokens that are others in int8", _others(plain, made))


@torch.inference_mode()
def _others(plain: SteeredModel, made: SteeredModel) -> float:
    """Over the tokens of a text that the model in float32 has written."""
    prompt = plain.prompt_tokens(story())
    [answer] = generate(plain, requests([story()], [None]), max_new_tokens=100)
    tokens = torch.tensor([[*prompt, *answer.tokens]])
    chosen = [model.hf(input_ids=tokens).logits[0].argmax(dim=-1) for model in (plain, made)]
    return (chosen[0] != chosen[1]).float().mean().item()


BENCHMARK = Benchmark("int8", "What weights as 8-bit integers save a processor.", run)
