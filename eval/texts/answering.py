"""What the model makes of prompts: answers, and how likely it finds what the user wrote.

Prompts of all methods and users go together, each with its own steering; those of another model
variant, and those guided by a second prompt, in batches of their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError
from ...steering.generation.guidance import GuidedRequest, generate_guided, guided_log_likelihoods
from ...steering.generation.requests import Completion, Request
from ...steering.reading.likelihood import answer_log_likelihoods
from ...steering.reading.teacher_forcing import TokenizedExchange

if TYPE_CHECKING:
    from ...steering.model import SteeredModel
    from ...steering.vectors.steering import Steering
    from ..methods.method import ModelVariant
    from .prompt import Fitted


@dataclass(frozen=True)
class Decoding:
    """How answers are made.

    Attributes:
        generate: Whether the model answers; without, only likelihoods are worked out.
        max_new_tokens: At most this many tokens an answer.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        top_p: Draw from the most likely tokens that together have this probability.
        seed: Of the draws.
        batch_size: At most this many rows at once.
    """

    generate: bool = True
    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    batch_size: int = 48

    def options(self) -> dict[str, Any]:
        """What a model's ``generate`` takes."""
        return {name: value for name, value in asdict(self).items() if name != "generate"}


@dataclass(frozen=True)
class Prompt:
    """A prompt with all that decides the answer to it.

    Attributes:
        fitted: The messages, and what was cut from them.
        steering: What is added inside the forward pass; None is nothing.
        without: The same request without the user's context, for context steering.
        guidance: Context steering's lambda.
        variant: What the model runs as; None is the model as it is.
        gold: What the user wrote; empty where that is not known.
        draws: Names its draws: equal for all methods, so that they share their luck.
    """

    fitted: Fitted
    steering: Steering | None = None
    without: Fitted | None = None
    guidance: float = 0.0
    variant: ModelVariant | None = None
    gold: str = ""
    draws: str = ""


@dataclass(frozen=True)
class Answer:
    """What came of a prompt.

    Attributes:
        output: What the model wrote, stripped of white space; empty where it was not asked to.
        prompt_tokens: In all its prompts.
        completion_tokens: In the answer.
        finish: Why the answer ended; empty without one.
        seconds: Its share of the time that the model spent; see ``Completion``.
        log_likelihood: Nats per token of the gold; None without a gold.
        gold_tokens: How many tokens the gold has.
    """

    output: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str = ""
    seconds: float = 0.0
    log_likelihood: float | None = None
    gold_tokens: int = 0


def answer(
    model: SteeredModel, prompts: Sequence[Prompt], decoding: Decoding, *, likelihoods: bool
) -> Iterator[tuple[int, Answer]]:
    """Answer prompts, and tell how likely the golds are.

    Args:
        model: The model.
        prompts: Of any methods and users.
        decoding: How answers are made.
        likelihoods: Whether the golds' likelihoods are wanted.

    Yields:
        Places in the list and their answers, each as soon as it has ended.

    Raises:
        TrimtabError: A prompt that does not fit, or as for ``generate``.
    """
    for variant, places in _by_variant(prompts):
        some = [prompts[place] for place in places]
        with variant.active(model) if variant else nullcontext():
            likely = _likelihoods(model, some) if likelihoods else [None] * len(some)
            if decoding.generate:
                for n, done in _generated(model, some, decoding):
                    yield places[n], _answer(model, some[n], done, likely[n])
            else:
                for place, prompt, known in zip(places, some, likely, strict=True):
                    yield place, _answer(model, prompt, None, known)


@dataclass(frozen=True)
class _Likely:
    nats: float
    tokens: int


def _answer(
    model: SteeredModel, prompt: Prompt, done: Completion | None, likely: _Likely | None
) -> Answer:
    per_token = likely.nats / likely.tokens if likely else None
    gold_tokens = likely.tokens if likely else 0
    if done is None:
        return Answer(
            prompt_tokens=_prompt_tokens(model, prompt),
            log_likelihood=per_token,
            gold_tokens=gold_tokens,
        )
    return Answer(
        output=done.text.strip(),
        prompt_tokens=done.prompt_tokens,
        completion_tokens=len(done.tokens),
        finish=done.finish,
        seconds=done.seconds,
        log_likelihood=per_token,
        gold_tokens=gold_tokens,
    )


