"""Contrast pairs: one history sample seen twice, with what fits the user and with what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import TrimtabError
from ..generation.requests import Generates, Request
from ..vectors.entries import Contrast
from .context import Context, HistorySample

Keys = Literal["input", "input+answer"]
Messages = Sequence[Mapping[str, Any]]
Prompt = Callable[[str, Sequence[HistorySample]], Messages]
"""From an input and the samples to show with it, the best first, to the prompt."""
Answers = Callable[[Sequence[Messages]], Sequence[Sequence[str]]]
"""From prompts to what may be answered to each."""


@dataclass(frozen=True)
class Exchange:
    """A prompt and the answer that is forced after it.

    Attributes:
        messages: The prompt, as dicts with ``role`` and ``content``.
        answer: The text that follows.
        tools: OpenAI tool dicts for the chat template.
        raw: Whether the messages' texts stand there as they are, without a chat template.
    """

    messages: Sequence[Mapping[str, Any]]
    answer: str
    tools: Sequence[Mapping[str, Any]] = ()
    raw: bool = False


@dataclass(frozen=True)
class ContrastPair:
    """One sample with a positive and a negative side.

    For ``context`` contrast the answers are equal and the prompts differ; for ``response``
    contrast the prompts are equal and the answers differ. Several pairs of one sample and kind (two
    rejected answers, say) are averaged into one dictionary entry.

    Attributes:
        sample_id: The history sample that this comes from.
        request: The sample's input text.
        positive: With what fits the user.
        negative: With what does not.
        contrast: Which kind of contrast this is.
        timestamp: When the sample happened; it is not used for anything earlier.
    """

    sample_id: str
    request: str
    positive: Exchange
    negative: Exchange
    contrast: Contrast = "response"
    timestamp: int = 0

    def key(self, keys: Keys) -> str:
        """The text that queries are compared with: the input, or input and answer together."""
        return key_text(self.request, self.positive.answer, keys)


def key_text(request: str, answer: str, keys: Keys) -> str:
    """What an entry is found by."""
    return request if keys == "input" else f"{request}\n{answer}"


def context_pairs(
    contexts: Mapping[str, Sequence[Context]], prompt: Prompt
) -> dict[str, list[ContrastPair]]:
    """Context contrast: the user's own output, forced after C+ and after C-.

    Both sides show equally many samples, as many as the shorter one has. A sample with an empty
    side, such as a user's first one, or with a blank output gives no pair.

    Args:
        contexts: What may be shown with each sample, by user id; see ``context.contexts``.
        prompt: Makes the prompt.

    Returns:
        By user id, in the order of the samples.
    """

    def pairs(own: Sequence[Context]) -> Iterator[ContrastPair]:
        for context in own:
            sample = context.sample
            count = min(len(context.own), len(context.others))
            if count and sample.output.strip():
                yield ContrastPair(
                    sample_id=sample.id,
                    request=sample.input,
                    positive=Exchange(prompt(sample.input, context.own[:count]), sample.output),
                    negative=Exchange(prompt(sample.input, context.others[:count]), sample.output),
                    contrast="context",
                    timestamp=sample.timestamp,
                )

    return {user: list(pairs(own)) for user, own in contexts.items()}


def response_pairs(
    contexts: Mapping[str, Sequence[Context]],
    prompt: Prompt,
    answers: Answers,
    *,
    score: Callable[[str, str], float],
    threshold: float,
    limit: int = 2,
) -> dict[str, list[ContrastPair]]:
    """Response contrast: after the same prompt the user's own output, and a bad answer.

    Fints keeps an answer as rejected when its ROUGE-L against the user's own output is below
    0.15 for headlines and below 0.20 for abstracts.

    Args:
        contexts: What may be shown with each sample, by user id; see ``context.contexts``.
        prompt: Makes the prompts: with C- for those that ``answers`` is given, and with no samples
            for the pairs.
        answers: What may be rejected; called once, with all prompts. See ``model_answers``.
        score: How good an answer is, given that and the user's own output.
        threshold: Only answers that score below this are rejected ones.
        limit: At most this many rejected answers a sample, one pair each.

    Returns:
        By user id, in the order of the samples. A sample with a blank output, or whose every
        answer is good, gives no pair.

    Raises:
        TrimtabError: ``answers`` did not give one list for each prompt, or ``limit`` below 1.
    """
    if limit < 1:
        raise TrimtabError(f"expected a limit of at least 1 rejected answer, got {limit}")
    asked = [(user, c) for user, own in contexts.items() for c in own if c.sample.output.strip()]
    given = answers([prompt(c.sample.input, c.others) for _, c in asked]) if asked else []
    if len(given) != len(asked):
        raise TrimtabError(
            f"expected the answers to each of {len(asked)} prompts, got {len(given)} lists"
        )
    pairs: dict[str, list[ContrastPair]] = {user: [] for user in contexts}
    for (user, context), candidates in zip(asked, given, strict=True):
        sample = context.sample
        different = dict.fromkeys(answer for answer in candidates if answer.strip())
        rejected = [a for a in different if score(a, sample.output) < threshold]
        plain = prompt(sample.input, ())
        pairs[user] += [
            ContrastPair(
                sample_id=sample.id,
                request=sample.input,
                positive=Exchange(plain, sample.output),
                negative=Exchange(plain, answer),
                contrast="response",
                timestamp=sample.timestamp,
            )
            for answer in rejected[:limit]
        ]
    return pairs


def model_answers(
    model: Generates,
    *,
    count: int = 2,
    max_new_tokens: int = 256,
    temperature: float = 0.7,
    seed: int = 0,
    batch_size: int = 48,
) -> Answers:
    """What the model itself answers, unsteered: ``count`` drawn answers to each prompt.

    Args:
        model: The model.
        count: Answers to a prompt.
        max_new_tokens: At most this many tokens an answer.
        temperature: Of the draws; at 0 all answers to a prompt are equal.
        seed: Of the draws.
        batch_size: At most this many answers at once.
    """

    def answers(prompts: Sequence[Messages]) -> list[list[str]]:
        found = model.generate(
            [Request(messages) for messages in prompts for _ in range(count)],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            batch_size=batch_size,
        )
        texts = [completion.text.strip() for completion in found]
        return [texts[start : start + count] for start in range(0, len(texts), count)]

    return answers