def _prompt_tokens(model: SteeredModel, prompt: Prompt) -> int:
    both = [prompt.fitted, prompt.without]
    return sum(len(model.prompt_tokens(each.messages)) for each in both if each is not None)


def _by_variant(prompts: Sequence[Prompt]) -> Iterator[tuple[ModelVariant | None, list[int]]]:
    groups: dict[ModelVariant | None, list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(prompt.variant, []).append(place)
    yield from groups.items()


def _split(prompts: Sequence[Prompt]) -> tuple[list[int], list[int]]:
    """Places of the prompts with one prompt, and of those with two."""
    guided = [n for n, p in enumerate(prompts) if p.without is not None]
    return [n for n, p in enumerate(prompts) if p.without is None], guided


def _generated(
    model: SteeredModel, prompts: Sequence[Prompt], decoding: Decoding
) -> Iterator[tuple[int, Completion]]:
    """Places of prompts and what the model wrote, each as it ends; those with two prompts last."""
    single, guided = _split(prompts)
    if single:
        asked = [prompts[place] for place in single]
        requests = [Request(p.fitted.messages, steering=p.steering, draws=p.draws) for p in asked]
        for n, done in model.completions(requests, **decoding.options()):
            yield single[n], done
    at_once = max(decoding.batch_size // 2, 1)
    for start in range(0, len(guided), at_once):
        some = guided[start : start + at_once]
        started = time.monotonic()
        completions = generate_guided(
            model, [_guided(prompts[place]) for place in some], **decoding.options()
        )
        spent = time.monotonic() - started
        tokens = [done.prompt_tokens + len(done.tokens) for done in completions]
        for place, done, own in zip(some, completions, tokens, strict=True):
            yield place, replace(done, seconds=spent * own / sum(tokens))


def _guided(prompt: Prompt) -> GuidedRequest:
    assert prompt.without is not None
    return GuidedRequest(
        prompt.fitted.messages, prompt.without.messages, prompt.guidance, prompt.draws
    )


def _likelihoods(model: SteeredModel, prompts: Sequence[Prompt]) -> list[_Likely | None]:
    """The golds' log-probabilities under each prompt's prompt and steering."""
    likelihoods: list[_Likely | None] = [None] * len(prompts)
    single, guided = _split(prompts)
    known = {n: _gold(model, p.gold) for n, p in enumerate(prompts)}
    # A steering that changes the prompt keeps all in its call from sharing their prompts.
    early: list[int] = []
    late: list[int] = []
    for place in single:
        if known[place]:
            (early if _touches_prompt(model, prompts[place]) else late).append(place)
    for places in (early, late):
        if places:
            nats = answer_log_likelihoods(
                model,
                [_tokenized(model, prompts[n].fitted.messages, known[n]) for n in places],
                [prompts[n].steering for n in places],
            )
            for place, value in zip(places, nats.tolist(), strict=True):
                likelihoods[place] = _Likely(value, len(known[place]))
    guided = [place for place in guided if known[place]]
    if guided:
        both: tuple[list[TokenizedExchange], list[TokenizedExchange]] = ([], [])
        for place in guided:
            prompt = prompts[place]
            for side, fitted in zip(both, (prompt.fitted, prompt.without), strict=True):
                assert fitted is not None
                side.append(_tokenized(model, fitted.messages, known[place]))
        strengths = [prompts[place].guidance for place in guided]
        nats = guided_log_likelihoods(model, *both, strengths)
        for place, value in zip(guided, nats.tolist(), strict=True):
            likelihoods[place] = _Likely(value, len(known[place]))
    return likelihoods


def _gold(model: SteeredModel, gold: str) -> tuple[int, ...]:
    return model.tokens_of(gold.strip()) if gold.strip() else ()


def _tokenized(
    model: SteeredModel, messages: Sequence[Any], gold: tuple[int, ...]
) -> TokenizedExchange:
    prompt = model.prompt_tokens(messages)
    if len(prompt) < 2:
        raise TrimtabError("expected a prompt of at least 2 tokens")
    return TokenizedExchange(prompt, gold)


def _touches_prompt(model: SteeredModel, prompt: Prompt) -> bool:
    steering = prompt.steering
    if steering is None:
        return False
    length = len(model.prompt_tokens(prompt.fitted.messages))
    return steering.start(length) < length - 1
